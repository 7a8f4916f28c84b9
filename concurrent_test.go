package socketauth_test

import (
	"context"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/z-open/socketauth"
)

// heldHandlers are handlers that return when they are told to.
type heldHandlers struct {
	mu      sync.Mutex
	began   []string
	release map[string]chan struct{}
}

// handle waits until end is called with the event's argument, which is its reply.
func (h *heldHandlers) handle(_ context.Context, _ *socketauth.Socket, args socketauth.Args) (any, error) {
	var name string
	if err := args.Decode(&name); err != nil {
		return nil, err
	}
	<-h.begin(name)
	return name, nil
}

func (h *heldHandlers) begin(name string) <-chan struct{} {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.began = append(h.began, name)
	if h.release == nil {
		h.release = make(map[string]chan struct{})
	}
	h.release[name] = make(chan struct{})
	return h.release[name]
}

func (h *heldHandlers) end(name string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	close(h.release[name])
}

// all returns which handlers have begun.
func (h *heldHandlers) all() []string {
	synctest.Wait()
	h.mu.Lock()
	defer h.mu.Unlock()
	return slices.Clone(h.began)
}

// TestConcurrent guards that the later events of a socket are handled while a Concurrent handler
// runs, in their order and one at a time, and that each acknowledgement is sent when its handler
// returns.
func TestConcurrent(t *testing.T) {
	onAllTransports(t, func(srv *testServer, version, transport string) {
		if transport != "websocket" {
			return
		}
		held := new(heldHandlers)
		srv.On("slow", held.handle, socketauth.Concurrent)
		srv.On("ordered", held.handle)
		c := srv.rawAuthenticated(version, transport, "anna")
		for n, event := range []string{`["slow","a"]`, `["slow","b"]`, `["ordered","c"]`, `["ordered","d"]`, `["slow","e"]`} {
			if err := c.Write("42" + string(rune('0'+n)) + event); err != nil {
				t.Fatal(err)
			}
		}
		if got := held.all(); !slices.Equal(got, []string{"a", "b", "c"}) {
			t.Fatalf("the handlers that have begun are %q", got)
		}
		held.end("b")
		held.end("c")
		if got := held.all(); !slices.Equal(got, []string{"a", "b", "c", "d"}) {
			t.Fatalf("the handlers that have begun are %q", got)
		}
		held.end("d")
		if got := held.all(); !slices.Equal(got, []string{"a", "b", "c", "d", "e"}) {
			t.Fatalf("the handlers that have begun are %q", got)
		}
		held.end("a")
		held.end("e")
		var acks []string
		for range 5 {
			frame, err := c.Read()
			if err != nil {
				t.Fatal(err)
			}
			acks = append(acks, frame)
		}
		slices.Sort(acks)
		if want := []string{`430["a"]`, `431["b"]`, `432["c"]`, `433["d"]`, `434["e"]`}; !slices.Equal(acks, want) {
			t.Errorf("acknowledged %q, want %q", acks, want)
		}
	})
}

// TestConcurrentLimit guards that a socket has no more than 16 handlers that run beside its others:
// one more keeps its turn, and the events after it wait.
func TestConcurrentLimit(t *testing.T) {
	onEngines(t, nil, func(srv *testServer) {
		held := new(heldHandlers)
		srv.On("slow", held.handle, socketauth.Concurrent)
		c, _ := srv.authenticated()
		names := "abcdefghijklmnopqrst"
		for _, name := range names {
			c.emit("slow", string(name))
		}
		if got := held.all(); len(got) != 17 {
			t.Fatalf("%d handlers have begun", len(got))
		}
		held.end("a")
		if got := held.all(); len(got) != 17 { // the 17th is not Concurrent any more
			t.Fatalf("%d handlers have begun", len(got))
		}
		held.end("q")
		if got := held.all(); len(got) != 19 {
			t.Fatalf("%d handlers have begun", len(got))
		}
		for _, name := range names[1:] {
			held.all()
			if name != 'q' {
				held.end(string(name))
			}
		}
		if got := held.all(); len(got) != len(names) {
			t.Fatalf("%d handlers have begun", len(got))
		}
	})
}

// TestConcurrentDisconnect guards that OnDisconnect is called once, when the last handler has
// returned, also one that ran beside the others, and that Shutdown waits for them.
func TestConcurrentDisconnect(t *testing.T) {
	onEngines(t, nil, func(srv *testServer) {
		held := new(heldHandlers)
		srv.On("slow", held.handle, socketauth.Concurrent)
		ends := make(chan string, 10)
		srv.OnDisconnect(func(_ context.Context, s *socketauth.Socket, _ string) { ends <- s.UserID() })
		c, _ := srv.authenticatedAs(jwt.MapClaims{"sub": "anna"})
		none, _ := srv.authenticatedAs(jwt.MapClaims{"sub": "bert"})
		c.emit("slow", "a")
		c.emit("slow", "b")
		held.all()
		c.close()
		none.close()
		synctest.Wait()
		if len(ends) != 1 || <-ends != "bert" {
			t.Fatal("the end of a socket was told while its handlers run")
		}
		held.end("b")
		if held.all(); len(ends) != 0 {
			t.Fatal("the end of a socket was told while one of its handlers runs")
		}
		stopped := make(chan error, 1)
		go func() { stopped <- srv.Shutdown(srv.Context()) }()
		time.Sleep(time.Minute)
		if len(stopped) != 0 {
			t.Error("Shutdown has not waited for the handler")
		}
		held.end("a")
		if held.all(); len(ends) != 1 || <-ends != "anna" {
			t.Error("the end of the socket was not told once")
		}
		if err := <-stopped; err != nil {
			t.Error(err)
		}
	})
}

// TestConcurrentTooLate guards that middleware which calls the handler in a goroutine of its own,
// and does not wait for it, breaks nothing: later events are still handled one at a time.
func TestConcurrentTooLate(t *testing.T) {
	withServer(t, nil, func(srv *testServer) {
		late, begin := new(heldHandlers), make(chan struct{})
		srv.On("late", late.handle, func(next socketauth.Handler) socketauth.Handler {
			return func(ctx context.Context, s *socketauth.Socket, args socketauth.Args) (any, error) {
				go func() { <-begin; _, _ = next(ctx, s, args) }()
				return nil, nil
			}
		}, socketauth.Concurrent)
		srv.On("ordered", late.handle)
		c, _ := srv.authenticated()
		c.emit("late", "a")
		c.emit("ordered", "b")
		c.emit("ordered", "c")
		late.all()
		close(begin)
		if got := late.all(); !slices.Equal(got, []string{"b", "a"}) {
			t.Fatalf("the handlers that have begun are %q", got)
		}
		late.end("a")
		if got := late.all(); len(got) != 2 {
			t.Fatalf("the handlers that have begun are %q", got)
		}
		late.end("b")
		if got := late.all(); len(got) != 3 {
			t.Fatalf("the handlers that have begun are %q", got)
		}
		late.end("c")
		c.expectAuthenticated()
	})
}

// badDetail panics when it is encoded.
type badDetail struct{}

func (badDetail) MarshalJSON() ([]byte, error) { panic("broken") }

// TestPanicInReply guards that a Concurrent handler, like any other, whose error panics when it is
// encoded is acknowledged, and that OnDisconnect is called after it.
func TestPanicInReply(t *testing.T) {
	for name, mw := range map[string][]func(socketauth.Handler) socketauth.Handler{"ordered": nil, "concurrent": {socketauth.Concurrent}} {
		t.Run(name, func(t *testing.T) {
			onEngines(t, nil, func(srv *testServer) {
				srv.On("x", func(context.Context, *socketauth.Socket, socketauth.Args) (any, error) {
					return nil, &socketauth.PublicError{Code: "full", Details: map[string]any{"detail": badDetail{}}}
				}, mw...)
				ends := make(chan string, 10)
				srv.OnDisconnect(func(_ context.Context, s *socketauth.Socket, _ string) { ends <- s.UserID() })
				c, _ := srv.authenticated()
				if got := c.call("x"); got != `[{"error":{"code":"server_error"}}]` {
					t.Errorf("the answer is %s", got)
				}
				c.expectAuthenticated()
				c.close()
				synctest.Wait()
				if len(ends) != 1 {
					t.Errorf("the end was told %d times", len(ends))
				}
			})
		})
	}
}
