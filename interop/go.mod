module github.com/z-open/socketauth/interop

go 1.26.0

replace (
	github.com/z-open/socketauth => ../
	github.com/z-open/socketauth/boltstore => ../boltstore
	github.com/z-open/socketauth/redisstore => ../redisstore
)

require (
	github.com/golang-jwt/jwt/v5 v5.3.1
	github.com/redis/go-redis/v9 v9.23.0
	github.com/z-open/socketauth v0.1.0
	github.com/z-open/socketauth/boltstore v0.1.0
	github.com/z-open/socketauth/redisstore v0.1.0
)

require (
	github.com/cespare/xxhash/v2 v2.3.0 // indirect
	github.com/googollee/go-socket.io v1.8.0-rc.1 // indirect
	github.com/rs/cors v1.11.1 // indirect
	go.etcd.io/bbolt v1.5.0 // indirect
	go.uber.org/atomic v1.12.0 // indirect
	golang.org/x/crypto v0.58.0 // indirect
	golang.org/x/exp v0.0.0-20230713183714-613f0c0eb8a1 // indirect
	golang.org/x/sys v0.49.0 // indirect
)
