// Command serve has each of the apps of package slashes below a path that is its name, for interop.
// It prints its address and the apps as one line of JSON, and serves until its standard input ends.
package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"os"
	"time"

	"github.com/gin-gonic/gin"
	"github.com/golang-jwt/jwt/v5"

	"github.com/z-open/socketauth"
	"github.com/z-open/socketauth/examples/internal/slashes"
)

func main() {
	gin.SetMode(gin.ReleaseMode) // prints nothing
	opts := socketauth.Options[string]{
		Secret:                []byte("a secret that is used for tests alone"),
		FindUserByCredentials: func(_ context.Context, c socketauth.Credentials) (string, error) { return c.Get("username"), nil },
		Claim:                 func(name string) (jwt.MapClaims, error) { return jwt.MapClaims{"sub": name}, nil },
	}
	type app struct {
		Name      string `json:"name"`
		Redirects bool   `json:"redirects"`
	}
	var about struct {
		URL  string `json:"url"`
		Apps []app  `json:"apps"`
	}
	mux := http.NewServeMux()
	for _, a := range slashes.Apps() {
		handler, _, err := a.Mount(opts)
		if err != nil {
			log.Fatal(err)
		}
		mux.Handle("/"+a.Name+"/", http.StripPrefix("/"+a.Name, handler))
		about.Apps = append(about.Apps, app{a.Name, a.Redirects})
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		log.Fatal(err)
	}
	about.URL = "http://" + listener.Addr().String()
	line, err := json.Marshal(about)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(string(line))
	server := &http.Server{Handler: mux, ReadHeaderTimeout: 10 * time.Second}
	go func() { log.Fatal(server.Serve(listener)) }()
	_, _ = io.Copy(io.Discard, os.Stdin)
}
