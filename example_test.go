package socketauth_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/z-open/socketauth"
)

var secret = []byte("use 32 random bytes of your own!") // from the environment, by DecodeSecret

type User struct {
	ID   string
	Name string
	Hash string
	Role string
}

// userByID looks a user up in the app's database.
func userByID(_ context.Context, id string) (User, error) {
	for _, user := range users {
		if user.ID == id {
			return user, nil
		}
	}
	return User{}, socketauth.ErrInvalidCredentials
}

var users = map[string]User{"anna": {ID: "1", Name: "anna", Hash: "$2a$04$v6NCXSuJ8mqoLbZ9EfrYieQa8X0cFIaCb4yC3U5a4V9RSTGmRjsKq"}}

func options() socketauth.Options[User] {
	return socketauth.Options[User]{
		Secret: secret,
		FindUserByCredentials: socketauth.PasswordLogin(nil, func(_ context.Context, name string) (User, string, error) {
			user, ok := users[name]
			if !ok {
				return User{}, "", socketauth.ErrInvalidCredentials
			}
			return user, user.Hash, nil
		}),
		Claim: func(u User) (jwt.MapClaims, error) {
			return jwt.MapClaims{"sub": u.ID, "name": u.Name}, nil
		},
	}
}

// A whole server: login, sockets, and an API that trusts the same tokens.
func ExampleInfrastructure() {
	mux := http.NewServeMux()
	server := &http.Server{Addr: ":8080", Handler: mux, ReadHeaderTimeout: 10 * time.Second}
	srv, err := socketauth.Infrastructure(server, mux, options())
	if err != nil {
		fmt.Println(err)
		return
	}
	srv.On("chat", func(_ context.Context, s *socketauth.Socket, args socketauth.Args) (any, error) {
		var text string
		if err := args.Decode(&text); err != nil {
			return nil, err
		}
		return nil, srv.Emit("chat", s.Claims()["name"], text)
	})
	mux.Handle("GET /api/me", srv.Auth().Middleware(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		claims, _ := socketauth.ClaimsFromContext(r.Context())
		fmt.Fprintln(w, claims["name"])
	})))
	// server.ListenAndServe()
	fmt.Println("ready")
	// Output: ready
}

// Hashes are made anew when Cost was raised: at a login that succeeded, since the password is at
// hand.
func ExamplePasswords_Outdated() {
	ctx := context.Background()
	before := &socketauth.Passwords{Cost: 4}
	stored, _ := before.Hash(ctx, "secret") // in the app's database

	passwords := &socketauth.Passwords{Cost: 5}
	login := func(password string) error {
		if err := passwords.Compare(ctx, stored, password); err != nil {
			return err
		}
		if passwords.Outdated(stored) {
			if hash, err := passwords.Hash(ctx, password); err == nil { // else at the next login
				stored = hash
			}
		}
		return nil
	}
	fmt.Println(login("wrong"), passwords.Outdated(stored))
	fmt.Println(login("secret"), passwords.Outdated(stored))
	// Output:
	// socketauth: invalid credentials true
	// <nil> false
}

// A handler checks its arguments, and what the user may do. Errors reach a client that asked for an
// acknowledgement.
func ExampleServer_On() {
	srv, err := socketauth.Infrastructure(nil, http.NewServeMux(), options())
	if err != nil {
		fmt.Println(err)
		return
	}
	defer srv.Shutdown(context.Background())
	srv.On("join", func(_ context.Context, s *socketauth.Socket, args socketauth.Args) (any, error) {
		var room string
		if err := args.Decode(&room); err != nil {
			return nil, err // the client receives {error: {code: "bad_arguments"}}
		}
		if room == "staff" && s.Claims()["role"] != "admin" {
			return nil, &socketauth.PublicError{Code: "NOT_YOURS"}
		}
		s.Join(room)
		return nil, srv.To(room).Emit("joined", s.UserID())
	})
	fmt.Println("ready")
	// Output: ready
}

// A role that can change. Each token gets the role as it is then, and RefreshUser has a change
// count at once, also on sockets that are connected. Nobody is signed out by it.
func ExampleAuth_RefreshUser() {
	opts := options()
	opts.UpdateClaims = func(ctx context.Context, old jwt.MapClaims) (jwt.MapClaims, error) {
		user, err := userByID(ctx, old["sub"].(string)) // ErrInvalidCredentials signs out a user who is gone
		old["role"] = user.Role
		return old, err
	}
	srv, err := socketauth.Infrastructure(nil, http.NewServeMux(), opts)
	if err != nil {
		fmt.Println(err)
		return
	}
	defer srv.Shutdown(context.Background())
	srv.OnClaimsChanged(func(_ context.Context, s *socketauth.Socket, _ jwt.MapClaims) error {
		if s.Claims()["role"] != "admin" {
			s.Leave("staff")
		}
		return nil
	})
	demote := func(ctx context.Context, id string) error {
		// first the app's database, then:
		_, err := srv.Auth().RefreshUser(ctx, id)
		return err
	}
	fmt.Println(demote(context.Background(), "1"))
	// Output: <nil>
}

// Some events deserve a fresh password. Whose is too old is told so, in the acknowledgement of an
// event or with 401, and logs in again with "step_up": the client for browsers does that in
// reauthenticate. The session goes on.
func ExampleRequireRecent() {
	srv, err := socketauth.Infrastructure(nil, http.NewServeMux(), options())
	if err != nil {
		fmt.Println(err)
		return
	}
	defer srv.Shutdown(context.Background())
	remove := func(context.Context, *socketauth.Socket, socketauth.Args) (any, error) { return "removed", nil }
	srv.On("delete account", socketauth.RequireRecent(5*time.Minute)(remove))

	// The same for requests. A test needs no token.
	transfer := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, "transferred") })
	h := srv.Auth().RequireRecent(5*time.Minute, "2fa")(transfer) // in an app, inside of Middleware
	for _, claims := range []jwt.MapClaims{
		{"sub": "1", "acr": "2fa", "auth_time": time.Now().Add(-time.Hour).Unix()},
		{"sub": "1", "acr": "2fa", "auth_time": time.Now().Unix()},
	} {
		w := httptest.NewRecorder()
		r := httptest.NewRequest(http.MethodPost, "/transfer", nil)
		h.ServeHTTP(w, r.WithContext(socketauth.ContextWithClaims(r.Context(), claims)))
		fmt.Println(w.Code, strings.TrimSpace(w.Body.String()))
	}
	// Output:
	// 401 {"acr":["2fa"],"code":"reauthentication_required","maxAge":300}
	// 200 transferred
}

// Requests without a living session token do not reach the handler. A process that serves no
// sockets needs the keys, and the Blacklist, of the one that does.
func ExampleAuth_Middleware() {
	auth, err := socketauth.New(socketauth.Options[any]{Secret: secret})
	if err != nil {
		fmt.Println(err)
		return
	}
	h := auth.Middleware(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	w := httptest.NewRecorder()
	h.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/api/me", nil))
	fmt.Println(w.Code, strings.TrimSpace(w.Body.String()))
	// Output: 401 {"code":"invalid_token"}
}

// Code behind the middleware is tested without a token.
func ExampleContextWithClaims() {
	ctx := socketauth.ContextWithClaims(context.Background(), jwt.MapClaims{"sub": "1"})
	claims, ok := socketauth.ClaimsFromContext(ctx)
	fmt.Println(claims["sub"], ok)
	// Output: 1 true
}

// Whoever the app has identified by other means gets a code too: here after an OAuth callback.
func ExampleAuth_IssueCode() {
	auth, err := socketauth.New(socketauth.Options[any]{Secret: secret})
	if err != nil {
		fmt.Println(err)
		return
	}
	callback := func(w http.ResponseWriter, r *http.Request) {
		code, err := auth.IssueCode(r.Context(), jwt.MapClaims{"sub": "github|583231"})
		if err != nil {
			http.Error(w, "no code", http.StatusInternalServerError)
			return
		}
		http.Redirect(w, r, "https://app.example/#code="+code, http.StatusSeeOther)
	}
	w := httptest.NewRecorder()
	callback(w, httptest.NewRequest(http.MethodGet, "/callback", nil))
	fmt.Println(w.Code, strings.HasPrefix(w.Header().Get("Location"), "https://app.example/#code=ey"))
	// Output: 303 true
}

// With BindRequired, all sessions are bound to a key of their client: a code is traded together
// with a proof of one, and no token is good without. The client for browsers does that with bind:
// true.
func ExampleBinding() {
	opts := options()
	opts.Binding, opts.TokenPath = socketauth.BindRequired, "/token"
	mux := http.NewServeMux()
	auth, err := socketauth.APIServe(mux, opts)
	if err != nil {
		fmt.Println(err)
		return
	}
	code, err := auth.IssueCode(context.Background(), jwt.MapClaims{"sub": "1"})
	if err != nil {
		fmt.Println(err)
		return
	}
	w := httptest.NewRecorder()
	r := httptest.NewRequest(http.MethodPost, "/token", nil)
	r.Header.Set("Authorization", "Bearer "+code)
	mux.ServeHTTP(w, r) // without the header DPoP
	fmt.Println(w.Code, strings.TrimSpace(w.Body.String()))
	fmt.Println(w.Header().Get("WWW-Authenticate"))
	// Output:
	// 401 {"code":"proof_required"}
	// DPoP error="invalid_dpop_proof", error_description="The proof of the token's key is missing", algs="ES256 EdDSA"
}

// A page of one's devices: each session can be ended, one's own alone, with a recent password.
func ExampleServer_sessions() {
	srv, err := socketauth.Infrastructure(nil, http.NewServeMux(), options())
	if err != nil {
		fmt.Println(err)
		return
	}
	defer srv.Shutdown(context.Background())
	srv.On("devices", func(ctx context.Context, s *socketauth.Socket, _ socketauth.Args) (any, error) {
		return srv.Auth().Sessions(ctx, s.UserID())
	})
	recent := socketauth.RequireRecent(5 * time.Minute) // or the user is asked for the password again
	srv.On("end device", recent(func(ctx context.Context, s *socketauth.Socket, args socketauth.Args) (any, error) {
		var id string
		if err := args.Decode(&id); err != nil {
			return nil, err
		}
		mine, err := srv.Auth().Sessions(ctx, s.UserID())
		if err != nil {
			return nil, err
		}
		if !slices.ContainsFunc(mine, func(session socketauth.Session) bool { return session.ID == id }) {
			return nil, &socketauth.PublicError{Code: "NOT_YOURS"}
		}
		return srv.Auth().RevokeSession(ctx, s.UserID(), id)
	}))
	srv.On("end others", recent(func(ctx context.Context, s *socketauth.Socket, _ socketauth.Args) (any, error) {
		return srv.Auth().RevokeOthers(ctx, s.UserID(), s.SessionID()) // {"sessions": 1, "sockets": 2}
	}))

	ended, err := srv.Auth().RevokeUser(context.Background(), "1") // they were banned, say
	fmt.Println(ended.Sessions, ended.Sockets, err)
	// Output: 0 0 <nil>
}

// Stats as JSON. For Prometheus there is a collector in github.com/z-open/socketauth/metrics.
func ExampleAuth_Stats() {
	srv, err := socketauth.Infrastructure(nil, http.NewServeMux(), options())
	if err != nil {
		fmt.Println(err)
		return
	}
	defer srv.Shutdown(context.Background())
	stats := func(w http.ResponseWriter, _ *http.Request) {
		_ = json.NewEncoder(w).Encode(srv.Auth().Stats())
	}
	w := httptest.NewRecorder()
	stats(w, nil)
	fmt.Println(strings.Contains(w.Body.String(), `"rotations":0`))
	// Output: true
}

// A registration hashes the password, and says why it refuses where the client may know.
func ExamplePasswords_Hash() {
	var passwords socketauth.Passwords
	register := func(ctx context.Context, c socketauth.Credentials) (User, error) {
		name := c.Get("username")
		if _, taken := users[name]; taken {
			return User{}, &socketauth.PublicError{Code: "USER_EXISTS"}
		}
		if len(c.Get("password")) < 8 {
			return User{}, &socketauth.PublicError{Code: "PASSWORD_TOO_SHORT"}
		}
		hash, err := passwords.Hash(ctx, c.Get("password"))
		return User{ID: "2", Name: name, Hash: hash}, err
	}
	_, err := register(context.Background(), socketauth.Credentials{"username": "anna", "password": "secret"})
	fmt.Println(err)
	_, err = register(context.Background(), socketauth.Credentials{"username": "otto", "password": strings.Repeat("x", 73)})
	fmt.Println(err)
	// Output:
	// USER_EXISTS
	// socketauth: password is longer than 72 bytes
}

// Keys are rotated by putting a new one first: tokens of the old one are good until they expire.
func ExampleKey() {
	old, fresh := []byte("an old secret of thirty-two bytes"), []byte("a fresh secret of thirty-two byte")
	_, err := socketauth.New(socketauth.Options[any]{Keys: []socketauth.Key{
		{ID: "2026-11", Method: jwt.SigningMethodHS256, Sign: fresh, Verify: fresh},
		{ID: "2026-05", Method: jwt.SigningMethodHS256, Verify: old},
	}})
	fmt.Println(err)
	// Output: <nil>
}

// Who is in a room, in all processes. While one of them does not answer, the others' sockets are
// listed all the same.
func ExampleTarget_Sockets() {
	srv, err := socketauth.Infrastructure(nil, http.NewServeMux(), options())
	if err != nil {
		fmt.Println(err)
		return
	}
	defer srv.Shutdown(context.Background())
	srv.On("who", func(ctx context.Context, _ *socketauth.Socket, _ socketauth.Args) (any, error) {
		peers, err := srv.To("lobby").Sockets(ctx)
		if err != nil && !errors.Is(err, socketauth.ErrUnavailable) {
			return nil, err
		}
		return map[string]any{"peers": peers, "complete": err == nil}, nil
	})
}

// A process that is not ready accepts nobody, so the load balancer should send new clients to
// others. Before it ends, its clients come back to those one after the other.
func ExampleAuth_Ready() {
	mux := http.NewServeMux()
	srv, err := socketauth.Infrastructure(nil, mux, options())
	if err != nil {
		fmt.Println(err)
		return
	}
	mux.HandleFunc("GET /ready", func(w http.ResponseWriter, r *http.Request) {
		if err := srv.Auth().Ready(r.Context()); err != nil {
			http.Error(w, err.Error(), http.StatusServiceUnavailable)
		}
	})

	stop := func(ctx context.Context) error { // when the process is asked to end
		return errors.Join(srv.Drain(ctx, 30*time.Second), srv.Shutdown(ctx))
	}
	fmt.Println(stop(context.Background()))
	// Output: <nil>
}
