package interop

import (
	"context"
	"maps"
	"sync/atomic"
	"testing"

	"github.com/golang-jwt/jwt/v5"

	"github.com/z-open/socketauth"
)

// TestClientSnapshots: tabs in Chromium show who is signed in and with which claims, after a login, a
// change of the claims, a logout and a login in another tab; and once, onAny, ready and the options of
// emitWithAck do what they say with a real server, with the client's own Socket.IO and with
// socket.io-client 2.5.0, which has no onAny.
func TestClientSnapshots(t *testing.T) {
	t.Parallel()
	var role atomic.Value
	a := serveHTML(t, `
		<script src="/modules/socket.io-client-2.5.0/dist/socket.io.js"></script>
		<script type="module">
			import { connect } from "/socketauth/socketauth.js";
			globalThis.client = connect(location.search === "?own" ? {} : { io, transport: { transports: ["websocket"] } });
			globalThis.shown = [];
			client.subscribe(() => shown.push(client.state + ": " + client.user));
		</script>`, func(o *socketauth.Options[string]) {
		o.UpdateClaims = func(_ context.Context, claims jwt.MapClaims) (jwt.MapClaims, error) {
			claims = maps.Clone(claims)
			claims["role"] = role.Load()
			return claims, nil
		}
	})
	a.On("wait", func(ctx context.Context, _ *socketauth.Socket, _ socketauth.Args) (any, error) {
		<-ctx.Done()
		return nil, ctx.Err()
	}, socketauth.Concurrent)
	role.Store("reader")
	d := chromium(t, "helper_browser.mjs", "snapshots", a.url)
	for _, version := range []string{"own", "2.5.0"} {
		one, two := version+", one", version+", two"
		role.Store("reader")
		claims := map[string]string{"sub": "alice", "role": "reader"}
		d.hears(one, "is", "signed-out")
		d.hears(one, "tells", []any{"signed_out", nil, nil})
		d.hears(one, "tells", []any{true, "alice", claims})
		d.hears(two, "tells", []any{"alice", claims})
		d.hears("client", "ready")
		role.Store("writer")
		if _, err := a.Auth().RefreshUser(t.Context(), "alice"); err != nil {
			t.Fatal(err)
		}
		d.hears(one, "tells", []any{"reader", true, "online"})
		d.hears(two, "tells", "who! of the tab two")
		news := []any{"string", "string"}
		d.hears(two, "tells", []any{[]any{"a"}, []any{news, news, []any{"string", "string", "function"}}})
		d.hears(two, "tells", []any{"no_reply", "aborted", "still here"})
		d.hears(one, "tells", true)
		d.hears(two, "is", "signed-out")
		d.hears(two, "tells", []any{"signed-out: null"})
		d.hears(two, "is", "online")
		d.hears(two, "tells", []any{"offline", "bob", "connecting: null", []any{"online: bob", "offline: bob"}})
	}
	d.done()
	noAlarm(t, a)
}
