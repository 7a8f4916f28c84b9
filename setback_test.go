package socketauth

import (
	"net/http"
	"net/http/httptest"
	"testing"
	"testing/synctest"
	"time"
	"unsafe"

	"github.com/golang-jwt/jwt/v5"

	"github.com/z-open/socketauth/blacklist"
)

// readBefore returns t as a process has it that read it before its wall clock was set back by step: the
// monotonic reading is the same, that of the wall clock is later.
func readBefore(t time.Time, step time.Duration) time.Time {
	wall := (*uint64)(unsafe.Pointer(&t)) // with a monotonic reading, seconds above 30 bits of nanoseconds
	*wall += uint64(step/time.Second) << 30
	return t
}

func TestClockSetBackAndLateFrames(t *testing.T) {
	// Guards: a socket opened before the clock was set back seemed to be opened after whatever was replaced since, and its
	// late frame ended the session as reuse. Outside a bubble, whose times have no monotonic reading.
	now := time.Now()
	p := (&Socket{
		server:     &Server{auth: &Auth{config: new(config)}},
		connection: &connection{opened: readBefore(now, time.Hour)},
	}).presentation(new(token), readBefore(now, time.Hour))
	for name, got := range map[string]time.Time{"SocketOpenedAt": p.SocketOpenedAt, "PresentedAt": p.PresentedAt} {
		if off := got.Round(0).Sub(now.Round(0)).Abs(); off > time.Minute {
			t.Errorf("%s is %v off", name, off)
		}
	}
}

func TestClockSetBackAndExpiry(t *testing.T) {
	// Guards: a socket stayed past the expiry of its token for as long as the clock was set back by.
	inWorld(t, func(o *Options[string]) { o.TokenLifetime = time.Hour }, func(w *world) {
		c, _ := w.in()
		time.Sleep(time.Minute)
		for _, s := range w.hub.Members(everyone) {
			s.onDeadline(s.newest().ExpiresAt.Add(-time.Second))
			c.alive()
			s.onDeadline(s.newest().ExpiresAt) // as the timer says, though the wall clock shows less
		}
		c.refusedAndGone("token_expired")
	})
}
func TestMiddlewareAfterTheClockWasSetBack(t *testing.T) {
	// Guards: a token that was replaced passed Middleware for as long as the clock was set back by.
	var a *Auth
	var replaced, latest *token
	status := func(bearer *token) int {
		r := httptest.NewRequest("GET", "/", nil)
		r.Header.Set("Authorization", "Bearer "+bearer.Text)
		w := httptest.NewRecorder()
		a.Middleware(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {})).ServeHTTP(w, r)
		return w.Code
	}
	presents := func(t *testing.T, now *token) *token {
		t.Helper()
		next, err := a.tokens.successor(t.Context(), now)
		if err != nil {
			t.Fatal(err)
		}
		v, err := a.blacklist.Present(t.Context(), blacklist.Presentation{Token: now.ref(), SuccessorID: next.ID, SuccessorExpiresAt: next.ExpiresAt})
		if err != nil || v != blacklist.Accepted {
			t.Fatalf("verdict %d, %v", v, err)
		}
		return next
	}
	logsIn := func(t *testing.T) *token {
		t.Helper()
		text, err := a.IssueCode(t.Context(), jwt.MapClaims{"sub": "anna"})
		if err != nil {
			t.Fatal(err)
		}
		code, refused := a.verify(t.Context(), text)
		if refused != nil {
			t.Fatal(refused)
		}
		return presents(t, code)
	}
	synctest.Test(t, func(t *testing.T) {
		time.Sleep(time.Hour)
		var err error
		if a, err = New(Options[any]{Secret: make([]byte, 32)}); err != nil {
			t.Fatal(err)
		}
		replaced = logsIn(t)
		latest = presents(t, replaced)
		if got := status(replaced); got != 200 {
			t.Errorf("just replaced: %d", got)
		}
	})
	synctest.Test(t, func(t *testing.T) {
		for range 3 {
			if got := status(replaced); got != 401 {
				t.Errorf("replaced: %d", got)
			}
			if got := status(latest); got != 200 {
				t.Errorf("current: %d", got)
			}
			if got := status(logsIn(t)); got != 200 {
				t.Errorf("a log-in of after: %d", got)
			}
			time.Sleep(20 * time.Minute)
		}
	})
}
