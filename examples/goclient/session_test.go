package main

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/z-open/socketauth"
)

func TestFirstLoginThenRestart(t *testing.T) {
	t.Parallel()
	a := serve(t, nil)
	first := a.login(t)
	code := first.stored()
	first.start()
	before := await(t, "the socket", a.joined)
	token := first.stored()
	if token == "" || token == code {
		t.Error("the code was not replaced by a token")
	}
	if info, err := os.Stat(first.file.path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v", info, err)
	}
	first.shutdown()

	second := a.client(t, first.file.path)
	second.start()
	after := await(t, "the socket", a.joined)
	if before.SessionID() != after.SessionID() || before.ID() == after.ID() {
		t.Error("not the same session on another socket")
	}
	if second.stored() == token {
		t.Error("the token was not replaced")
	}
	if again, err := openTokenFile(first.file.path); err == nil {
		_ = again.Close()
		t.Error("two have one file")
	}
}

func TestWrongPassword(t *testing.T) {
	t.Parallel()
	c := serve(t, nil).client(t, newFile(t))
	err := c.Login(t.Context(), "/login", map[string]string{"username": "ada", "password": "open barley"})
	if err == nil || !strings.Contains(err.Error(), "USER_INVALID") {
		t.Errorf("%v", err)
	}
	if err := c.Run(t.Context()); !errors.Is(err, errNoToken) {
		t.Errorf("without a token: %v", err)
	}
}

func TestTokenIsReplacedBeforeItExpires(t *testing.T) {
	t.Parallel()
	a := serve(t, func(o *socketauth.Options[string]) { o.TokenLifetime = 3 * time.Second })
	c := a.login(t)
	c.start()
	id := await(t, "the socket", a.joined).ID()
	for range 2 { // the first token has expired by the second time
		if e := await(t, "the rotation", a.audit); e.Kind != socketauth.AuditRotated || e.SocketID != id {
			t.Errorf("%+v", e)
		}
	}
	if len(c.pauses) > 0 {
		t.Error("the connection was lost")
	}
}

// Guards: a client that did not answer "refresh" was disconnected, and its events waited until
// then.
func TestClaimsThatHaveChanged(t *testing.T) {
	t.Parallel()
	var role atomic.Int64
	a := serve(t, func(o *socketauth.Options[string]) {
		o.UpdateClaims = func(_ context.Context, old jwt.MapClaims) (jwt.MapClaims, error) {
			old["role"] = float64(role.Load())
			return old, nil
		}
	})
	roles := make(chan any, 1)
	a.On("role", func(_ context.Context, s *socketauth.Socket, _ socketauth.Args) (any, error) {
		roles <- s.Claims()["role"]
		return nil, nil
	})
	c := a.login(t)
	c.start()
	id := await(t, "the socket", a.joined).ID()
	for range 3 {
		now := role.Add(1)
		if receipt, err := a.Auth().RefreshUser(t.Context(), "ada"); err != nil || receipt.Sockets != 1 {
			t.Fatalf("%+v, %v", receipt, err)
		}
		if err := c.Call(t.Context(), "role"); err != nil {
			t.Fatal(err)
		}
		if got := <-roles; got != float64(now) {
			t.Errorf("role %v, want %d", got, now)
		}
		if e := await(t, "the rotation", a.audit); e.Kind != socketauth.AuditRotated || e.SocketID != id {
			t.Errorf("%+v", e)
		}
	}
	if len(c.pauses) > 0 {
		t.Error("the connection was lost")
	}
}

func TestCutInsideTheHandshake(t *testing.T) {
	t.Parallel()
	for name, where := range map[string]cuts{
		"HTTP upgrade":    {write: 1},
		"CONNECT":         {write: 2},
		"authenticated":   {answer: true},
		"acknowledgement": {write: 3},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			a := serve(t, nil)
			first := a.login(t)
			for _, c := range []*client{first, nil} { // with the code, then with a token
				if c == nil {
					c = a.client(t, first.file.path)
				}
				cuts := where
				c.dialer.NetDialContext = cuts.dial
				c.start()
				await(t, "the socket", a.joined)
				if len(c.pauses) != 1 {
					t.Errorf("%d connections were cut", len(c.pauses))
				}
				c.shutdown()
			}
			for len(a.audit) > 0 {
				if e := <-a.audit; e.Kind == socketauth.AuditReuse {
					t.Error("taken for a thief")
				}
			}
		})
	}
}

// A token that could not be stored is not acknowledged, and so the one before it is still good.
func TestDiskThatFails(t *testing.T) {
	t.Parallel()
	a := serve(t, nil)
	c := a.login(t)
	code := c.stored()
	inTheWay := c.file.path + ".new"
	if err := os.Mkdir(inTheWay, 0o700); err != nil {
		t.Fatal(err)
	}
	c.pause = func(context.Context, time.Duration) error {
		if c.stored() != code {
			t.Error("the code is gone")
		}
		return os.Remove(inTheWay)
	}
	c.start()
	await(t, "the socket", a.joined)
}

func TestRevokedSessionIsOver(t *testing.T) {
	t.Parallel()
	for name, online := range map[string]bool{"online": true, "at the next start": false} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			a := serve(t, nil)
			c := a.login(t)
			c.start()
			socket := await(t, "the socket", a.joined)
			if !online {
				c.shutdown()
			}
			if _, err := a.Auth().RevokeSession(t.Context(), socket.UserID(), socket.SessionID()); err != nil {
				t.Fatal(err)
			}
			if !online {
				c = a.client(t, c.file.path)
				c.start()
			}
			if r, ok := errors.AsType[*refusal](c.end()); !ok || r.Code != "session_revoked" || !r.Terminal {
				t.Errorf("%+v", r)
			}
			if len(c.pauses) > 0 {
				t.Error("it came back with a dead token")
			}
		})
	}
}

func TestBacksOffAsTold(t *testing.T) {
	t.Parallel()
	// refusing gives what two tries are refused with, and then nothing.
	refusing := func() func() error {
		var tries atomic.Int32
		return func() error {
			switch tries.Add(1) {
			case 1:
				return socketauth.ErrUnavailable
			case 2:
				return socketauth.ErrTooManyAttempts
			}
			return nil
		}
	}
	for name, start := range map[string]func() *app{
		"before the token is accepted": func() *app {
			refuse := refusing()
			return serve(t, func(o *socketauth.Options[string]) {
				o.TenantID = func(context.Context, jwt.MapClaims) (string, error) { return "acme", refuse() }
			})
		},
		"after it was stored": func() *app {
			refuse := refusing()
			a := serve(t, nil)
			a.OnAuthenticated(func(context.Context, *socketauth.Socket) error { return refuse() })
			return a
		},
	} {
		t.Run(name, func(t *testing.T) {
			a := start()
			c := a.login(t)
			c.start()
			await(t, "the socket", a.joined)
			for _, least := range []time.Duration{time.Second, 30 * time.Second} {
				if d := await(t, "the pause", c.pauses); d < least {
					t.Errorf("%v, where %v was asked for", d, least)
				}
			}
			if len(c.pauses) > 0 {
				t.Error("it was away once more")
			}
		})
	}
}

func TestDelaysGrowAndDiffer(t *testing.T) {
	s := newSession(nil, nil, nil, nil)
	for n, most := range []time.Duration{1, 2, 4, 8, 16, 30, 30} {
		most *= time.Second
		seen := make(map[time.Duration]bool)
		for range 20 {
			s.failures = n
			d := s.delay(io.EOF)
			if d < most/2 || d > most {
				t.Errorf("failure %d: %v", n, d)
			}
			seen[d] = true
		}
		if len(seen) < 2 {
			t.Errorf("failure %d: always the same", n)
		}
	}
}

func TestRefusedRenewalLeavesTheSocketAlive(t *testing.T) {
	t.Parallel()
	var tries atomic.Int32
	a := serve(t, func(o *socketauth.Options[string]) {
		o.TenantID = func(context.Context, jwt.MapClaims) (string, error) {
			if tries.Add(1) == 2 {
				return "", socketauth.ErrUnavailable
			}
			return "acme", nil
		}
	})
	c := a.login(t)
	c.due = func(string, bool) time.Duration {
		c.due = renewal // from the second time on
		return 0
	}
	c.start()
	id := await(t, "the socket", a.joined).ID()
	if e := await(t, "the rotation", a.audit); e.SocketID != id || tries.Load() != 3 {
		t.Errorf("%+v at try %d", e, tries.Load())
	}
}

func TestLogout(t *testing.T) {
	t.Parallel()
	for name, early := range map[string]bool{"online": false, "before it is": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			a := serve(t, nil)
			c := a.login(t)
			if early {
				c.Logout()
			}
			c.start()
			if !early {
				await(t, "the socket", a.joined)
			}
			c.Logout()
			if err := c.end(); err != nil {
				t.Error(err)
			}
			if e := await(t, "the log-out", a.audit); e.Kind != socketauth.AuditLogout {
				t.Errorf("%+v", e)
			}
		})
	}
}

// What the command does from its first line of input to its last.
func TestCommand(t *testing.T) {
	a := serve(t, nil)
	t.Setenv("PASSWORD", "open sesame")
	args := []string{"-url", a.url.String(), "-user", "ada", "-token", newFile(t)}
	in, type_ := io.Pipe()
	out := lines(make(chan string, 10))
	ended := make(chan error, 1)
	go func() { ended <- run(t.Context(), args, in, out) }()
	for _, tt := range []struct{ typed, shown string }{{"hello", "ada: hello\n"}, {"bye", "ada: bye\n"}} {
		if _, err := io.WriteString(type_, tt.typed+"\n"); err != nil {
			t.Fatal(err)
		}
		if got := await(t, "the message", out); got != tt.shown {
			t.Errorf("%q, want %q", got, tt.shown)
		}
	}
	if err := type_.Close(); err != nil {
		t.Fatal(err)
	}
	if err := await(t, "the end", ended); err != nil {
		t.Error(err)
	}
	if err := run(t.Context(), args, strings.NewReader("/logout\n"), io.Discard); err != nil {
		t.Error(err)
	}
	err := run(t.Context(), []string{"-url", a.url.String(), "-token", args[5]}, strings.NewReader(""), io.Discard)
	if err == nil || !strings.Contains(err.Error(), "no token is stored") {
		t.Errorf("after the log-out: %v", err)
	}
}

func TestRefusedLineIsTold(t *testing.T) {
	// Guards: what the server refused was dropped without a word, and the command ended before it
	// could know.
	a := serve(t, nil)
	t.Setenv("PASSWORD", "open sesame")
	out := lines(make(chan string, 10))
	args := []string{"-url", a.url.String(), "-user", "ada", "-token", newFile(t)}
	if err := run(t.Context(), args, strings.NewReader("\nhello\n"), out); err != nil {
		t.Error(err)
	}
	for _, want := range []string{"say: MESSAGE_EMPTY\n", "ada: hello\n"} {
		if got := await(t, "the line", out); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}

func TestCallThatIsCut(t *testing.T) {
	t.Parallel()
	c := serve(t, nil).login(t)
	cuts := cuts{write: 5} // after the upgrade, CONNECT, the acknowledgement and the greeting
	c.dialer.NetDialContext = cuts.dial
	c.start()
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	defer cancel()
	if err := c.Call(ctx, "say", "hello"); !errors.Is(err, errLost) {
		t.Errorf("cut: %v", err)
	}
	if err := c.Call(ctx, "say", "hello"); err != nil {
		t.Errorf("on the next connection: %v", err)
	}
}

func TestCallsAtOnce(t *testing.T) {
	t.Parallel()
	c := serve(t, nil).login(t)
	c.start()
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	defer cancel()
	var calls sync.WaitGroup
	for range 5 {
		for text, want := range map[string]string{"": "MESSAGE_EMPTY", "hello": "<nil>"} {
			calls.Go(func() {
				if got := fmt.Sprint(c.Call(ctx, "say", text)); got != want {
					t.Errorf("%q: %s, want %s", text, got, want)
				}
			})
		}
	}
	calls.Wait()
}

type lines chan string

func (l lines) Write(b []byte) (int, error) {
	l <- string(b)
	return len(b), nil
}

func TestRenewalGoesByTheLifeOfTheToken(t *testing.T) {
	token := func(claims string) string {
		return "e30." + base64.RawURLEncoding.EncodeToString([]byte(claims)) + ".c2ln"
	}
	for _, tt := range []struct {
		token       string
		kept        bool
		least, most time.Duration
	}{
		{token(`{"dur":1000}`), false, 700 * time.Second, 800 * time.Second},
		{token(`{"dur":1000}`), true, 200 * time.Second, 300 * time.Second},
		{token(`{"dur":1.5}`), false, math.MaxInt64, math.MaxInt64}, // the session is at its end
		{"opaque", false, math.MaxInt64, math.MaxInt64},
	} {
		if d := renewal(tt.token, tt.kept); d < tt.least || d > tt.most {
			t.Errorf("%+v: %v", tt, d)
		}
	}
}
