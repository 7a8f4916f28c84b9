package boltstore_test

import (
	"context"
	"fmt"
	"log"
	"net/http"
	"os"
	"path/filepath"
	"strings"

	"github.com/golang-jwt/jwt/v5"

	"github.com/z-open/socketauth"
	"github.com/z-open/socketauth/boltstore"
)

func Example() {
	folder, err := os.MkdirTemp("", "sessions")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(folder) // yours stays

	store, err := boltstore.Open(filepath.Join(folder, "sessions.db"))
	if err != nil {
		log.Fatal(err)
	}
	defer store.Close()

	mux := http.NewServeMux()
	server := &http.Server{Handler: mux}
	srv, err := socketauth.Infrastructure(server, mux, socketauth.Options[string]{
		Secret:    []byte(strings.Repeat("change me ", 4)),
		Blacklist: store,
		FindUserByCredentials: func(ctx context.Context, c socketauth.Credentials) (string, error) {
			return "", socketauth.ErrInvalidCredentials
		},
		Claim: func(user string) (jwt.MapClaims, error) { return jwt.MapClaims{"sub": user}, nil },
	})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println("ready")                                       // server.ListenAndServe()
	if err := srv.Shutdown(context.Background()); err != nil { // before the store is closed
		log.Fatal(err)
	}
	// Output: ready
}
