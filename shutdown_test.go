package socketauth_test

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"testing"
	"testing/synctest"
	"time"

	"github.com/z-open/socketauth"
	"github.com/z-open/socketauth/blacklist"
)

func TestShutdownEndsAllSocketsSoThatTheyComeBack(t *testing.T) {
	inWorld(t, nil, func(w *world) {
		friend, _ := w.in()
		stranger := w.dial("")
		if err := w.Shutdown(context.Background()); err != nil {
			t.Fatal(err)
		}
		for _, c := range []*client{friend, stranger} {
			if frame, _ := c.frameWithin(time.Minute); frame == "41" {
				t.Error("told to stay away")
			}
		}
		if err := w.Shutdown(context.Background()); err != nil {
			t.Errorf("again: %v", err)
		}
		rw := httptest.NewRecorder()
		w.Config.Handler.ServeHTTP(rw, httptest.NewRequest(http.MethodGet, "/socket.io/?EIO=4&transport=polling", nil))
		if rw.Code != http.StatusServiceUnavailable {
			t.Errorf("a new connection: %d", rw.Code)
		}
	})
}

func TestShutdownWaitsForHandlersAndForItsContext(t *testing.T) {
	inWorld(t, nil, func(w *world) {
		leave := make(chan struct{})
		w.On("stubborn", func(context.Context, *socketauth.Socket, socketauth.Args) (any, error) { <-leave; return nil, nil })
		c, _ := w.in()
		c.emit("stubborn")
		synctest.Wait()
		ctx, cancel := context.WithTimeout(w.Context(), time.Second)
		defer cancel()
		if err := w.Shutdown(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("while a handler runs: %v", err)
		}
		close(leave)
		if err := w.Shutdown(context.Background()); err != nil {
			t.Error(err)
		}
	})
}

func TestShutdownWaitsForWhatTheStoreDecides(t *testing.T) {
	// Guards: a token that is replaced while the server shuts down must not die before its client has the next.
	store := new(faultyStore)
	inWorld(t, func(o *socketauth.Options[string]) { store.Store = blacklist.NewMemory(); o.Blacklist = store }, func(w *world) {
		c, token := w.in()
		store.fail(func(string) error { time.Sleep(time.Second); return nil }, nil)
		c.authenticate(token)
		synctest.Wait()
		down := make(chan error)
		go func() { down <- w.Shutdown(context.Background()) }()
		c.token()
		if err := <-down; err != nil {
			t.Error(err)
		}
		if socketauth.Steps(w.Server.Server) {
			t.Error("another step was begun")
		}
		if socketauth.Servers(w.Auth()) != 0 {
			t.Error("the core remembers a server that is gone")
		}
	})
}

func TestShutdownOfTheHTTPServerStartsTheEnd(t *testing.T) {
	inWorld(t, nil, func(w *world) {
		c, _ := w.in()
		if err := w.Config.Shutdown(context.Background()); err != nil {
			t.Error(err)
		}
		for range c.Packets() { // until the connection has ended
		}
	})
}

func TestShutdownEndsAllThoughAHookHangs(t *testing.T) {
	// Guards: a store that does not come back must not keep Shutdown from ending the other sockets.
	store := new(faultyStore)
	inWorld(t, func(o *socketauth.Options[string]) { store.Store = blacklist.NewMemory(); o.Blacklist = store }, func(w *world) {
		other, token := w.in()
		at, goOn := make(chan struct{}), make(chan struct{})
		store.fail(func(call string) error {
			if call == "Present" {
				close(at)
				<-goOn
			}
			return nil
		}, nil)
		w.dial("").authenticate(token)
		<-at
		store.fail(nil, nil)
		ctx, cancel := context.WithTimeout(w.Context(), time.Minute)
		defer cancel()
		ended := make(chan error, 1)
		go func() { ended <- w.Shutdown(ctx) }()
		synctest.Wait()
		w.full()
		for range other.Packets() { // until it ends
		}
		close(goOn)
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
}
