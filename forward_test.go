package socketauth_test

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/z-open/socketauth"
	"github.com/z-open/socketauth/internal/id"
	"github.com/z-open/socketauth/internal/siotest"
)

// TestRoundRobin guards that clients can use every transport while each of their requests may reach
// any process, and that their address is known all the same.
func TestRoundRobin(t *testing.T) {
	withBalancer(t, 3, nil, func(b *balanced) {
		for _, version := range []string{"3", "4"} {
			for _, transport := range siotest.Transports {
				before := b.forwarded()
				for n := range 12 {
					if _, err := b.enter(version, transport, fmt.Sprintf("192.0.2.%d", n)); err != nil {
						t.Errorf("version %s, %s: %v", version, transport, err)
					}
				}
				if after := b.forwarded(); (after == before) != (transport == "websocket") {
					t.Errorf("version %s, %s: %d requests were handed on", version, transport, after-before)
				}
			}
		}
		received := uint64(0)
		for _, p := range b.processes {
			b.logs.expect(t, "prefix="+p.prefix())
			received += p.Auth().Stats().Forwarded.Received
		}
		if sent := b.forwarded(); received != sent {
			t.Errorf("%d requests were handed on, and %d were believed", sent, received)
		}
		if strings.Contains(b.logs.String(), "level=WARN") {
			t.Errorf("the log has warnings:\n%s", b.logs.String())
		}
	})
}

// TestRuleByPrefix guards that nothing is handed on behind a load balancer that has a rule for the
// ids of connections.
func TestRuleByPrefix(t *testing.T) {
	withBalancer(t, 3, nil, func(b *balanced) {
		b.choose = b.byPrefix
		for _, version := range []string{"3", "4"} {
			for _, transport := range siotest.Transports {
				if _, err := b.enter(version, transport, "192.0.2.1"); err != nil {
					t.Errorf("version %s, %s: %v", version, transport, err)
				}
			}
		}
		if n := b.forwarded(); n != 0 {
			t.Errorf("%d requests were handed on", n)
		}
	})
}

// TestWithoutAdvertise guards that ids have no prefix where no other process could use it, and that
// the log says what the load balancer has to do instead.
func TestWithoutAdvertise(t *testing.T) {
	withBalancer(t, 1, func(o *socketauth.Options[string]) { o.Cluster.Advertise = "" }, func(b *balanced) {
		conn, err := b.dial("", "4", "polling", "192.0.2.1")
		if err != nil {
			t.Fatal(err)
		}
		if _, ok := id.Parse(conn.Opened().SID); !ok || b.processes[0].prefix() != "" {
			t.Errorf("the id is %q", conn.Opened().SID)
		}
		b.logs.expect(t, "Cluster.Advertise is empty")
		_ = conn.Close()
	})
}

// get sends a poll to a process itself.
func (p *balancedProcess) get(sid string, header http.Header) (string, error) {
	r, err := http.NewRequestWithContext(context.Background(), http.MethodGet, "http://"+p.host+"/socket.io/?EIO=4&transport=polling&sid="+sid, nil)
	if err != nil {
		return "", err
	}
	for name, values := range header {
		r.Header[name] = values
	}
	res, err := http.DefaultTransport.RoundTrip(r)
	if err != nil {
		return "", err
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	return fmt.Sprintf("%d %s %v", res.StatusCode, body, res.Header["Access-Control-Allow-Origin"]), err
}

// TestForgedSession guards that an id with a made-up or another process's name is answered as any
// other that is unknown, and that origins are checked where the request comes first.
func TestForgedSession(t *testing.T) {
	withBalancer(t, 2, nil, func(b *balanced) {
		const unknown = `400 {"code":1,"message":"Session ID unknown"} []`
		front, back := b.processes[0], b.processes[1]
		for name, sid := range map[string]string{
			"random": id.New().String(), "made up": "abcdefgh" + id.New().String(), "empty name": strings.Repeat("~", 8) + id.New().String(),
			"own": front.prefix() + id.New().String(), "other": back.prefix() + id.New().String(), "name alone": back.prefix(), "long": strings.Repeat("a", 5000),
		} {
			if got, err := front.get(sid, nil); err != nil || got != unknown {
				t.Errorf("%s: %s, %v", name, got, err)
			}
		}
		if n := b.forwarded(); n != 1 {
			t.Errorf("%d requests were handed on", n)
		}
		if got, err := front.get(back.prefix()+id.New().String(), http.Header{"Origin": {"https://evil.example"}}); err != nil || !strings.HasPrefix(got, "403 ") {
			t.Errorf("another origin: %s, %v", got, err)
		}
		own := "http://" + front.host // which the other process has to take for its own too: Host is kept
		if got, err := front.get(back.prefix()+id.New().String(), http.Header{"Origin": {own}}); err != nil || got != strings.Replace(unknown, "[]", "["+own+"]", 1) {
			t.Errorf("the own origin: %s, %v", got, err)
		}
		if got, err := front.get(id.New().String(), http.Header{"X-Socketauth-Forwarded": {"x"}}); err != nil || got != unknown || front.Auth().Stats().Forwarded.Forged != 1 {
			t.Errorf("a forged header: %s, %v", got, err)
		}
	})
}

// TestShutdownOfForwarder guards that the end of the process by way of which clients reach another
// one ends their connections, so that they come back by way of others, and waits for that.
func TestShutdownOfForwarder(t *testing.T) {
	withBalancer(t, 2, nil, func(b *balanced) {
		back, front := 0, 1
		b.choose = func(r *http.Request) int {
			if r.URL.Query().Get("sid") == "" {
				return back
			}
			return front
		}
		var clients []*siotest.Client
		for _, version := range []string{"3", "4"} {
			for _, transport := range []string{"polling", "upgrade"} {
				c, err := b.enter(version, transport, "192.0.2.1")
				if err != nil {
					t.Fatal(err)
				}
				clients = append(clients, c)
			}
		}
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
		defer cancel()
		if err := b.processes[front].Shutdown(ctx); err != nil {
			t.Error(err)
		}
		for _, c := range clients {
			if got := b.packet(c); got != "" {
				t.Errorf("got %q, want the end", got)
			}
		}
		b.choose = func(*http.Request) int { return back }
		if _, err := b.enter("4", "upgrade", "192.0.2.1"); err != nil {
			t.Error(err)
		}
	})
}

// TestProcessDies guards that clients of a process that dies are told so, and can come back; and
// that a broker that is down keeps nobody from polling.
func TestProcessDies(t *testing.T) {
	withBalancer(t, 3, nil, func(b *balanced) {
		b.choose = func(r *http.Request) int {
			if r.URL.Query().Get("sid") == "" {
				return 0
			}
			return 1
		}
		c, err := b.enter("4", "polling", "192.0.2.1")
		if err != nil {
			t.Fatal(err)
		}
		for _, p := range b.processes {
			p.broker.disconnect()
		}
		b.until("the processes have fallen silent", func() bool {
			for _, n := range b.processes[1].Auth().Stats().Nodes[1:] {
				if !n.Silent {
					return false
				}
			}
			return true
		})
		if err := c.Write(`429["address"]`); err != nil {
			t.Fatal(err)
		}
		if got := b.packet(c); got != `439["192.0.2.1"]` {
			t.Errorf("got %q while the broker is down", got)
		}
		_ = b.processes[0].http.Close() // in the middle of a poll
		if got := b.packet(c); got != "" {
			t.Errorf("got %q, want the end", got)
		}
		if got, err := b.processes[1].get(b.processes[0].prefix()+id.New().String(), nil); err != nil || got != `502 {"code":3,"message":"Process out of reach"} []` {
			t.Errorf("%s, %v", got, err)
		}
		b.choose = func(*http.Request) int { return 1 + int(b.turns.Add(1)%2) }
		if _, err := b.enter("4", "upgrade", "192.0.2.1"); err != nil {
			t.Error(err)
		}
		if n := b.processes[1].Auth().Stats().Forwarded.Failed; n == 0 {
			t.Error("the failures are not counted")
		}
	})
}
