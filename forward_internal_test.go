package socketauth

import (
	"log/slog"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/z-open/socketauth/internal/forward"
	"github.com/z-open/socketauth/internal/id"
)

// TestAddressOfForwarded guards that the address of a request that another process has handed on,
// and the network whose limits apply, are those that the other process has found: with the app's
// own hook, which is not asked again, and without.
func TestAddressOfForwarded(t *testing.T) {
	for _, tt := range []struct {
		clientIP         func(*http.Request) string
		peer             string // of the request that came first
		address, network string
	}{
		{func(r *http.Request) string { return r.Header.Get("X-Real-Ip") }, "10.0.0.9:1", "192.0.2.7", "192.0.2.7"},
		{nil, "203.0.113.1:1", "203.0.113.1", "203.0.113.1"},
		{nil, "10.0.0.9:1", "10.0.0.9", ""},
	} {
		c, err := Options[any]{Secret: testSecret, ClientIP: tt.clientIP}.config()
		if err != nil {
			t.Fatal(err)
		}
		var address, network string
		handler := http.HandlerFunc(nil)
		back := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { handler(w, r) }))
		o := forward.Config{
			Key: make([]byte, 32), Peers: func() []string { return []string{back.URL} }, ClientIP: c.address,
			MaxRequests: -1, Counts: new(forward.Counts), Logger: slog.New(slog.DiscardHandler),
		}
		front, err := forward.New(o)
		if err != nil {
			t.Fatal(err)
		}
		o.Advertise = back.URL
		owner, err := forward.New(o)
		if err != nil {
			t.Fatal(err)
		}
		handler = func(w http.ResponseWriter, r *http.Request) {
			r.Header.Set("X-Real-Ip", "of the way between the processes")
			own, _ := owner.Serve(w, r)
			address = c.address(own)
			network = c.network(own, address)
		}
		r := httptest.NewRequest(http.MethodGet, "/socket.io/?sid="+owner.Name()+id.New().String(), nil)
		r.RemoteAddr = tt.peer
		r.Header.Set("X-Real-Ip", "192.0.2.7")
		if _, handedOn := front.Serve(httptest.NewRecorder(), r); !handedOn || address != tt.address || network != tt.network {
			t.Errorf("handed on %v: the address is %q and the network %q, want %q and %q", handedOn, address, network, tt.address, tt.network)
		}
		if err := front.Shutdown(t.Context()); err != nil {
			t.Error(err)
		}
		back.Close()
	}
}
