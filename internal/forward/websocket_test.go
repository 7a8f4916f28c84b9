package forward

import (
	"bufio"
	"context"
	"crypto/x509"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/z-open/socketauth/internal/deadline"
	"github.com/z-open/socketauth/internal/id"
)

const handshake = " HTTP/1.1\r\nHost: x\r\nConnection: Upgrade, " + headerName + "\r\nUpgrade: websocket\r\n\r\n"

// upgraded sends a websocket's handshake by way of front to back, and returns both ends. What the
// client sends together with it is early.
func upgraded(t *testing.T, front, back *process, early string) (client net.Conn, fromServer *bufio.Reader, server net.Conn, fromClient *bufio.Reader) {
	t.Helper()
	conns := make(chan net.Conn, 1)
	readers := make(chan *bufio.Reader, 1)
	back.local = func(w http.ResponseWriter, _ *http.Request) {
		conn, rw, err := http.NewResponseController(w).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		_, _ = io.WriteString(conn, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
		conns <- conn
		readers <- rw.Reader
	}
	client, fromServer = front.raw("GET /socket.io/?sid=" + back.sid() + handshake + early)
	res, err := http.ReadResponse(fromServer, nil)
	if err != nil || res.StatusCode != http.StatusSwitchingProtocols || res.Header.Get("Upgrade") != "websocket" {
		t.Fatalf("%v, %v", res, err)
	}
	if r := back.one(); len(r.Header[headerName]) > 0 || back.c.Counts.Received.Load() != 1 {
		t.Errorf("the other process got %v", r.Header)
	}
	return client, fromServer, <-conns, <-readers
}

// TestWebsocket guards that a websocket is handed on both ways, with what a client sends too early,
// and lasts longer than the timeouts of both http.Servers.
func TestWebsocket(t *testing.T) {
	in(t, 2, nil, func(t *testing.T, a *app) {
		client, fromServer, server, fromClient := upgraded(t, a.processes[0], a.processes[1], "early")
		if b := make([]byte, 5); true {
			if _, err := io.ReadFull(fromClient, b); err != nil || string(b) != "early" {
				t.Errorf("%q, %v", b, err)
			}
		}
		large := strings.Repeat("x", 100_000)
		for range 3 {
			<-time.After(time.Minute)
			go func() { _, _ = io.WriteString(server, large) }()
			b := make([]byte, len(large))
			if _, err := io.ReadFull(fromServer, b); err != nil || string(b) != large {
				t.Errorf("the client got something else, %v", err)
			}
			go func() { _, _ = io.WriteString(client, large) }()
			if _, err := io.ReadFull(fromClient, b); err != nil || string(b) != large {
				t.Errorf("the server got something else, %v", err)
			}
		}
		_ = client.Close()
		if _, err := fromClient.ReadByte(); err == nil {
			t.Error("the server's end is open")
		}
		_ = server.Close()
	})
}

// TestWebsocketEnds guards that the end of one connection is the end of the other, whatever the
// peer does.
func TestWebsocketEnds(t *testing.T) {
	for name, test := range map[string]func(t *testing.T, front *process, client, server net.Conn){
		"the server closes and the client does not": func(_ *testing.T, _ *process, _, server net.Conn) { _ = server.Close() },
		"the client closes and the server does not": func(_ *testing.T, _ *process, client, _ net.Conn) { _ = client.Close() },
		"the client does not read": func(t *testing.T, _ *process, _, server net.Conn) {
			_ = server.SetWriteDeadline(time.Now().Add(clientTimeout))
			if _, err := io.WriteString(server, strings.Repeat("x", 1<<20)); err == nil {
				t.Error("1 MiB was taken")
			}
		},
		"the server does not read": func(t *testing.T, _ *process, client, _ net.Conn) {
			if _, err := io.WriteString(client, strings.Repeat("x", 1<<20)); err == nil {
				t.Error("1 MiB was taken")
			}
		},
		"shutdown": func(t *testing.T, front *process, _, _ net.Conn) {
			if err := front.Shutdown(context.Background()); err != nil {
				t.Error(err)
			}
		},
		"shutdown while the client does not read": func(t *testing.T, front *process, _, server net.Conn) {
			go func() { _, _ = io.WriteString(server, strings.Repeat("x", 1<<20)) }()
			synctest.Wait()
			began := time.Now()
			if err := front.Shutdown(context.Background()); err != nil || time.Since(began) > 0 {
				t.Errorf("%v after %v", err, time.Since(began))
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			in(t, 2, nil, func(t *testing.T, a *app) {
				client, fromServer, server, fromClient := upgraded(t, a.processes[0], a.processes[1], "")
				test(t, a.processes[0], client, server)
				<-time.After(time.Second)
				if n := a.processes[0].openRequests(); n != 0 {
					t.Errorf("%d requests are open", n)
				}
				for _, end := range []*bufio.Reader{fromServer, fromClient} {
					if _, err := io.Copy(io.Discard, end); err == nil {
						continue // EOF: it is closed
					}
				}
				_, _ = client.Close(), server.Close()
			})
		})
	}
}

// TestShutdown guards that polls are answered at once, that Shutdown waits for what is being
// written, and that nothing is handed on afterwards.
func TestShutdown(t *testing.T) {
	in(t, 2, nil, func(t *testing.T, a *app) {
		front, back := a.processes[0], a.processes[1]
		back.local = wait
		ended := make(chan reply, 1)
		go func() { ended <- front.mustAsk("GET", "sid="+back.sid(), "", nil) }()
		synctest.Wait()
		began := time.Now()
		if err := front.Shutdown(context.Background()); err != nil || time.Since(began) > 0 {
			t.Errorf("%v after %v", err, time.Since(began))
		}
		for _, answer := range []reply{<-ended, front.mustAsk("GET", "sid="+back.sid(), "", nil)} {
			if answer.String() != `503 {"code":3,"message":"Server is shutting down"}` {
				t.Errorf("answered %v", answer)
			}
		}
	})
	in(t, 2, nil, func(t *testing.T, a *app) {
		front, back := a.processes[0], a.processes[1]
		back.local = func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", strconv.Itoa(1<<20))
			_, _ = w.Write(make([]byte, 1<<20))
		}
		conn, answers := front.raw("GET /socket.io/?sid=" + back.sid() + " HTTP/1.1\r\nHost: x\r\n\r\n")
		if _, err := http.ReadResponse(answers, nil); err != nil { // the body is not read
			t.Fatal(err)
		}
		synctest.Wait() // until it is being written
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		if err := front.Shutdown(ctx); err == nil {
			t.Error("Shutdown has not waited")
		}
		began := time.Now()
		if err := front.Shutdown(context.Background()); err != nil || time.Since(began) > flushTimeout {
			t.Errorf("%v after %v", err, time.Since(began))
		}
		_ = conn.Close()
	})
}

// TestWebsocketEndsOverTLS guards that the end of a client's connection is the end of one to a
// process that is reached by TLS, which could be closed for writing alone.
func TestWebsocketEndsOverTLS(t *testing.T) {
	release := make(chan struct{})
	back := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		conn, _, err := http.NewResponseController(w).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		_, _ = io.WriteString(conn, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
		<-release // it does not close the connection before
		_ = conn.Close()
	}))
	defer back.Close()
	c := Config{
		Key: make([]byte, 32), Peers: func() []string { return []string{back.URL} }, ClientIP: func(*http.Request) string { return "" },
		Counts: new(Counts), MaxRequests: -1, RootCAs: x509.NewCertPool(), Logger: slog.New(slog.DiscardHandler),
	}
	c.RootCAs.AddCert(back.Certificate())
	f, err := New(c)
	if err != nil {
		t.Fatal(err)
	}
	front := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { f.Serve(w, r) }))
	defer front.Close()
	client, err := net.Dial("tcp", front.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	_, _ = io.WriteString(client, "GET /socket.io/?sid="+f.names.of(back.URL)+id.New().String()+handshake)
	if res, err := http.ReadResponse(bufio.NewReader(client), nil); err != nil || res.StatusCode != http.StatusSwitchingProtocols {
		t.Fatalf("%v, %v", res, err)
	}
	_ = client.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	if err := deadline.Wait(ctx, &f.work); err != nil {
		t.Error("the request is still handed on")
	}
	close(release)
}
