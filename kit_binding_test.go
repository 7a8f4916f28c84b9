package socketauth_test

import (
	"context"
	"encoding/json"
	"sync"
	"testing"
	"testing/synctest"

	"github.com/z-open/socketauth"
	"github.com/z-open/socketauth/internal/dpop/dpoptest"
	"github.com/z-open/socketauth/internal/siotest"
)

// onBothEngines runs a test for clients of Engine.IO 3 and of 4.
func onBothEngines(t *testing.T, test func(t *testing.T, version string)) {
	t.Helper()
	for _, version := range []string{"3", "4"} {
		t.Run("engine "+version, func(t *testing.T) { test(t, version) })
	}
}

// dialTo connects a client of that version of Engine.IO. auth, unless it is nil, returns the
// handshake's auth, given the Engine.IO id.
func (srv *testServer) dialTo(version, transport string, auth func(sid string) string) *client {
	srv.Helper()
	d := siotest.Dialer{Version: version, Net: srv.DialContext}
	conn, err := d.Dial(srv.Context(), transport)
	if err != nil {
		srv.Fatal(err)
	}
	c := &client{srv: srv, engineID: conn.Opened().SID}
	text := ""
	if auth != nil {
		text = auth(c.engineID)
	}
	c.sid, err = conn.Join(text)
	if err == nil && transport == "upgrade" {
		err = conn.Upgrade(srv.Context())
	}
	if err == nil {
		c.Client, err = conn.Start(srv.Context())
	}
	if err != nil {
		srv.Fatal(err)
	}
	srv.Cleanup(c.Close)
	return c
}

// dialOn is dialTo without an auth of the handshake.
func (srv *testServer) dialOn(version, transport string) *client {
	srv.Helper()
	return srv.dialTo(version, transport, nil)
}

// dialAs connects a client of that version of Engine.IO, on a websocket.
func (srv *testServer) dialAs(version string) *client {
	srv.Helper()
	return srv.dialOn(version, "websocket")
}

// presentBound presents a token with a proof of the key for this connection.
func (c *client) presentBound(key *dpoptest.Key, token string) {
	c.srv.Helper()
	c.emit("authenticate", map[string]any{"token": token, "proof": key.Socket(c.engineID, token)})
}

// presentBoundConfirming is presentBound for a client that confirms. It returns what the client is
// offered.
func (c *client) presentBoundConfirming(key *dpoptest.Key, token string) offer {
	c.srv.Helper()
	c.emit("authenticate", map[string]any{"token": token, "confirm": true, "proof": key.Socket(c.engineID, token)})
	return c.expectOffer()
}

// bound returns a client whose session is bound to the key, and its token.
func (srv *testServer) bound(version string, key *dpoptest.Key) (*client, string) {
	srv.Helper()
	c := srv.dialAs(version)
	c.presentBound(key, srv.code())
	token := c.expectToken()
	synctest.Wait() // the client gets the token a moment before the socket is authenticated
	return c, token
}

// expectBoundTo checks which key a token is bound to; nil for none.
func (srv *testServer) expectBoundTo(key *dpoptest.Key, token string) {
	srv.Helper()
	var cnf struct{ JKT string }
	claim, given := payloadOf(srv.T, token)["cnf"]
	switch {
	case key == nil && given:
		srv.Errorf("a token is bound to %s", claim)
	case key != nil && (json.Unmarshal(claim, &cnf) != nil || cnf.JKT != key.Thumbprint):
		srv.Errorf("a token is bound to %s, want %s", claim, key.Thumbprint)
	}
}

// isBound reports whether the only session of anna is bound.
func (srv *testServer) isBound() bool {
	srv.Helper()
	sessions, err := srv.Auth().Sessions(srv.Context(), "anna")
	if err != nil || len(sessions) != 1 {
		srv.Fatalf("%+v, %v", sessions, err)
	}
	return sessions[0].Bound
}

// eventLog is an Options.Audit that keeps the events.
type eventLog struct {
	mu     sync.Mutex
	events []socketauth.AuditEvent
}

func (l *eventLog) hook(_ context.Context, e socketauth.AuditEvent) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.events = append(l.events, e)
}

// take returns the events since the last call, once all goroutines wait.
func (l *eventLog) take() (events []socketauth.AuditEvent) {
	synctest.Wait()
	l.mu.Lock()
	defer l.mu.Unlock()
	events, l.events = l.events, nil
	return events
}

// expectUntouched checks that what a test does asks the store for nothing, and neither ends a
// session nor replaces a token.
func (srv *testServer) expectUntouched(f func()) {
	srv.Helper()
	synctest.Wait()
	before := srv.Auth().Stats()
	f()
	synctest.Wait()
	after := srv.Auth().Stats()
	if n := after.Store.Calls - before.Store.Calls; n != 0 {
		srv.Errorf("the store was asked %d times", n)
	}
	if after.Reuses+after.Logouts+after.Rotations+after.Bound != before.Reuses+before.Logouts+before.Rotations+before.Bound {
		srv.Errorf("%+v after %+v", after, before)
	}
}
