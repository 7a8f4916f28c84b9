// Command minimal is a complete server: login, authenticated sockets, and a page that uses them.
package main

import (
	"context"
	"crypto/rand"
	"embed"
	"flag"
	"log"
	"net/http"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/z-open/socketauth"
)

//go:embed index.html browser.js
var page embed.FS

func main() {
	addr := flag.String("addr", "localhost:8080", "`host:port` to serve on")
	flag.Parse()
	var passwords socketauth.Passwords
	hash, err := passwords.Hash(context.Background(), "open sesame") // an app has it stored
	if err != nil {
		log.Fatal(err)
	}
	mux := http.NewServeMux()
	mux.Handle("GET /", http.FileServerFS(page))
	server := &http.Server{Addr: *addr, Handler: mux, ReadHeaderTimeout: 5 * time.Second}

	srv, err := socketauth.Infrastructure(server, mux, socketauth.Options[string]{
		Secret: []byte(rand.Text() + rand.Text()), // an app keeps its secret: see socketauth.DecodeSecret
		FindUserByCredentials: socketauth.PasswordLogin(&passwords, func(_ context.Context, name string) (string, string, error) {
			if name != "ada" {
				return "", "", socketauth.ErrInvalidCredentials
			}
			return name, hash, nil
		}),
		Claim:      func(name string) (jwt.MapClaims, error) { return jwt.MapClaims{"sub": name}, nil },
		ClientPath: "/socketauth/", // where browser.js imports the client from
	})
	if err != nil {
		log.Fatal(err)
	}
	srv.On("hello", func(_ context.Context, s *socketauth.Socket, _ socketauth.Args) (any, error) {
		return "Hello, " + s.UserID(), nil // only authenticated sockets reach handlers
	})
	log.Fatal(server.ListenAndServe())
}
