package socketauth_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/z-open/socketauth"
	"github.com/z-open/socketauth/blacklist"
)

// expectReady checks what Ready returns: an error with the text, or nil for "".
func expectReady(t *testing.T, a *socketauth.Auth, want string) {
	t.Helper()
	err := a.Ready(context.Background())
	switch {
	case want == "" && err != nil:
		t.Errorf("not ready: %v", err)
	case want != "" && (!errors.Is(err, socketauth.ErrUnavailable) || !strings.Contains(err.Error(), want)):
		t.Errorf("Ready returns %v, want %q", err, want)
	}
}

// TestReady guards that a process is not ready before it hears the others and its store, while the
// store or the broker cannot be reached, and once it is shut down; and that it is otherwise.
func TestReady(t *testing.T) {
	withCluster(t, 3, nil, func(p []*process) {
		a := p[0].Auth()
		synctest.Wait()
		expectReady(t, a, "")
		p[0].store.fail(storeDown, nil)
		expectReady(t, a, "store down")
		p[0].store.fail(nil, nil)
		expectReady(t, a, "")

		p[0].broker.disconnect()
		time.Sleep(4 * time.Second)
		expectReady(t, a, "does not hear the others")
		expectReady(t, p[1].Auth(), "")
		expectReady(t, p[2].Auth(), "")
		p[0].broker.reconnect()
		time.Sleep(4 * time.Second)
		expectReady(t, a, "")

		if err := p[0].Shutdown(p[0].Context()); err != nil {
			t.Fatal(err)
		}
		expectReady(t, a, "shut down")
	})
}

// TestDrain guards that Drain has clients come back one by one over the given time, that those
// whose turn has not come go on, and that the process is not ready and takes nobody from the
// beginning.
func TestDrain(t *testing.T) {
	onEngines(t, nil, func(srv *testServer) {
		var clients []*client
		left := make(chan string, 4)
		srv.OnDisconnect(func(_ context.Context, _ *socketauth.Socket, reason string) { left <- reason })
		for range 4 {
			c, _ := srv.authenticatedAs(jwt.MapClaims{"sub": "anna"})
			clients = append(clients, c)
		}
		expectReady(t, srv.Auth(), "")
		drained := make(chan error, 1)
		go func() { drained <- srv.Drain(srv.Context(), 40*time.Second) }()
		synctest.Wait()
		expectReady(t, srv.Auth(), "drained")
		if _, err := srv.dialEngine("4", "websocket", ""); err == nil {
			t.Error("a new connection was accepted")
		}
		for n := range 4 {
			synctest.Wait()
			if len(left) != n+1 {
				t.Fatalf("after %d turns, %d clients were disconnected", n+1, len(left))
			}
			time.Sleep(10 * time.Second)
		}
		for _, c := range clients {
			if reason := <-left; reason != "shutdown" {
				t.Errorf("a client was disconnected for %q", reason)
			}
			c.expectClosed()
		}
		if err := <-drained; err != nil {
			t.Error(err)
		}
		if err := srv.Shutdown(srv.Context()); err != nil {
			t.Error(err)
		}
	})
}

// TestDrainOneProcess guards that the clients of a process that is drained go on at another one
// with the tokens that they have, miss nothing there, and that the other processes stay as they
// were.
func TestDrainOneProcess(t *testing.T) {
	clusterOnEngines(t, 3, nil, func(p []*process) {
		var clients []*client
		for range 3 {
			c, _ := p[0].authenticated()
			clients = append(clients, c)
		}
		other, _ := p[1].authenticatedAs(claimsOf("bert"))
		drained := make(chan error, 1)
		go func() { drained <- p[0].Drain(p[0].Context(), 30*time.Second) }()
		for n, c := range clients {
			synctest.Wait()
			expectReady(t, p[0].Auth(), "drained")
			expectReady(t, p[1].Auth(), "")
			expectReady(t, p[2].Auth(), "")
			c.expectClosed()
			back := p[1+n%2].dial(fmt.Sprintf(`{"token":%q}`, c.current))
			back.expectToken()
			back.expectAuthenticated()
			if err := p[0].ToSession(p[0].sessionOf(back)).Emit("x"); err != nil {
				t.Error(err)
			}
			back.expect(`42["x"]`)
			time.Sleep(10 * time.Second)
		}
		if err := errors.Join(<-drained, p[0].Shutdown(p[0].Context())); err != nil {
			t.Error(err)
		}
		if peers, err := p[1].All().Sockets(p[1].Context()); err != nil || len(peers) != 4 {
			t.Errorf("%d sockets, %v", len(peers), err)
		}
		other.expectAuthenticated()
	})
}

// TestDrainGivenUp guards that Drain ends with its context, and that the sockets whose turn has not
// come go on until Shutdown.
func TestDrainGivenUp(t *testing.T) {
	onEngines(t, nil, func(srv *testServer) {
		clients := make(map[*client]bool)
		for range 3 {
			c, _ := srv.authenticated()
			clients[c] = true
		}
		ctx, cancel := context.WithTimeout(srv.Context(), 15*time.Second)
		defer cancel()
		if err := srv.Drain(ctx, 30*time.Second); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("Drain returned %v", err)
		}
		if peers, _ := srv.All().Sockets(srv.Context()); len(peers) != 1 {
			t.Errorf("%d sockets are left", len(peers))
		}
		expectReady(t, srv.Auth(), "drained")
	})
}

// clockedStore is a store of several processes that says nothing until it is told to.
type clockedStore struct{ sharedStore }

func (*clockedStore) Time(_ context.Context, _ string, t time.Time) (time.Time, error) { return t, nil }

// TestReadyBeforeTheStoreIsHeard guards that a process is not ready before its store has said for
// the first time that it listens to what other processes change, nor after it has said so for the
// last time.
func TestReadyBeforeTheStoreIsHeard(t *testing.T) {
	store := new(clockedStore)
	store.watch = func(ctx context.Context) error { <-ctx.Done(); return nil }
	withServer(t, func(o *socketauth.Options[string]) { store.Store = blacklist.NewMemory(); o.Blacklist = store }, func(srv *testServer) {
		synctest.Wait()
		expectReady(t, srv.Auth(), "does not say what other processes change")
		store.notify(blacklist.Change{})
		expectReady(t, srv.Auth(), "")
		time.Sleep(4 * time.Second)
		expectReady(t, srv.Auth(), "does not say what other processes change")
	})
}

// TestShutdownDuringDrain guards that Drain returns when the server is shut down, long before its
// time.
func TestShutdownDuringDrain(t *testing.T) {
	withServer(t, nil, func(srv *testServer) {
		for range 3 {
			srv.authenticated()
		}
		drained := make(chan error, 1)
		go func() { drained <- srv.Drain(srv.Context(), time.Hour) }()
		synctest.Wait()
		start := time.Now()
		if err := srv.Shutdown(srv.Context()); err != nil {
			t.Error(err)
		}
		if err := <-drained; err != nil || time.Since(start) > time.Minute {
			t.Errorf("%v after %v", err, time.Since(start))
		}
	})
}
