package socketauth_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"testing/synctest"

	"github.com/golang-jwt/jwt/v5"

	"github.com/z-open/socketauth"
	"github.com/z-open/socketauth/internal/siotest"
	"github.com/z-open/socketauth/socketauthtest"
)

// world is a server of the library in a bubble of its own time. When its test returns, the server is shut down and
// nothing may be left of it.
type world struct {
	*testing.T
	*socketauthtest.Server
	logs *syncBuffer

	capture  sync.Once
	captured chan *socketauth.Socket // by the handler of "capture"
}

// inWorld runs a test against a server with login, registration and GET /api behind the middleware.
// change may adjust its options.
func inWorld(t *testing.T, change func(*socketauth.Options[string]), test func(w *world)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		w := &world{T: t, logs: new(syncBuffer), captured: make(chan *socketauth.Socket, 1)}
		o := apiOptions(w.logs)
		o.Logger = slog.New(slog.NewTextHandler(w.logs, &slog.HandlerOptions{Level: slog.LevelDebug}))
		if change != nil {
			change(&o)
		}
		t.Cleanup(func() { // after the server has been shut down
			if w.Server != nil && !socketauth.HubEmpty(w.Server.Server) {
				t.Error("sockets that have ended are still registered")
			}
		})
		w.Server = socketauthtest.NewServer(t, o)
		synctest.Wait() // it watches the store
		w.Mux.Handle("GET /api", w.Auth().Middleware(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
			claims, _ := socketauth.ClaimsFromContext(r.Context())
			_, _ = io.WriteString(rw, claims["sub"].(string))
		})))
		test(w)
	})
}

// What the tests inside the package use too.
var (
	testSecret = socketauth.TestSecret
	respell    = socketauth.Respell
	payloadOf  = socketauth.PayloadOf
)

// syncBuffer is a log that several goroutines write.
type syncBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (s *syncBuffer) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(p)
}

func (s *syncBuffer) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.String()
}

func (s *syncBuffer) has(t *testing.T, part string) {
	t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	if !bytes.Contains(s.b.Bytes(), []byte(part)) {
		t.Errorf("the log does not say %q:\n%s", part, s.b.String())
	}
}

// logged makes sure that the log says so, once all that is going on has come to rest.
func (w *world) logged(part string) {
	w.Helper()
	synctest.Wait()
	w.logs.has(w.T, part)
}

// code is what a login of anna's gives.
func (w *world) code() string { return w.codeFor(jwt.MapClaims{"sub": "anna"}) }

func (w *world) codeFor(claims jwt.MapClaims) string {
	w.Helper()
	code, err := w.Auth().IssueCode(context.Background(), claims)
	if err != nil {
		w.Fatal(err)
	}
	return code
}

// get asks the HTTP side, through Middleware.
func (w *world) get(token string) (int, string, http.Header) {
	w.Helper()
	client := http.Client{Transport: &http.Transport{DialContext: w.DialContext, DisableKeepAlives: true}}
	r, _ := http.NewRequest(http.MethodGet, "http://server/api", nil)
	if token != "" {
		r.Header.Set("Authorization", "Bearer "+token)
	}
	res, err := client.Do(r)
	if err != nil {
		w.Fatal(err)
	}
	defer res.Body.Close()
	body, _ := io.ReadAll(res.Body)
	return res.StatusCode, string(body), res.Header
}

// post asks the HTTP side to log in or to register.
func (w *world) post(path, body string) string {
	w.Helper()
	client := http.Client{Transport: &http.Transport{DialContext: w.DialContext, DisableKeepAlives: true}}
	res, err := client.Post("http://server"+path, "application/json", strings.NewReader(body))
	if err != nil {
		w.Fatal(err)
	}
	defer res.Body.Close()
	answer, _ := io.ReadAll(res.Body)
	return string(answer)
}

// login is the code that anna's credentials give.
func (w *world) login() string {
	w.Helper()
	var answer struct{ Token string }
	if err := json.Unmarshal([]byte(w.post("/login", `{"username":"anna","password":"secret"}`)), &answer); err != nil || answer.Token == "" {
		w.Errorf("%+v, %v", answer, err)
	}
	return answer.Token
}

// apiOptions are those of an app in which anna's password is "secret", and the name decides what the hooks do.
func apiOptions(logs io.Writer) socketauth.Options[string] {
	find := func(_ context.Context, c socketauth.Credentials) (string, error) {
		switch name := c.Get("username"); name {
		case "anna":
			if c.Get("password") != "secret" {
				return "", socketauth.ErrInvalidCredentials
			}
			return name, nil
		case "wrapped":
			return "", errors.Join(errors.New("not in the directory"), socketauth.ErrInvalidCredentials)
		case "banned":
			return "", &socketauth.PublicError{Code: "BANNED", Err: errors.New("by the moderator")}
		case "empty code":
			return "", &socketauth.PublicError{Err: errors.New("a bug")}
		case "down":
			return "", errors.New("database down: dsn=postgres://app:topsecret@db")
		case "busy":
			return "", socketauth.ErrUnavailable
		case "typed nil":
			var none *socketauth.PublicError
			return "", none
		case "long":
			return "", fmt.Errorf("registering: %w", socketauth.ErrPasswordTooLong)
		case "guessing":
			return "", socketauth.ErrTooManyAttempts
		case "panic":
			panic("a bug in the app")
		case "nobody":
			return "nobody", nil
		default:
			return "", socketauth.ErrInvalidCredentials
		}
	}
	return socketauth.Options[string]{
		Secret:                testSecret,
		FindUserByCredentials: find,
		Register:              find,
		Claim: func(name string) (jwt.MapClaims, error) {
			if name == "nobody" {
				return jwt.MapClaims{}, nil
			}
			return jwt.MapClaims{"sub": name}, nil
		},
		AllowedOrigins: []string{"https://app.example"},
		Logger:         slog.New(slog.NewTextHandler(logs, nil)),
	}
}

const jsonType = "application/json"

// post sends one request and gives status, decoded body and headers.
func post(h http.Handler, path, media, body string, headers ...string) (int, map[string]string, http.Header) {
	r := httptest.NewRequest(http.MethodPost, path, strings.NewReader(body))
	r.Header.Set("Content-Type", media)
	for i := 0; i < len(headers); i += 2 {
		r.Header.Set(headers[i], headers[i+1])
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	var decoded map[string]string
	_ = json.Unmarshal(w.Body.Bytes(), &decoded)
	return w.Code, decoded, w.Header()
}

func credentialsJSON(name, password string) string {
	b, _ := json.Marshal(map[string]string{"username": name, "password": password})
	return string(b)
}

func claimsOf(sub string) jwt.MapClaims { return jwt.MapClaims{"sub": sub} }

// begin makes the handshake of Engine.IO as a client at that address, which for "upgrade" is left polling.
func (w *world) begin(version, transport, address string) (*siotest.Conn, error) {
	d := siotest.Dialer{Version: version, Header: http.Header{"X-Address": {address}}, Net: w.DialContext}
	return d.Dial(w.Context(), transport)
}

// foreignToken returns a good token of a session that the server's store has never heard of: that of
// another server with the same key.
func (w *world) foreignToken() string {
	w.Helper()
	other := socketauthtest.NewServer(w.T, socketauth.Options[any]{Secret: testSecret})
	return other.Dial(jwt.MapClaims{"sub": "anna"}).Token()
}

// overAll runs a test on each engine and transport.
func overAll(t *testing.T, test func(w *world, version, transport string)) {
	t.Helper()
	for _, version := range []string{"3", "4"} {
		for _, transport := range siotest.Transports {
			t.Run(version+" "+transport, func(t *testing.T) {
				inWorld(t, nil, func(w *world) { test(w, version, transport) })
			})
		}
	}
}

// unauthenticated returns a client in the root namespace that has not authenticated.
func (w *world) unauthenticated(version, transport string) *siotest.Conn {
	w.Helper()
	d := siotest.Dialer{Version: version, Net: w.DialContext}
	c, err := d.Dial(w.Context(), transport)
	if err == nil {
		_, err = c.Join("")
	}
	if err == nil && transport == "upgrade" {
		err = c.Upgrade(w.Context())
	}
	if err != nil {
		w.Fatal(err)
	}
	return c
}

// authenticated returns one that has.
func (w *world) authenticated(version, transport, userID string) *siotest.Conn {
	w.Helper()
	c := w.unauthenticated(version, transport)
	in, _ := json.Marshal(map[string]string{"token": w.Code(jwt.MapClaims{"sub": userID})})
	err := c.Write(`42["authenticate",` + string(in) + `]`)
	if err == nil {
		_, err = c.Expect(`42["authenticated",`)
	}
	if err != nil {
		w.Fatal(err)
	}
	synctest.Wait() // it is authenticated a moment after it was told so
	return c
}
