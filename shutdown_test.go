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

// TestShutdown checks that Shutdown ends all sockets in a way after which clients reconnect, leaves
// no goroutine, refuses new ones, and may be called again.
func TestShutdown(t *testing.T) {
	withServer(t, nil, func(srv *testServer) {
		authenticated, _ := srv.authenticated()
		unauthenticated := srv.dial("")
		if err := srv.Shutdown(context.Background()); err != nil {
			t.Fatal(err)
		}
		if n := socketauth.IdleWorkers(srv.Server.Server); n != 0 {
			t.Errorf("%d goroutines wait for something to do", n)
		}
		for _, c := range []*client{authenticated, unauthenticated} {
			if frame, _ := c.packetWithin(time.Minute); frame == "41" {
				t.Error("disconnected in a way after which clients do not reconnect")
			}
		}
		if err := srv.Shutdown(context.Background()); err != nil {
			t.Errorf("again: %v", err)
		}
		rw := httptest.NewRecorder()
		srv.Config.Handler.ServeHTTP(rw, httptest.NewRequest(http.MethodGet, "/socket.io/?EIO=4&transport=polling", nil))
		if rw.Code != http.StatusServiceUnavailable {
			t.Errorf("a new connection: %d", rw.Code)
		}
	})
}

// TestShutdownWaitsForHandlers checks that Shutdown waits for handlers, no longer than its context.
func TestShutdownWaitsForHandlers(t *testing.T) {
	withServer(t, nil, func(srv *testServer) {
		leave := make(chan struct{})
		srv.On("stubborn", func(context.Context, *socketauth.Socket, socketauth.Args) (any, error) { <-leave; return nil, nil })
		c, _ := srv.authenticated()
		c.emit("stubborn")
		synctest.Wait()
		ctx, cancel := context.WithTimeout(srv.Context(), time.Second)
		defer cancel()
		if err := srv.Shutdown(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("while a handler runs: %v", err)
		}
		close(leave)
		if err := srv.Shutdown(context.Background()); err != nil {
			t.Error(err)
		}
	})
}

// TestShutdownWaitsForStore checks that a token that is replaced during Shutdown reaches its
// client, and that no further call of the store is begun.
func TestShutdownWaitsForStore(t *testing.T) {
	store := new(faultyStore)
	withServer(t, func(o *socketauth.Options[string]) { store.Store = blacklist.NewMemory(); o.Blacklist = store }, func(srv *testServer) {
		c, token := srv.authenticated()
		store.fail(func(string) error { time.Sleep(time.Second); return nil }, nil)
		c.authenticate(token)
		synctest.Wait()
		down := make(chan error)
		go func() { down <- srv.Shutdown(context.Background()) }()
		c.expectToken()
		if err := <-down; err != nil {
			t.Error(err)
		}
		if socketauth.Steps(srv.Server.Server) {
			t.Error("another step was begun")
		}
		if socketauth.Servers(srv.Auth()) != 0 {
			t.Error("the Auth remembers a server that is gone")
		}
	})
}

// TestShutdownOfHTTPServer checks that the Shutdown of the http.Server ends the sockets.
func TestShutdownOfHTTPServer(t *testing.T) {
	withServer(t, nil, func(srv *testServer) {
		c, _ := srv.authenticated()
		if err := srv.Config.Shutdown(context.Background()); err != nil {
			t.Error(err)
		}
		for range c.Packets() { // until the connection has ended
		}
	})
}

// TestShutdownHangingStore checks that a store that does not answer does not keep Shutdown from
// ending the other sockets.
func TestShutdownHangingStore(t *testing.T) {
	store := new(faultyStore)
	withServer(t, func(o *socketauth.Options[string]) { store.Store = blacklist.NewMemory(); o.Blacklist = store }, func(srv *testServer) {
		other, token := srv.authenticated()
		at, goOn := make(chan struct{}), make(chan struct{})
		store.fail(func(call string) error {
			if call == "Present" {
				close(at)
				<-goOn
			}
			return nil
		}, nil)
		srv.dial("").authenticate(token)
		<-at
		store.fail(nil, nil)
		ctx, cancel := context.WithTimeout(srv.Context(), time.Minute)
		defer cancel()
		ended := make(chan error, 1)
		go func() { ended <- srv.Shutdown(ctx) }()
		synctest.Wait()
		srv.expectFull()
		for range other.Packets() { // until it ends
		}
		close(goOn)
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
}

// TestShutdownWhileAuditBlocks checks that a slow Audit of a refusal does not keep Shutdown from
// ending the other sockets.
func TestShutdownWhileAuditBlocks(t *testing.T) {
	refused, goOn := make(chan struct{}), make(chan struct{})
	withServer(t, func(o *socketauth.Options[string]) {
		refused, goOn = make(chan struct{}), make(chan struct{})
		o.Audit = func(_ context.Context, e socketauth.AuditEvent) {
			if e.Kind == socketauth.AuditRefused {
				close(refused)
				<-goOn
			}
		}
	}, func(srv *testServer) {
		other, _ := srv.authenticated()
		srv.dial("").authenticate(srv.foreignToken())
		<-refused
		ended := make(chan error, 1)
		began := time.Now()
		go func() { ended <- srv.Shutdown(context.Background()) }()
		for range other.Packets() { // until it ends
		}
		if waited := time.Since(began); waited > time.Second { // of the bubble's time
			t.Errorf("the other socket ended after %v", waited)
		}
		close(goOn)
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
}
