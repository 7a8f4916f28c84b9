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
)

const (
	minDelay = time.Second      // before the second connection; then twice as long each time, up to
	maxDelay = 30 * time.Second // this
	steady   = 10 * time.Second // online after which a connection counts as one that works
)

var (
	errLoggedOut = errors.New("logged out")
	errNoToken   = errors.New("no token")
	errLost      = errors.New("the connection was lost before the reply")
)

// refusal is what the server says with "unauthorized".
type refusal struct {
	Code       string
	Terminal   bool // the token presented last is dead
	RetryAfter int  // seconds
}

func (r *refusal) Error() string { return r.Code }

// session is one login, for as long as it lives: it connects, proves who it is, has its token replaced in time, and comes
// back when a connection is lost. link.go has the rules that it keeps on each connection.
type session struct {
	server *url.URL
	file   *tokenFile
	log    *slog.Logger
	dialer *websocket.Dialer
	pause  func(ctx context.Context, d time.Duration) error    // between connections
	due    func(token string, kept bool) (after time.Duration) // when to have a token replaced

	greeting string                                    // the event that is sent on each connection once it is let in
	heard    func(name string, args []json.RawMessage) // is given the app's events, in order; it must not wait

	outgoing chan call
	leave    chan struct{} // closed by Logout
	Logout   func()        // asks for the end of the session; Run returns when the server has ended it
	failures int           // in a row; Run's
}

func newSession(server *url.URL, file *tokenFile, log *slog.Logger) *session {
	leave := make(chan struct{})
	return &session{
		server: server, file: file, log: log, pause: pause, due: renewal,
		dialer:   &websocket.Dialer{Proxy: http.ProxyFromEnvironment, HandshakeTimeout: openPatience},
		heard:    func(string, []json.RawMessage) {},
		outgoing: make(chan call),
		leave:    leave,
		Logout:   sync.OnceFunc(func() { close(leave) }),
	}
}

// Login trades credentials for a code, and keeps that where its tokens will be. path is /login or /register.
func (s *session) Login(ctx context.Context, path string, credentials map[string]string) error {
	body, err := json.Marshal(credentials)
	if err != nil {
		return err
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, s.server.JoinPath(path).String(), bytes.NewReader(body))
	if err != nil {
		return err
	}
	request.Header.Set("Content-Type", "application/json")
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return err
	}
	defer func() { _ = response.Body.Close() }()
	var answer struct{ Token, Code string }
	err = json.NewDecoder(response.Body).Decode(&answer)
	switch {
	case response.StatusCode != http.StatusOK:
		return fmt.Errorf("%s: %s %s", path, response.Status, answer.Code)
	case err != nil:
		return err
	case answer.Token == "":
		return fmt.Errorf("%s: no code in the answer: does the server have an AppURL?", path)
	}
	return s.file.Store(answer.Token)
}

// Run keeps the session until it is over: nil after a log-out, here or on another device. Else the error says why there
// is nothing left to present, or is that of ctx, and then the session lives on in the file.
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
		if time.Since(began) > steady {
			s.failures = 0
		}
		delay := s.delay(err)
		s.log.Warn("connection lost", slog.Any("cause", err), slog.Duration("back in", delay))
		if err := s.pause(ctx, delay); err != nil {
			return err
		}
	}
}

// delay is how long to wait after a failure: as long as told, longer with each, and never as long as all others.
func (s *session) delay(cause error) time.Duration {
	delay := min(maxDelay, minDelay<<min(s.failures, 10))
	s.failures++
	var told time.Duration
	if r, ok := errors.AsType[*refusal](cause); ok {
		told = time.Duration(r.RetryAfter) * time.Second
	}
	jitter := rand.N(delay / 2)
	return max(told, delay/2) + jitter
}

func pause(ctx context.Context, d time.Duration) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(d):
		return nil
	}
}

// call is an event of the app's, and where what came of it goes.
type call struct {
	event []any
	reply chan error // has room for one, so that a link need not wait
}

// Call sends an event of the app's, and waits until the server has handled it: the error is what it said against it, or
// errLost. Offline it waits for a connection, as long as ctx lets it.
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

// renewal is when to have a token replaced. It goes by the token's seconds of life, since "exp" would need a clock that
// agrees with the server's.
func renewal(token string, kept bool) time.Duration {
	var claims struct{ Dur float64 }
	if parts := strings.Split(token, "."); len(parts) == 3 {
		text, _ := base64.RawURLEncoding.DecodeString(parts[1])
		_ = json.Unmarshal(text, &claims) // unverified: that is the server's to do
	}
	if claims.Dur <= 2 { // the end of the longest that a session may live
		return math.MaxInt64
	}
	due := claims.Dur * (0.7 + 0.1*rand.Float64()) // not all clients at one time
	if kept {
		due -= claims.Dur / 2 // one that came back as it was is at most half through
	}
	return time.Duration(due * float64(time.Second))
}
