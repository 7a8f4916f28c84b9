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

// testServer is a server of the library in a bubble of testing/synctest. When its test returns, the
// server is shut down, and the test fails if something of it is left.
type testServer struct {
	*testing.T
	*socketauthtest.Server
	logs    *logBuffer
	version string // of Engine.IO, of the clients of dial and of those based on it; "" for 4

	capture  sync.Once
	captured chan *socketauth.Socket // by the handler that socketOf registers
}

// withServer runs a test against a server with login, registration and GET /api behind the
// middleware. change may adjust its options.
func withServer(t *testing.T, change func(*socketauth.Options[string]), test func(srv *testServer)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) { test(newTestServer(t, change)) })
}

// onEngines runs a test as withServer does, once with clients of Engine.IO 3 and once with clients
// of 4.
func onEngines(t *testing.T, change func(*socketauth.Options[string]), test func(srv *testServer)) {
	t.Helper()
	for _, version := range []string{"3", "4"} {
		t.Run("Engine.IO "+version, func(t *testing.T) {
			withServer(t, change, func(srv *testServer) {
				srv.version = version
				test(srv)
			})
		})
	}
}

// newTestServer returns a server as withServer does, in the bubble of t.
func newTestServer(t *testing.T, change func(*socketauth.Options[string])) *testServer {
	t.Helper()
	srv := &testServer{T: t, logs: new(logBuffer), captured: make(chan *socketauth.Socket, 1)}
	o := testOptions(srv.logs)
	o.Logger = slog.New(slog.NewTextHandler(srv.logs, &slog.HandlerOptions{Level: slog.LevelDebug}))
	if change != nil {
		change(&o)
	}
	t.Cleanup(func() { // after the server has been shut down
		if srv.Server != nil && !socketauth.HubEmpty(srv.Server.Server) {
			t.Error("sockets that have ended are still registered")
		}
	})
	srv.Server = socketauthtest.NewServer(t, o)
	synctest.Wait() // until it watches the store
	srv.Mux.Handle("GET /api", srv.Auth().Middleware(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		claims, _ := socketauth.ClaimsFromContext(r.Context())
		_, _ = io.WriteString(rw, claims["sub"].(string))
	})))
	return srv
}

// Shared with the tests of package socketauth.
var (
	testSecret = socketauth.TestSecret
	respell    = socketauth.Respell
	payloadOf  = socketauth.PayloadOf
	testKeys   = socketauth.TestKeys
)

// logBuffer is a log that may be written and read by several goroutines.
type logBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (s *logBuffer) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(p)
}

func (s *logBuffer) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.String()
}

func (s *logBuffer) expect(t *testing.T, part string) {
	t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	if !bytes.Contains(s.b.Bytes(), []byte(part)) {
		t.Errorf("the log does not say %q:\n%s", part, s.b.String())
	}
}

// expectLogged checks that the log contains part once all goroutines wait.
func (srv *testServer) expectLogged(part string) {
	srv.Helper()
	synctest.Wait()
	srv.logs.expect(srv.T, part)
}

// code returns a code for the user anna.
func (srv *testServer) code() string { return srv.codeFor(jwt.MapClaims{"sub": "anna"}) }

// codeFor returns a code for a user with these claims.
func (srv *testServer) codeFor(claims jwt.MapClaims) string {
	srv.Helper()
	code, err := srv.Auth().IssueCode(context.Background(), claims)
	if err != nil {
		srv.Fatal(err)
	}
	return code
}

// get sends GET /api, which is behind Middleware.
func (srv *testServer) get(token string) (int, string, http.Header) {
	srv.Helper()
	client := http.Client{Transport: &http.Transport{DialContext: srv.DialContext, DisableKeepAlives: true}}
	r, _ := http.NewRequest(http.MethodGet, "http://server/api", nil)
	if token != "" {
		r.Header.Set("Authorization", "Bearer "+token)
	}
	res, err := client.Do(r)
	if err != nil {
		srv.Fatal(err)
	}
	defer res.Body.Close()
	body, _ := io.ReadAll(res.Body)
	return res.StatusCode, string(body), res.Header
}

// post sends JSON and returns the body of the answer.
func (srv *testServer) post(path, body string) string {
	srv.Helper()
	client := http.Client{Transport: &http.Transport{DialContext: srv.DialContext, DisableKeepAlives: true}}
	res, err := client.Post("http://server"+path, "application/json", strings.NewReader(body))
	if err != nil {
		srv.Fatal(err)
	}
	defer res.Body.Close()
	answer, _ := io.ReadAll(res.Body)
	return string(answer)
}

// loginCode logs anna in and returns her code.
func (srv *testServer) loginCode() string {
	srv.Helper()
	var answer struct{ Token string }
	if err := json.Unmarshal([]byte(srv.post("/login", `{"username":"anna","password":"secret"}`)), &answer); err != nil || answer.Token == "" {
		srv.Errorf("%+v, %v", answer, err)
	}
	return answer.Token
}

// testOptions returns the options of an app in which anna's password is "secret". Other names make
// the hooks fail in ways of their own.
func testOptions(logs io.Writer) socketauth.Options[string] {
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

// post sends one request and returns the status, the decoded body and the headers.
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

// credentialsJSON returns the body of a login.
func credentialsJSON(name, password string) string {
	b, _ := json.Marshal(map[string]string{"username": name, "password": password})
	return string(b)
}

// claimsOf returns the claims of a user.
func claimsOf(sub string) jwt.MapClaims { return jwt.MapClaims{"sub": sub} }

// dialEngine makes the handshake of Engine.IO with that address in the header X-Address. For
// "upgrade" the client is left polling.
func (srv *testServer) dialEngine(version, transport, address string) (*siotest.Conn, error) {
	d := siotest.Dialer{Version: version, Header: http.Header{"X-Address": {address}}, Net: srv.DialContext}
	return d.Dial(srv.Context(), transport)
}

// foreignToken returns a good token of a session that the server's store has never heard of: that
// of another server with the same key.
func (srv *testServer) foreignToken() string {
	srv.Helper()
	other := socketauthtest.NewServer(srv.T, socketauth.Options[any]{Secret: testSecret})
	return other.Dial(jwt.MapClaims{"sub": "anna"}).Token()
}

// onAllTransports runs a test on each engine and transport.
func onAllTransports(t *testing.T, test func(srv *testServer, version, transport string)) {
	t.Helper()
	for _, version := range []string{"3", "4"} {
		for _, transport := range siotest.Transports {
			t.Run(version+" "+transport, func(t *testing.T) {
				withServer(t, nil, func(srv *testServer) { test(srv, version, transport) })
			})
		}
	}
}

// rawUnauthenticated returns a client in the root namespace that has not authenticated.
func (srv *testServer) rawUnauthenticated(version, transport string) *siotest.Conn {
	srv.Helper()
	d := siotest.Dialer{Version: version, Net: srv.DialContext}
	c, err := d.Dial(srv.Context(), transport)
	if err == nil {
		_, err = c.Join("")
	}
	if err == nil && transport == "upgrade" {
		err = c.Upgrade(srv.Context())
	}
	if err != nil {
		srv.Fatal(err)
	}
	return c
}

// rawAuthenticated returns a client that has authenticated.
func (srv *testServer) rawAuthenticated(version, transport, userID string) *siotest.Conn {
	srv.Helper()
	c := srv.rawUnauthenticated(version, transport)
	in, _ := json.Marshal(map[string]string{"token": srv.Code(jwt.MapClaims{"sub": userID})})
	err := c.Write(`42["authenticate",` + string(in) + `]`)
	if err == nil {
		_, err = c.Expect(`42["authenticated",`)
	}
	if err != nil {
		srv.Fatal(err)
	}
	synctest.Wait() // the client gets the token a moment before the socket is authenticated
	return c
}
