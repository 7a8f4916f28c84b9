package forward

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/z-open/socketauth/internal/id"
	"github.com/z-open/socketauth/internal/siotest"
)

// app is the processes of one app, in a network in memory, in a bubble of testing/synctest.
type app struct {
	t         *testing.T
	processes []*process
	logs      logBuffer

	mu    sync.Mutex
	hosts map[string]*siotest.Listener // by host and port
	dials []string                     // the hosts that processes connected to
}

// process is one process. What it serves itself is for the test to say.
type process struct {
	*Forwarder
	app      *app
	url      string
	listener *siotest.Listener
	server   *http.Server
	served   chan *http.Request // the requests that the process served itself
	local    http.HandlerFunc   // serves them; answers "<url> <method> <body>" if nil
	limited  int
}

// in runs a test with some processes. configure may change the configuration of each. All of it
// must have ended when the test returns.
func in(t *testing.T, processes int, configure func(*Config), test func(t *testing.T, a *app)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		a := &app{t: t, hosts: make(map[string]*siotest.Listener)}
		for n := range processes {
			a.start(n, configure)
		}
		test(t, a)
		for _, p := range a.processes {
			ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
			if err := p.Shutdown(ctx); err != nil || p.openRequests() != 0 {
				t.Errorf("%s: %v, %d requests are open", p.url, err, p.openRequests())
			}
			cancel()
			_ = p.server.Close()
		}
		<-time.After(time.Minute) // until net/http has closed the connections
	})
}

func (a *app) start(n int, configure func(*Config)) {
	host := fmt.Sprintf("10.0.0.%d:8080", n+1)
	p := &process{app: a, url: "http://" + host, listener: siotest.Listen(), served: make(chan *http.Request, 1000)}
	c := Config{
		Key:       []byte("the key that the processes share"),
		Advertise: p.url,
		Peers: func() (urls []string) {
			for _, other := range a.processes {
				if other != p {
					urls = append(urls, other.url)
				}
			}
			return urls
		},
		ClientIP:    func(r *http.Request) string { return r.Header.Get("X-Real-Ip") },
		MaxBody:     1000,
		MaxRequests: 50,
		Counts:      new(Counts),
		Limited:     func() { p.limited++ },
		Dial:        a.dial,
		Logger:      slog.New(slog.NewTextHandler(&a.logs, nil)),
	}
	if configure != nil {
		configure(&c)
	}
	var err error
	if p.Forwarder, err = New(c); err != nil {
		a.t.Fatal(err)
	}
	p.server = &http.Server{Handler: p, ReadTimeout: 2 * time.Second, WriteTimeout: 2 * time.Second}
	a.hosts[host] = p.listener
	a.processes = append(a.processes, p)
	go func() { _ = p.server.Serve(p.listener) }()
}

// ServeHTTP serves a request as the process.
func (p *process) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	own, handedOn := p.Serve(w, r)
	if handedOn {
		return
	}
	p.served <- own
	if p.local != nil {
		p.local(w, own)
		return
	}
	body, _ := io.ReadAll(own.Body)
	fmt.Fprintf(w, "%s %s %s", p.url, own.Method, body)
}

// counts describes the counts of the process.
func (p *process) counts() string {
	c := p.c.Counts
	return fmt.Sprintf("%d sent, %d failed, %d received, %d forged", c.Sent.Load(), c.Failed.Load(), c.Received.Load(), c.Forged.Load())
}

// openRequests returns how many requests the process is handing on.
func (p *process) openRequests() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.open
}

// sid returns the id of a connection of the process.
func (p *process) sid() string { return p.Name() + id.New().String() }

func (a *app) dial(ctx context.Context, network, host string) (net.Conn, error) {
	a.mu.Lock()
	a.dials = append(a.dials, host)
	listener := a.hosts[host]
	a.mu.Unlock()
	if listener == nil {
		return nil, errors.New("connection refused")
	}
	return listener.DialContext(ctx, network, host)
}

// reply is an answer that was read completely.
type reply struct {
	status int
	body   string
	header http.Header
}

func (r reply) String() string { return fmt.Sprintf("%d %s", r.status, r.body) }

// ask sends a request to the process. edit may change it.
func (p *process) ask(method, query, body string, edit func(*http.Request)) (reply, error) {
	transport := &http.Transport{DialContext: p.listener.DialContext, DisableKeepAlives: true}
	r, err := http.NewRequestWithContext(context.Background(), method, "http://app.example/socket.io/?"+query, strings.NewReader(body))
	if err != nil {
		return reply{}, err
	}
	if edit != nil {
		edit(r)
	}
	res, err := transport.RoundTrip(r)
	if err != nil {
		return reply{}, err
	}
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	return reply{res.StatusCode, string(text), res.Header}, err
}

// mustAsk is ask for requests that must be answered.
func (p *process) mustAsk(method, query, body string, edit func(*http.Request)) reply {
	p.app.t.Helper()
	r, err := p.ask(method, query, body, edit)
	if err != nil {
		p.app.t.Fatalf("%s %s: %v", method, query, err)
	}
	return r
}

// raw sends bytes to the process and returns the connection.
func (p *process) raw(text string) (net.Conn, *bufio.Reader) {
	p.app.t.Helper()
	conn, err := p.listener.DialContext(context.Background(), "", "")
	if err != nil {
		p.app.t.Fatal(err)
	}
	go func() { _, _ = io.WriteString(conn, text) }()
	return conn, bufio.NewReader(conn)
}

// one returns the only request that the process has served itself.
func (p *process) one() *http.Request {
	p.app.t.Helper()
	if len(p.served) != 1 {
		p.app.t.Fatalf("%s has served %d requests, want 1", p.url, len(p.served))
	}
	return <-p.served
}

// logBuffer is a log that may be written and read by several goroutines.
type logBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *logBuffer) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(b)
}

func (l *logBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}
