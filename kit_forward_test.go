package socketauth_test

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/z-open/socketauth"
	"github.com/z-open/socketauth/blacklist"
	"github.com/z-open/socketauth/internal/siotest"
)

// balanced is an app of several processes behind a load balancer. Unlike withCluster it is on real
// connections, in real time.
type balanced struct {
	*testing.T
	processes []*balancedProcess
	host      string // of the load balancer
	logs      logBuffer

	// choose returns which process gets a request. If nil, they take turns.
	choose func(r *http.Request) int
	turns  atomic.Uint64
}

type balancedProcess struct {
	*socketauth.Server
	host   string
	http   *http.Server
	broker *processBroker
}

// withBalancer runs a test against an app of so many processes. change may adjust the options of
// each.
func withBalancer(t *testing.T, many int, change func(*socketauth.Options[string]), test func(b *balanced)) {
	t.Helper()
	b := &balanced{T: t}
	broker, store := new(memoryBroker), blacklist.NewMemory()
	for range many {
		p := &balancedProcess{broker: &processBroker{memoryBroker: broker}}
		b.processes = append(b.processes, p)
		listener := b.listen()
		p.host = listener.Addr().String()
		mux := http.NewServeMux()
		p.http = &http.Server{Handler: mux, ReadTimeout: 2 * time.Second, WriteTimeout: 2 * time.Second}
		o := testOptions(&b.logs)
		o.Logger = slog.New(slog.NewTextHandler(&b.logs, nil))
		o.Timeout = 30 * time.Second // tests of other things must not fail on a busy machine
		o.Blacklist = store
		o.Cluster = socketauth.Cluster{Broker: p.broker, Advertise: "http://" + p.host}
		o.ClientIP = func(r *http.Request) string { return r.Header.Get("X-Forwarded-For") }
		if change != nil {
			change(&o)
		}
		var err error
		if p.Server, err = socketauth.Infrastructure(p.http, mux, o); err != nil {
			t.Fatal(err)
		}
		p.On("address", func(_ context.Context, s *socketauth.Socket, _ socketauth.Args) (any, error) {
			return s.Request().ClientIP, nil
		})
		go func() { _ = p.http.Serve(listener) }()
		t.Cleanup(func() {
			ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
			defer cancel()
			if err := p.Shutdown(ctx); err != nil {
				t.Errorf("Shutdown: %v", err)
			}
			_ = p.http.Close()
		})
	}
	for _, p := range b.processes {
		b.until("a process knows all others", func() bool { return len(p.Auth().Stats().Nodes) == many })
	}
	proxy := &httputil.ReverseProxy{
		Rewrite: func(r *httputil.ProxyRequest) {
			n := int(b.turns.Add(1))
			if b.choose != nil {
				n = b.choose(r.In)
			}
			r.SetURL(&url.URL{Scheme: "http", Host: b.processes[n%many].host})
			r.Out.Host = r.In.Host
			r.Out.Header.Set("X-Forwarded-For", r.In.Header.Get("Test-Address"))
		},
		ErrorLog: slog.NewLogLogger(slog.DiscardHandler, slog.LevelError),
	}
	front, listener := &http.Server{Handler: proxy}, b.listen()
	b.host = listener.Addr().String()
	go func() { _ = front.Serve(listener) }()
	t.Cleanup(func() { _ = front.Close() })
	test(b)
}

func (b *balanced) listen() net.Listener {
	b.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	return listener
}

// until waits for something that nothing tells of.
func (b *balanced) until(what string, true func() bool) {
	b.Helper()
	for began := time.Now(); !true(); <-time.After(time.Millisecond) {
		if time.Since(began) > 30*time.Second {
			b.Fatalf("it did not happen that %s\n%s", what, &b.logs)
		}
	}
}

// forwarded returns how many requests have been handed on, by all processes.
func (b *balanced) forwarded() (n uint64) {
	for _, p := range b.processes {
		n += p.Auth().Stats().Forwarded.Sent
	}
	return n
}

// dial connects to a host, or to the load balancer if it is empty, from an address.
func (b *balanced) dial(host, version, transport, address string) (*siotest.Conn, error) {
	if host == "" {
		host = b.host
	}
	return siotest.Dialer{Version: version, Host: host, Header: http.Header{"Test-Address": {address}}}.Dial(b.Context(), transport)
}

// enter connects by way of the load balancer and authenticates.
func (b *balanced) enter(version, transport, address string) (*siotest.Client, error) {
	code, err := b.processes[0].Auth().IssueCode(b.Context(), jwt.MapClaims{"sub": "anna"})
	if err != nil {
		return nil, err
	}
	conn, err := b.dial("", version, transport, address)
	if err != nil {
		return nil, err
	}
	if _, err := conn.Join(""); err != nil {
		return nil, fmt.Errorf("joining: %w", err)
	}
	if transport == "upgrade" {
		if err := conn.Upgrade(b.Context()); err != nil {
			return nil, fmt.Errorf("upgrading: %w", err)
		}
	}
	c, err := conn.Start(b.Context())
	if err != nil {
		return nil, err
	}
	b.Cleanup(c.Close)
	if err := c.Write(`42["authenticate",{"token":"` + code + `"}]`); err != nil {
		return nil, fmt.Errorf("authenticating: %w", err)
	}
	if got := b.packet(c); !strings.HasPrefix(got, `42["authenticated","`) {
		return nil, fmt.Errorf("got %q, want authenticated", got)
	}
	for n := range 5 { // requests go to several processes
		id := strconv.Itoa(n + 1)
		if err := c.Write("42" + id + `["address"]`); err != nil {
			return nil, fmt.Errorf("asking: %w", err)
		}
		if got, want := b.packet(c), "43"+id+`["`+address+`"]`; got != want {
			return nil, fmt.Errorf("got %q, want %q", got, want)
		}
	}
	return c, nil
}

// packet returns the next packet, or "" at the end of the connection.
func (b *balanced) packet(c *siotest.Client) string {
	select {
	case p := <-c.Packets():
		return p
	case <-time.After(30 * time.Second):
		return "nothing came"
	}
}

// byPrefix is the rule of a load balancer that knows the prefixes of all processes.
func (b *balanced) byPrefix(r *http.Request) int {
	sid := r.URL.Query().Get("sid")
	if i := slices.IndexFunc(b.processes, func(p *balancedProcess) bool { return sid != "" && strings.HasPrefix(sid, p.prefix()) }); i >= 0 {
		return i
	}
	return int(b.turns.Add(1))
}

// prefix returns what the ids of the process's connections begin with.
func (p *balancedProcess) prefix() string { return p.Auth().Stats().Nodes[0].Prefix }
