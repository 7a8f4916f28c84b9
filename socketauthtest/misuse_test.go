package socketauthtest_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"runtime"
	"strings"
	"sync"
	"testing"
	"testing/synctest"

	"github.com/golang-jwt/jwt/v5"

	"github.com/z-open/socketauth"
	"github.com/z-open/socketauth/socketauthtest"
)

// fakeT is the testing.TB of a test that is to fail.
type fakeT struct {
	testing.TB // the real one

	mu       sync.Mutex
	failures []string
	cleanups []func()
	ended    bool
	late     []byte // logged after the end, for which testing panics
}

func (t *fakeT) Helper()           {}
func (t *fakeT) Output() io.Writer { return t }

func (t *fakeT) Write(b []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.ended {
		t.late = append(t.late, b...)
	}
	return len(b), nil
}

func (t *fakeT) Cleanup(f func()) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.cleanups = append(t.cleanups, f)
}

func (t *fakeT) Errorf(format string, args ...any) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.failures = append(t.failures, fmt.Sprintf(format, args...))
}

func (t *fakeT) Fatalf(format string, args ...any) {
	t.Errorf(format, args...)
	runtime.Goexit()
}

// failuresOf runs a test to its end, cleanups included, and returns how it failed.
func failuresOf(t *testing.T, test func(t testing.TB)) []string {
	return runFake(&fakeT{TB: t}, test)
}

func runFake(fake *fakeT, test func(t testing.TB)) []string {
	run := func(f func()) {
		done := make(chan struct{})
		go func() { defer close(done); f() }()
		<-done
	}
	run(func() { test(fake) })
	for n := len(fake.cleanups) - 1; n >= 0; n-- {
		run(fake.cleanups[n])
	}
	fake.mu.Lock()
	defer fake.mu.Unlock()
	fake.ended = true
	return fake.failures
}

var anna = jwt.MapClaims{"sub": "anna"}

func TestMisuseFailsTheTestWithAReason(t *testing.T) {
	// Guards: what an app's test does wrong, and what its app does wrong, ends that test with a
	// message that names the call and the reason; it neither hangs nor passes.
	for name, c := range map[string]struct {
		test func(t testing.TB)
		want []string // all in the only failure
	}{
		"wrong options": {func(t testing.TB) {
			socketauthtest.NewServer(t, socketauth.Options[any]{Secret: []byte("short"), Timeout: -1})
		}, []string{"NewServer", "at least 32", "Timeout is negative"}},
		"a login without Claim": {func(t testing.TB) {
			socketauthtest.NewServer(t, socketauth.Options[any]{
				FindUserByCredentials: func(context.Context, socketauth.Credentials) (any, error) { return nil, nil },
			})
		}, []string{"NewServer", "Claim is missing"}},
		"claims without sub": {func(t testing.TB) {
			socketauthtest.NewServer(t, socketauth.Options[any]{}).Dial(jwt.MapClaims{"name": "anna"})
		}, []string{"code for map[name:anna]", "sub"}},
		"a socket without sub": {func(t testing.TB) {
			socketauthtest.NewSocket(t, nil)
		}, []string{"NewSocket", "sub"}},
		"a user who is refused": {func(t testing.TB) {
			srv := socketauthtest.NewServer(t, socketauth.Options[any]{})
			srv.OnAuthenticated(func(context.Context, *socketauth.Socket) error {
				return &socketauth.PublicError{Code: "BANNED"}
			})
			srv.Dial(anna)
		}, []string{"Dial", "map[sub:anna]", "BANNED"}},
		"binding required": {func(t testing.TB) {
			socketauthtest.NewServer(t, socketauth.Options[any]{Binding: socketauth.BindRequired}).Dial(anna)
		}, []string{"Dial", "proof_required", "give the test BindOptional"}},
		"an event that does not come": {func(t testing.TB) {
			srv := socketauthtest.NewServer(t, socketauth.Options[any]{})
			c := srv.Dial(anna)
			if err := srv.Emit("chat", "hello"); err != nil {
				t.Fatalf("%v", err)
			}
			c.Wait("chatt")
		}, []string{`Wait "chatt"`, "within 30s", `"chat" ["hello"]`}},
		"an event after the end": {func(t testing.TB) {
			srv := socketauthtest.NewServer(t, socketauth.Options[any]{})
			c := srv.Dial(anna)
			if _, err := srv.Auth().RevokeUser(t.Context(), "anna"); err != nil {
				t.Fatalf("%v", err)
			}
			c.Wait("chat")
		}, []string{`Wait "chat"`, "the server has disconnected the client", `"unauthorized"`, "session_revoked"}},
		"a call after the end": {func(t testing.TB) {
			srv := socketauthtest.NewServer(t, socketauth.Options[any]{})
			srv.On("leave", func(_ context.Context, s *socketauth.Socket, _ socketauth.Args) (any, error) {
				s.Disconnect()
				return nil, nil
			})
			_, _ = srv.Dial(anna).Call("leave")
		}, []string{`Call "leave"`, "no acknowledgement", "the server has disconnected the client"}},
		"emitting after the end": {func(t testing.TB) {
			c := socketauthtest.NewServer(t, socketauth.Options[any]{}).Dial(anna)
			c.Close()
			c.Emit("chat")
		}, []string{`Emit "chat"`, "the connection has ended"}},
		"emitting what JSON cannot hold": {func(t testing.TB) {
			socketauthtest.NewServer(t, socketauth.Options[any]{}).Dial(anna).Emit("chat", make(chan int))
		}, []string{`Emit "chat"`, "chan int"}},
		"replying what JSON cannot hold": {func(t testing.TB) {
			socketauthtest.NewServer(t, socketauth.Options[any]{}).Dial(anna).Reply("chat", make(chan int))
		}, []string{`Reply "chat"`, "chan int"}},
		"a connection that goes on": {func(t testing.TB) {
			socketauthtest.NewServer(t, socketauth.Options[any]{}).Dial(anna).WaitClosed()
		}, []string{"WaitClosed", "the connection goes on"}},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				failures := failuresOf(t, c.test)
				if len(failures) != 1 {
					t.Fatalf("%d failures: %q", len(failures), failures)
				}
				for _, part := range append(c.want, "socketauthtest: ") {
					if !strings.Contains(failures[0], part) {
						t.Errorf("%q does not say %q", failures[0], part)
					}
				}
			})
		})
	}
}

// neverReturns is a handler that is not to be.
func neverReturns(until chan struct{}) { <-until }

func TestHandlerThatDoesNotReturnFailsTheTest(t *testing.T) {
	// Guards: a handler that ignores the end of its context is named, and does not hang the test's
	// end; what is logged when it returns at last does not end the tests that come after.
	for name, test := range map[string]func(t testing.TB, until chan struct{}){
		"Server": func(t testing.TB, until chan struct{}) {
			srv := socketauthtest.NewServer(t, socketauth.Options[any]{})
			srv.On("wait", func(context.Context, *socketauth.Socket, socketauth.Args) (any, error) {
				neverReturns(until)
				return nil, errors.New("too late")
			})
			c := srv.Dial(anna)
			c.Emit("wait")
			c.Events()
		},
		"NewSocket": func(t testing.TB, until chan struct{}) {
			rec := socketauthtest.NewSocket(t, anna)
			rec.Server.OnDisconnect(func(context.Context, *socketauth.Socket, string) { neverReturns(until) })
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				until := make(chan struct{})
				fake := &fakeT{TB: t}
				failures := runFake(fake, func(t testing.TB) { test(t, until) })
				close(until)
				synctest.Wait()
				if len(fake.late) > 0 {
					t.Errorf("logged after the test's end: %s", fake.late)
				}
				if len(failures) != 1 || !strings.Contains(failures[0], "did not end within 30s") {
					t.Fatalf("got %q", failures)
				}
				if name == "Server" && !strings.Contains(failures[0], "neverReturns") {
					t.Errorf("the handler is not named: %s", failures[0])
				}
			})
		})
	}
}

func TestGoroutineThatIsLeftFailsTheTest(t *testing.T) {
	// Guards: what is still in the library after Shutdown and Close is found, here a request behind
	// the middleware that does not end.
	synctest.Test(t, func(t *testing.T) {
		until := make(chan struct{})
		failures := failuresOf(t, func(t testing.TB) {
			srv := socketauthtest.NewServer(t, socketauth.Options[any]{})
			entered := make(chan struct{})
			srv.Mux.Handle("/api", srv.Auth().Middleware(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
				close(entered)
				neverReturns(until)
			})))
			r, err := http.NewRequest(http.MethodGet, srv.URL+"/api", nil)
			if err != nil {
				t.Fatalf("%v", err)
			}
			r.Header.Set("Authorization", "Bearer "+srv.Dial(anna).Token())
			go func() {
				if res, err := srv.HTTPClient().Do(r); err == nil {
					_ = res.Body.Close()
				}
			}()
			<-entered
		})
		close(until)
		if len(failures) != 1 || !strings.Contains(failures[0], "goroutines of the library are left") || !strings.Contains(failures[0], "Middleware") {
			t.Errorf("got %q", failures)
		}
	})
}

func TestArgsPanicsOnWhatJSONCannotHold(t *testing.T) {
	for name, misuse := range map[string]func(){
		"Args":  func() { socketauthtest.Args(errors.ErrUnsupported, make(chan int)) },
		"Reply": func() { socketauthtest.NewSocket(t, anna).Reply("chat", make(chan int)) },
	} {
		func() {
			defer func() {
				if got := fmt.Sprint(recover()); !strings.Contains(got, "socketauthtest: "+name) || !strings.Contains(got, "chan int") {
					t.Errorf("%s: panic %q", name, got)
				}
			}()
			misuse()
		}()
	}
}
