module github.com/z-open/socketauth

go 1.26.0

require (
	github.com/golang-jwt/jwt/v5 v5.3.1
	github.com/rs/cors v1.11.1
	golang.org/x/crypto v0.58.0
)

require (
	github.com/googollee/go-socket.io v1.8.0-rc.1
	github.com/gorilla/websocket v1.5.3
)

require golang.org/x/exp v0.0.0-20230713183714-613f0c0eb8a1 // indirect
