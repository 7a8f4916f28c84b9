package socketauth_test

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"testing"
	"testing/synctest"

	"github.com/golang-jwt/jwt/v5"

	"github.com/z-open/socketauth"
	"github.com/z-open/socketauth/internal/siotest"
	"github.com/z-open/socketauth/socketauthtest"
)

// kit is the server of a test that needs only what apps see, in a bubble of its own time.
type kit struct {
	*socketauthtest.Server
	t *testing.T
}

// inKit runs a test against a server with login, registration and GET /api behind the middleware.
// change may adjust its options.
func inKit(t *testing.T, change func(*socketauth.Options[string]), test func(w *kit)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		find := func(_ context.Context, c socketauth.Credentials) (string, error) {
			switch {
			case c.Get("username") == "busy":
				return "", socketauth.ErrUnavailable
			case c.Get("username") == "anna" && c.Get("password") == "secret":
				return "anna", nil
			}
			return "", socketauth.ErrInvalidCredentials
		}
		o := socketauth.Options[string]{
			FindUserByCredentials: find,
			Register:              find,
			Claim:                 func(name string) (jwt.MapClaims, error) { return jwt.MapClaims{"sub": name}, nil },
		}
		if change != nil {
			change(&o)
		}
		w := &kit{socketauthtest.NewServer(t, o), t}
		w.Mux.Handle("GET /api", w.Auth().Middleware(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
			claims, _ := socketauth.ClaimsFromContext(r.Context())
			_, _ = io.WriteString(rw, claims["sub"].(string))
		})))
		test(w)
	})
}

// overAll runs a test on each engine and transport.
func overAll(t *testing.T, test func(w *kit, version, transport string)) {
	t.Helper()
	for _, version := range []string{"3", "4"} {
		for _, transport := range siotest.Transports {
			t.Run(version+" "+transport, func(t *testing.T) {
				inKit(t, nil, func(w *kit) { test(w, version, transport) })
			})
		}
	}
}

// unauthenticated returns a client in the root namespace that has not authenticated.
func (w *kit) unauthenticated(version, transport string) *siotest.Conn {
	w.t.Helper()
	d := siotest.Dialer{Version: version, Net: w.DialContext}
	c, err := d.Dial(w.t.Context(), transport)
	if err == nil {
		_, err = c.Join("")
	}
	if err == nil && transport == "upgrade" {
		err = c.Upgrade(w.t.Context())
	}
	if err != nil {
		w.t.Fatal(err)
	}
	return c
}

// authenticated returns one that has.
func (w *kit) authenticated(version, transport, userID string) *siotest.Conn {
	w.t.Helper()
	c := w.unauthenticated(version, transport)
	in, _ := json.Marshal(map[string]string{"token": w.Code(jwt.MapClaims{"sub": userID})})
	err := c.Write(`42["authenticate",` + string(in) + `]`)
	if err == nil {
		_, err = c.Expect(`42["authenticated",`)
	}
	if err != nil {
		w.t.Fatal(err)
	}
	synctest.Wait() // it is authenticated a moment after it was told so
	return c
}
