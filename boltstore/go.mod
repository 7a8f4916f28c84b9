module github.com/z-open/socketauth/boltstore

go 1.26.0

replace github.com/z-open/socketauth => ../

require (
	github.com/golang-jwt/jwt/v5 v5.3.1
	github.com/z-open/socketauth v0.1.0
	go.etcd.io/bbolt v1.5.0
)

require (
	github.com/googollee/go-socket.io v1.8.0-rc.1 // indirect
	github.com/gorilla/websocket v1.5.3 // indirect
	github.com/rs/cors v1.11.1 // indirect
	golang.org/x/crypto v0.58.0 // indirect
	golang.org/x/exp v0.0.0-20230713183714-613f0c0eb8a1 // indirect
	golang.org/x/sys v0.49.0 // indirect
)
