package main

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"math/rand/v2"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"

	"github.com/gorilla/websocket"

	"github.com/z-open/socketauth/examples/internal/dpop"
)

const (
	minDelay    = time.Second      // before the second connection; it doubles after each failure
	maxDelay    = 30 * time.Second // the longest it gets
	stableAfter = 10 * time.Second // a connection that lasts longer is not a failure
)

var (
	errLoggedOut = errors.New("logged out")
	errNoToken   = errors.New("no token")
	errLost      = errors.New("the connection was lost before the reply")
)

// refusal is the data of the event "unauthorized".
type refusal struct {
	Code       string
	Terminal   bool // the presented token is dead
	RetryAfter int  // in seconds; 0 if the server does not say
}

func (r *refusal) Error() string { return r.Code }

// session is one login. It connects, authenticates, has its token replaced before it expires, and
// connects again when a connection is lost. link.go has the rules for a connection.
type session struct {
	server *url.URL
	file   *tokenFile
	key    *dpop.Key // that the session is bound to
	log    *slog.Logger
	dialer *websocket.Dialer
	pause  func(ctx context.Context, d time.Duration) error    // waits between connections
	due    func(token string, kept bool) (after time.Duration) // returns when to have a token replaced

	greeting string                                    // the event that is sent when a connection is authenticated
	onEvent  func(name string, args []json.RawMessage) // called for the app's events, in order; it must not block

	outgoing chan call
	leave    chan struct{} // closed by Logout
	Logout   func()        // ends the session; Run returns when the server has ended it
	failures int           // in a row; only for the goroutine of Run
}

// newSession returns a session whose token is in file.
func newSession(server *url.URL, file *tokenFile, key *dpop.Key, log *slog.Logger) *session {
	leave := make(chan struct{})
	return &session{
		server: server, file: file, key: key, log: log, pause: pause, due: renewal,
		dialer:   &websocket.Dialer{Proxy: http.ProxyFromEnvironment, HandshakeTimeout: openTimeout},
		onEvent:  func(string, []json.RawMessage) {},
		outgoing: make(chan call),
		leave:    leave,
		Logout:   sync.OnceFunc(func() { close(leave) }),
	}
}

// answer is what the server answers to a login.
type answer struct {
	Token, Code string
	status      int
	nonce       string // for the next proof, if the server has sent one
}

// Login sends credentials and stores the code that it gets in the file of the token. path is /login
// or /register. The session will be bound to the key.
func (s *session) Login(ctx context.Context, path string, credentials map[string]string) error {
	a, err := s.login(ctx, path, credentials, "")
	if err == nil && a.Code == "USE_DPOP_NONCE" { // the clocks of client and server differ
		a, err = s.login(ctx, path, credentials, a.nonce)
	}
	switch {
	case err != nil:
		return err
	case a.status != http.StatusOK:
		return fmt.Errorf("%s: %d %s", path, a.status, a.Code)
	case a.Token == "":
		return fmt.Errorf("%s: no code in the answer: does the server have an AppURL?", path)
	}
	return s.file.Store(a.Token)
}

// login sends credentials once, with a proof of the key.
func (s *session) login(ctx context.Context, path string, credentials map[string]string, nonce string) (a answer, err error) {
	body, err := json.Marshal(credentials)
	if err != nil {
		return a, err
	}
	address := s.server.JoinPath(path).String()
	proof, err := s.key.Request(http.MethodPost, address, "", nonce)
	if err != nil {
		return a, err
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, address, bytes.NewReader(body))
	if err != nil {
		return a, err
	}
	request.Header.Set("Content-Type", "application/json")
	request.Header.Set("DPoP", proof)
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return a, err
	}
	defer func() { _ = response.Body.Close() }()
	err = json.NewDecoder(response.Body).Decode(&a)
	a.status, a.nonce = response.StatusCode, response.Header.Get("DPoP-Nonce")
	if err != nil {
		err = fmt.Errorf("%s: %d: %w", path, a.status, err)
	}
	return a, err
}

// Run keeps the session connected until it ends. It returns nil after a log-out, which may come
// from another device, and ctx.Err() if ctx has ended; the session then goes on in the file. Any
// other error says why no token is left.
func (s *session) Run(ctx context.Context) error {
	for {
		began := time.Now()
		err := s.connect(ctx)
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if errors.Is(err, errLoggedOut) {
			return nil
		}
		if token, loadErr := s.file.Load(); loadErr != nil || token == "" {
			return errors.Join(err, loadErr)
		}
		if time.Since(began) > stableAfter {
			s.failures = 0
		}
		delay := s.delay(err)
		s.log.Warn("connection lost", slog.Any("cause", err), slog.Duration("back in", delay))
		if err := s.pause(ctx, delay); err != nil {
			return err
		}
	}
}

// delay returns how long to wait after a failure: at least as long as the server says, longer after
// each failure, and with a random part, so that clients do not all come back at the same time.
func (s *session) delay(cause error) time.Duration {
	delay := min(maxDelay, minDelay<<min(s.failures, 10))
	s.failures++
	var retryAfter time.Duration
	if r, ok := errors.AsType[*refusal](cause); ok {
		retryAfter = time.Duration(r.RetryAfter) * time.Second
	}
	jitter := rand.N(delay / 2)
	return max(retryAfter, delay/2) + jitter
}

// pause waits for d or for the end of ctx.
func pause(ctx context.Context, d time.Duration) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(d):
		return nil
	}
}

// call is an event of the app with a channel for its result.
type call struct {
	event []any
	reply chan error // with room for one, so that a link never blocks
}

// Call sends an event of the app and waits until the server has handled it. The error is the code
// of the server's reply, or errLost. If the client is offline, Call waits for a connection. It
// returns ctx.Err() if ctx ends.
func (s *session) Call(ctx context.Context, event string, args ...any) error {
	c := call{append([]any{event}, args...), make(chan error, 1)}
	select {
	case s.outgoing <- c:
	case <-ctx.Done():
		return ctx.Err()
	}
	select {
	case err := <-c.reply:
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// renewal returns after how long to have a token replaced. It uses the claim "dur", because "exp"
// would need a clock that agrees with the server's.
func renewal(token string, kept bool) time.Duration {
	var claims struct{ Dur float64 }
	if parts := strings.Split(token, "."); len(parts) == 3 {
		text, _ := base64.RawURLEncoding.DecodeString(parts[1])
		_ = json.Unmarshal(text, &claims) // the server verifies tokens, not the client
	}
	if claims.Dur <= 2 { // the session ends, and no token of it lives longer
		return math.MaxInt64
	}
	due := claims.Dur * (0.7 + 0.1*rand.Float64()) // not the same for all clients
	if kept {
		due -= claims.Dur / 2 // a token that is sent back unchanged is at most half through its life
	}
	return time.Duration(due * float64(time.Second))
}
