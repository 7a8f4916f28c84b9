package histories

import (
	"cmp"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/z-open/socketauth"
	"github.com/z-open/socketauth/blacklist"
)

// realServer is the library's own server, behind net/http, with clients on pipes. Only its hooks
// are simulated.
type realServer struct {
	*socketauth.Server
	w    *world
	http *http.Server
	lis  *listener
	log  *logs

	enforced enforced

	mu    sync.Mutex
	rand  *rand.Rand // for the hooks, which are called from many goroutines
	calls sync.WaitGroup
	over  chan struct{} // closed when the history is over
}

func newRealServer(w *world, s *store, as blacklist.Store, seed uint64) (*realServer, error) {
	r := &realServer{w: w, lis: newListener(), log: &logs{w: w}, rand: rand.New(rand.NewPCG(seed, 6)), over: make(chan struct{}),
		enforced: enforced{least: make(map[string]int)}}
	s.takeTime = func(ctx context.Context) error { return r.takeTime(ctx, 10*time.Millisecond) }
	policy := socketauth.RejectOnly
	if w.endOnReuse {
		policy = socketauth.EndSession
	}
	mux := http.NewServeMux()
	r.http = &http.Server{Handler: mux, ErrorLog: slog.NewLogLogger(slog.NewTextHandler(r.log, nil), slog.LevelError)}
	var err error
	r.Server, err = socketauth.Infrastructure(r.http, mux, socketauth.Options[any]{
		FindUserByCredentials: func(_ context.Context, c socketauth.Credentials) (any, error) {
			return c.Get("username"), nil
		},
		Claim:           func(user any) (jwt.MapClaims, error) { return jwt.MapClaims{"sub": user}, nil },
		TokenPath:       "/token",
		Secret:          []byte("a secret of thirty-two bytes at least"),
		Timeout:         w.timeout,
		CodeLifetime:    w.codeLifetime,
		TokenLifetime:   w.tokenLifetime,
		SessionLifetime: w.sessionLifetime,
		RefreshInterval: w.refreshInterval,
		ReusePolicy:     policy,
		UpdateClaims:    r.updateClaims,
		Blacklist:       as,
		ClientIP:        func(r *http.Request) string { return r.RemoteAddr },
		TenantID: func(ctx context.Context, _ jwt.MapClaims) (string, error) {
			if err := r.takeTime(ctx, w.weather().slowHook); err != nil {
				return "", err
			}
			if r.fails() {
				return "", errHook
			}
			return "tenant", nil
		},
		Logger: slog.New(slog.NewTextHandler(r.log, &slog.HandlerOptions{Level: slog.LevelWarn})),
	})
	if err != nil {
		return nil, err
	}
	r.OnAuthenticated(func(ctx context.Context, _ *socketauth.Socket) error {
		if err := r.takeTime(ctx, w.weather().slowHook); err != nil {
			return err
		}
		if r.fails() {
			return errHook
		}
		return nil
	})
	r.handleIdentity()
	mux.Handle("GET /api", r.Auth().Middleware(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {})))
	r.calls.Go(func() { _ = r.http.Serve(r.lis) })
	return r, nil
}

var errHook = errors.New("histories: the hook has failed")

func (r *realServer) fails() bool {
	failed := r.chance(r.w.weather().hookFails)
	if failed {
		r.tell(func() { r.w.counts.HookFaults++ })
	}
	return failed
}

// report broadcasts the app's news at random intervals.
func (r *realServer) report() {
	_ = r.Emit(string(news), r.newsFor()...)
	r.w.after(r.w.between(10*time.Millisecond, 10*time.Second), r.report)
}

func (r *realServer) chance(p float64) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return p > 0 && r.rand.Float64() < p
}

// takeTime waits as long as a hook or a store call takes, or until ctx is done.
func (r *realServer) takeTime(ctx context.Context, usual time.Duration) error {
	c := r.w.weather()
	d := time.Duration(r.number(int64(usual)))
	if r.chance(c.hangs) {
		d = time.Duration(r.number(int64(c.timeout)))
		r.tell(func() { r.w.counts.Hangs++ })
	}
	timer := time.NewTimer(d.Truncate(c.grain))
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (r *realServer) number(below int64) int64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.rand.Int64N(below)
}

// tell has the history's goroutine call what, unless the history is over.
func (r *realServer) tell(what func()) {
	select {
	case r.w.inbox <- what:
	case <-r.over:
	}
}

// close shuts the server down, and waits for all its goroutines.
func (r *realServer) close() error {
	close(r.over)
	err := r.Shutdown(context.Background())
	err = errors.Join(err, r.http.Shutdown(context.Background())) // waits for requests
	r.calls.Wait()
	return err
}

// login calls IssueCode after the time that the check of a password takes.
func (r *realServer) login(userID, key string, got func(token)) {
	r.w.after(r.w.between(time.Millisecond, 500*time.Millisecond), func() {
		if key != "" {
			r.logIn(userID, r.w.keys[key], got)
			return
		}
		proved := time.Now()
		text, err := r.Auth().IssueCode(context.Background(), jwt.MapClaims{"sub": userID})
		if err != nil {
			r.w.violate("issuing a code: %v", err)
			return
		}
		got(r.readCode(text, proved))
	})
}

// readCode reads a code whose user has proved at that time who they are.
func (r *realServer) readCode(text string, proved time.Time) token {
	code := r.w.readToken(text)
	if d := proved.Sub(code.ref.AuthTime); d < 0 || d > roughly {
		r.w.violate("the login of a code is %v off", d)
	}
	code.ref.AuthTime = proved
	return code
}

func (r *realServer) check(t token, key string) {
	request := r.request(http.MethodGet, "/api", "", t, key)
	r.calls.Go(func() {
		res, said, err := r.do("http", request)
		switch {
		case err != nil:
		case res.StatusCode == http.StatusOK && t.key != "" && t.key != key:
			r.w.violate("%s, which is bound to %q, is accepted by Middleware with %q", t, t.key, key)
		case t.key == key:
			r.honestProof("Middleware", t, said.Code)
		}
	})
}

func (r *realServer) revoke(of blacklist.Revocation) {
	r.calls.Go(func() {
		switch ctx := context.Background(); { // an error comes from a store that fails on purpose
		case of.All:
			_, _ = r.Auth().RevokeAll(ctx)
		case of.Except != "":
			_, _ = r.Auth().RevokeOthers(ctx, of.UserID, of.Except)
		case of.UserID != "":
			_, _ = r.Auth().RevokeUser(ctx, of.UserID)
		default:
			_, _ = r.Auth().RevokeSession(ctx, of.UserID, of.SessionID)
		}
	})
}

// readToken reads the claims of a token, without verifying it. Times are by the history's clock.
func (w *world) readToken(text string) token {
	var c struct {
		Subject    string  `json:"sub"`
		SessionID  string  `json:"sid"`
		ID         string  `json:"jti"`
		Generation uint64  `json:"gen"`
		IssuedAt   float64 `json:"iat"`
		ExpiresAt  float64 `json:"exp"`
		AuthTime   float64 `json:"auth_time"`
		Began      float64 `json:"began"`
		Mark       int64   `json:"mark"`
		Role       int     `json:"role"`
		Cnf        struct {
			Thumbprint string `json:"jkt"`
		} `json:"cnf"`
	}
	parts := strings.Split(text, ".")
	if len(parts) != 3 {
		return token{text: text}
	}
	payload, _ := base64.RawURLEncoding.DecodeString(parts[1])
	_ = json.Unmarshal(payload, &c) // an invalid token fails later, when it is used
	at := func(seconds float64) time.Time { return time.UnixMicro(int64(seconds*1e6 + 0.5)).Add(-w.offset) }
	return token{text: text, proved: at(c.AuthTime), role: c.Role, key: c.Cnf.Thumbprint, ref: blacklist.TokenRef{
		SessionID: c.SessionID, TokenID: c.ID, UserID: c.Subject, Generation: c.Generation,
		IssuedAt: at(c.IssuedAt), AuthTime: at(cmp.Or(c.Began, c.AuthTime)), ExpiresAt: at(c.ExpiresAt), Mark: c.Mark,
		Bound: c.Cnf.Thumbprint != "",
	}}
}

// logs writes the server's log lines into the trace.
type logs struct{ w *world }

func (l *logs) Write(b []byte) (int, error) {
	l.w.note("     log: %s", strings.TrimSpace(string(b)))
	if strings.Contains(string(b), "panic") {
		l.w.violate("the server panics: %s", b)
	}
	return len(b), nil
}

// RunReal runs the history of a seed through the library's own server, in the caller's bubble. The
// seed does not determine how goroutines are scheduled, so another run of the same seed may differ.
// Therefore RunReal always keeps the trace.
func RunReal(seed uint64, blacklist blacklist.Store) (Outcome, error) {
	w, l, s := newWorld(seed, blacklist, true)
	w.tracing, w.inbox = true, make(chan func())
	peer, err := newRealServer(w, s, s, seed)
	if err != nil {
		return Outcome{}, err
	}
	peer.report()
	w.play(peer, s, l)
	if err := peer.close(); err != nil {
		return Outcome{}, fmt.Errorf("shutting down: %w", err)
	}
	return w.outcome(), nil
}
