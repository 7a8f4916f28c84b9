package servers

import (
	"context"
	"fmt"
	"net/http"

	"github.com/golang-jwt/jwt/v5"
	"golang.org/x/crypto/bcrypt"

	"github.com/z-open/socketauth"
)

// serveLibrary serves the whole library. Limits that one machine with many clients would reach are
// lifted, and nothing else is changed. With hashing, a login compares the password with its hash.
func serveLibrary(hashing bool) serve {
	return func(mux *http.ServeMux, secret []byte) (app, error) {
		find := func(_ context.Context, c socketauth.Credentials) (string, error) {
			return c.Get("username"), nil
		}
		if hashing {
			hash, err := bcrypt.GenerateFromPassword([]byte(Password), Cost)
			if err != nil {
				return app{}, err
			}
			passwords := new(socketauth.Passwords)
			find = func(ctx context.Context, c socketauth.Credentials) (string, error) {
				return c.Get("username"), passwords.Compare(ctx, string(hash), c.Get("password"))
			}
		}
		srv, err := socketauth.Infrastructure(nil, mux, socketauth.Options[string]{
			Secret:                secret,
			FindUserByCredentials: find,
			Claim:                 func(user string) (jwt.MapClaims, error) { return jwt.MapClaims{"sub": user}, nil },
			Limits: socketauth.Limits{
				Sockets: socketauth.NoLimit, Unauthenticated: socketauth.NoLimit,
				UnauthenticatedPerAddress: socketauth.NoLimit, SocketsPerUser: socketauth.NoLimit,
				SessionsPerUser: socketauth.NoLimit, LoginsPerAddress: socketauth.NoLimit,
			},
		})
		if err != nil {
			return app{}, err
		}
		srv.On("echo", func(_ context.Context, _ *socketauth.Socket, args socketauth.Args) (any, error) {
			var text string
			err := args.Decode(&text)
			return text, err
		})
		mux.Handle("GET /api/me", srv.Auth().Middleware(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			claims, ok := socketauth.ClaimsFromContext(r.Context())
			if !ok {
				http.Error(w, "no claims", http.StatusInternalServerError)
				return
			}
			sub, _ := claims["sub"].(string)
			_, _ = fmt.Fprintf(w, `{"user":%q}`, sub)
		})))
		return app{broadcast: func(text string) error { return srv.Emit("news", text) }}, nil
	}
}
