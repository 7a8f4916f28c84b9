package forward

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/z-open/socketauth/internal/deadline"
	"github.com/z-open/socketauth/internal/id"
	"github.com/z-open/socketauth/internal/siotest"
)

// TestOneHop guards that a request is handed on once, whatever processes advertise.
func TestOneHop(t *testing.T) {
	in(t, 3, nil, func(t *testing.T, a *app) {
		for name, listeners := range map[string][3]int{ // who is reached at the URL of each
			"its sender":         {0, 0, 2},
			"a third process":    {0, 2, 2},
			"the wrong way":      {1, 0, 2},
			"each another":       {1, 2, 0},
			"all the same":       {2, 2, 2},
			"each the one after": {2, 0, 1},
		} {
			a.mu.Lock()
			for n, to := range listeners {
				a.hosts[fmt.Sprintf("10.0.0.%d:8080", n+1)] = a.processes[to].listener
			}
			a.dials = nil
			a.mu.Unlock()
			front := a.processes[0]
			front.mustAsk("POST", "sid="+a.processes[1].sid(), "x", nil)
			served := 0
			for _, p := range a.processes {
				for ; len(p.served) > 0; served++ {
					if r := <-p.served; len(r.Header[headerName]) > 0 {
						t.Errorf("%s: the header is there", name)
					}
				}
			}
			if served != 1 || len(a.dials) != 1 {
				t.Errorf("%s: %d processes served it, connected to %v", name, served, a.dials)
			}
			<-time.After(2 * idleTimeout)
		}
	})
}

// TestNonsense guards that a process that advertises something else than a URL is not connected to.
func TestNonsense(t *testing.T) {
	for _, url := range []string{"", "x", "10.0.0.2:8080", "ftp://10.0.0.2", "http://", "http:10.0.0.2", "unix:///tmp/x", "://", "http://%zz", "javascript:1", "\x00"} {
		in(t, 1, func(c *Config) { c.Peers = func() []string { return []string{url} } }, func(t *testing.T, a *app) {
			front := a.processes[0]
			front.mustAsk("GET", "sid="+front.names.of(url)+id.New().String(), "", nil)
			if front.one(); len(a.dials) > 0 {
				t.Errorf("%q: connected to %q", url, a.dials)
			}
		})
	}
}

// TestSmuggling guards that the other process sees the requests that this one has seen, and no
// others.
func TestSmuggling(t *testing.T) {
	in(t, 2, nil, func(t *testing.T, a *app) {
		front, back := a.processes[0], a.processes[1]
		const inner = "POST /socket.io/?sid=smuggled HTTP/1.1\r\nHost: evil\r\nContent-Length: 0\r\n\r\n"
		for _, text := range []string{
			"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n" + inner,
			"Transfer-Encoding: chunked\r\nContent-Length: 100\r\n\r\n0\r\n\r\n" + inner,
			"Transfer-Encoding: xchunked\r\nContent-Length: 3\r\n\r\nabc" + inner,
			"Transfer-Encoding : chunked\r\nContent-Length: 3\r\n\r\nabc" + inner,
			"Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n0\r\n\r\n" + inner,
			"Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n" + inner,
			"Content-Length: 3\r\nContent-Length: 4\r\n\r\nabcd" + inner,
			"Content-Length: +3\r\n\r\nabc" + inner,
			"Content-Length: 0\r\nX: a\nPOST /x HTTP/1.1\r\n\r\n" + inner,
			"Content-Length: 0\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n" + inner,
			"Content-Length: 0\r\nTrailer: " + headerName + "\r\n\r\n" + inner,
			"Transfer-Encoding: chunked\r\nTrailer: " + headerName + "\r\n\r\n0\r\n" + headerName + ": x\r\n\r\n" + inner,
			fmt.Sprintf("Expect: 100-continue\r\nContent-Length: %d\r\n\r\n%s", len(inner), inner),
			fmt.Sprintf("Content-Length: %d\r\n\r\n%s", len(inner), inner),
		} {
			conn, answers := front.raw("POST /socket.io/?sid=" + back.sid() + " HTTP/1.1\r\nHost: app.example\r\n" + text)
			for {
				res, err := http.ReadResponse(answers, nil)
				if err != nil {
					break
				}
				if _, err := io.Copy(io.Discard, res.Body); err != nil || res.StatusCode == http.StatusBadRequest {
					break
				}
				_ = conn.SetReadDeadline(time.Now().Add(time.Second))
			}
			_ = conn.Close()
			synctest.Wait()
			if len(back.served) > 1 {
				t.Errorf("%q: %d requests have come", text, len(back.served))
			}
			for len(back.served) > 0 {
				if r := <-back.served; r.Host != "app.example" || strings.Contains(r.RequestURI, "smuggled") || len(r.Trailer) > 0 {
					t.Errorf("%q: %s %s of %s came, with the trailer %v", text, r.Method, r.RequestURI, r.Host, r.Trailer)
				}
			}
			for len(front.served) > 0 { // what the client sent after its request, as a request of its own
				<-front.served
			}
			<-time.After(3 * time.Second)
		}
	})
}

// engineLike reads the body of a POST as the engines do.
func engineLike(most int64) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if r.ContentLength <= most {
			if n, err := io.Copy(io.Discard, io.LimitReader(r.Body, most+1)); err != nil {
				w.WriteHeader(http.StatusBadRequest)
				return
			} else if n <= most {
				fmt.Fprintf(w, "%d bytes", n)
				return
			}
		}
		w.Header().Set("Connection", "close")
		w.WriteHeader(http.StatusRequestEntityTooLarge)
	}
}

// TestLargeBodies guards that no more of a body is read than the limit, that the other process gets
// to know of it and can end the connection, and that the client gets its answer at once.
func TestLargeBodies(t *testing.T) {
	in(t, 2, nil, func(t *testing.T, a *app) {
		front, back := a.processes[0], a.processes[1]
		for _, most := range []int64{100, 1000} { // front's limit is 1000
			back.local = engineLike(most)
			for _, c := range []struct {
				announced, sent int
				want            string
			}{
				{100, 100, "200 100 bytes"},
				{-1, 100, "200 100 bytes"},
				{int(most) + 1, int(most) + 1, "413 "},
				{1 << 20, 0, "413 "},
				{1 << 40, 0, "413 "},
				{1 << 20, 1 << 20, "413 "},
				{-1, int(most) + 1, "413 "},
				{-1, 1 << 20, "413 "},
			} {
				began := time.Now()
				length := fmt.Sprintf("Content-Length: %d\r\n\r\n", c.announced)
				body := strings.Repeat("x", c.sent)
				if c.announced < 0 {
					length = "Transfer-Encoding: chunked\r\n\r\n"
					body = fmt.Sprintf("%x\r\n%s\r\n0\r\n\r\n", c.sent, body)
				}
				conn, answers := front.raw("POST /socket.io/?sid=" + back.sid() + " HTTP/1.1\r\nHost: x\r\n" + length + body)
				res, err := http.ReadResponse(answers, nil)
				if err != nil {
					t.Fatal(err)
				}
				text, _ := io.ReadAll(res.Body)
				if got := fmt.Sprintf("%d %s", res.StatusCode, text); got != c.want || time.Since(began) > 0 {
					t.Errorf("limit %d, %+v: %s after %v", most, c, got, time.Since(began))
				}
				_ = conn.Close()
				back.one()
				<-time.After(3 * time.Second)
			}
		}
	})
}

// TestSlowBodies guards that a client that does not send its body keeps the request open for a
// bounded time, and that the other process is told when the client leaves.
func TestSlowBodies(t *testing.T) {
	in(t, 2, nil, func(t *testing.T, a *app) {
		front, back := a.processes[0], a.processes[1]
		back.local = func(w http.ResponseWriter, r *http.Request) {
			rc := http.NewResponseController(w)
			_, _ = rc.SetReadDeadline(time.Time{}), rc.SetWriteDeadline(time.Time{})
			engineLike(100)(w, r)
		}
		slow, answered := front.raw("POST /socket.io/?sid=" + back.sid() + " HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\na")
		<-time.After(bodyTimeout - time.Second)
		_, _ = io.WriteString(slow, "b")
		if res, err := http.ReadResponse(answered, nil); err != nil || res.StatusCode != http.StatusOK {
			t.Errorf("%v, %v", res, err)
		}
		_ = slow.Close()
		back.one()
		head := "POST /socket.io/?sid=" + back.sid() + " HTTP/1.1\r\nHost: x\r\nContent-Length: 50\r\n\r\nabc"
		began := time.Now()
		conn, answers := front.raw(head)
		res, err := http.ReadResponse(answers, nil)
		if took := time.Since(began); err != nil || res.StatusCode != http.StatusBadRequest || took > bodyTimeout+2*time.Second {
			t.Errorf("%v, %v, after %v", res, err, took)
		}
		_ = conn.Close()
		conn, _ = front.raw(head)
		synctest.Wait()
		_ = conn.Close()
		<-time.After(3 * time.Second)
		if front.openRequests() != 0 || len(back.served) != 2 {
			t.Errorf("%d requests are open, %d have come", front.openRequests(), len(back.served))
		}

		// One that nobody waits for, since it was answered.
		back.local = func(w http.ResponseWriter, r *http.Request) { // as the engines refuse a request
			deadline.Body(w, r)
			deadline.Answer(w)
			w.WriteHeader(http.StatusBadRequest)
		}
		began = time.Now()
		conn, answers = front.raw(head)
		res, err = http.ReadResponse(answers, nil)
		if err != nil || res.StatusCode != http.StatusBadRequest || time.Since(began) > 3*time.Second {
			t.Errorf("%v, %v, after %v", res, err, time.Since(began))
		}
		_, _ = io.Copy(io.Discard, answers)
		if took := time.Since(began); took > 4*time.Second {
			t.Errorf("the connection was closed after %v", took)
		}
		_ = conn.Close()
	})
}

// wait is a poll: it waits until the request ends, longer than the timeouts of the http.Server.
func wait(w http.ResponseWriter, r *http.Request) {
	_ = http.NewResponseController(w).SetReadDeadline(time.Time{})
	<-r.Context().Done()
}

// TestClientLeaves guards that the other process learns that the client of a poll has left.
func TestClientLeaves(t *testing.T) {
	in(t, 2, nil, func(t *testing.T, a *app) {
		front, back := a.processes[0], a.processes[1]
		left := make(chan struct{})
		back.local = func(w http.ResponseWriter, r *http.Request) { wait(w, r); close(left) }
		conn, _ := front.raw("GET /socket.io/?sid=" + back.sid() + " HTTP/1.1\r\nHost: x\r\n\r\n")
		<-time.After(20 * time.Second)
		if front.openRequests() != 1 {
			t.Fatalf("%d requests are open", front.openRequests())
		}
		_ = conn.Close()
		<-left
		synctest.Wait()
		if front.openRequests() != 0 || front.c.Counts.Failed.Load() != 0 || a.logs.String() != "" {
			t.Errorf("%d requests are open; %s; %s", front.openRequests(), front.counts(), &a.logs)
		}
	})
}

// TestPollsWait guards that a poll outlasts the timeouts of both http.Servers, and that the next
// request on the same connection works.
func TestPollsWait(t *testing.T) {
	in(t, 2, nil, func(t *testing.T, a *app) {
		front, back := a.processes[0], a.processes[1]
		back.local = func(w http.ResponseWriter, _ *http.Request) {
			rc := http.NewResponseController(w)
			_, _ = rc.SetReadDeadline(time.Time{}), rc.SetWriteDeadline(time.Time{})
			<-time.After(25 * time.Second)
			_, _ = io.WriteString(w, "event")
		}
		head := "GET /socket.io/?sid=" + back.sid() + " HTTP/1.1\r\nHost: x\r\n\r\n"
		conn, answers := front.raw(head)
		for range 2 {
			res, err := http.ReadResponse(answers, nil)
			if err != nil {
				t.Fatal(err)
			}
			if text, err := io.ReadAll(res.Body); err != nil || string(text) != "event" {
				t.Errorf("%d %s, %v", res.StatusCode, text, err)
			}
			go func() { _, _ = io.WriteString(conn, head) }()
		}
		_ = conn.Close()
	})
}

// TestProcessDoesNotAnswer guards that a client gets an answer after which it reconnects, whatever
// the other process does, and that the log says once a minute which process that is and has no id
// of a connection.
func TestProcessDoesNotAnswer(t *testing.T) {
	hang := func(net.Conn) {}
	write := func(text string) func(net.Conn) {
		return func(conn net.Conn) {
			_, _ = http.ReadRequest(bufio.NewReader(conn))
			_, _ = io.WriteString(conn, text)
		}
	}
	for name, c := range map[string]struct {
		serve  func(conn net.Conn) // nil: nobody listens
		within time.Duration
		broken bool // the answer has begun and ends early
	}{
		"nobody listens": {nil, 0, false},
		"no reading":     {hang, headerTimeout, false},
		"no header":      {write(""), headerTimeout, false},
		"it dies":        {func(conn net.Conn) { _, _ = http.ReadRequest(bufio.NewReader(conn)); _ = conn.Close() }, 0, false},
		"no HTTP":        {write("SSH-2.0-OpenSSH_9.2\r\n\r\n"), 0, false},
		"a large header": {write("HTTP/1.1 200 OK\r\nX: " + strings.Repeat("x", 1<<20)), 0, false},
		"no body":        {write("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc"), answerTimeout, true},
		"101":            {write("HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\n"), 0, false},
	} {
		t.Run(name, func(t *testing.T) {
			in(t, 2, nil, func(t *testing.T, a *app) {
				front, back := a.processes[0], a.processes[1]
				listener := siotest.Listen()
				defer listener.Close()
				delete(a.hosts, "10.0.0.2:8080")
				if c.serve != nil {
					a.hosts["10.0.0.2:8080"] = listener
					go func() {
						for {
							conn, err := listener.Accept()
							if err != nil {
								return
							}
							defer conn.Close()
							go c.serve(conn)
						}
					}()
				}
				for range 3 {
					began, sid := time.Now(), back.sid()
					answer, err := front.ask("GET", "sid="+sid, "", nil)
					if c.broken != (err != nil) || !c.broken && answer.String() != `502 {"code":3,"message":"Process out of reach"}` || time.Since(began) != c.within {
						t.Errorf("%v, %v after %v", answer, err, time.Since(began))
					}
					if strings.Contains(a.logs.String(), sid) {
						t.Errorf("the log has the id of a connection:\n%s", &a.logs)
					}
				}
				if n := strings.Count(a.logs.String(), "url=http://10.0.0.2:8080"); (n == 0) != c.broken || c.within == 0 && n > 1 {
					t.Errorf("logged %d times:\n%s", n, &a.logs)
				}
			})
		})
	}
}

// TestConnectTimeout guards that a process whose machine has gone does not hold up requests for
// long.
func TestConnectTimeout(t *testing.T) {
	dial := func(ctx context.Context, _, _ string) (net.Conn, error) { <-ctx.Done(); return nil, ctx.Err() }
	in(t, 2, func(c *Config) { c.Dial = dial }, func(t *testing.T, a *app) {
		began := time.Now()
		answer := a.processes[0].mustAsk("POST", "sid="+a.processes[1].sid(), "x", nil)
		if answer.status != http.StatusBadGateway || time.Since(began) > dialTimeout+2*time.Second {
			t.Errorf("%v after %v", answer, time.Since(began))
		}
	})
}

// TestLimit guards that only so many requests are handed on at a time, and that they make room when
// they end.
func TestLimit(t *testing.T) {
	in(t, 2, func(c *Config) { c.MaxRequests = 2 }, func(t *testing.T, a *app) {
		front, back := a.processes[0], a.processes[1]
		back.local = wait
		var conns []net.Conn
		for range 2 {
			conn, _ := front.raw("GET /socket.io/?sid=" + back.sid() + " HTTP/1.1\r\nHost: x\r\n\r\n")
			conns = append(conns, conn)
		}
		synctest.Wait()
		if answer := front.mustAsk("GET", "sid="+back.sid(), "", nil); answer.status != http.StatusServiceUnavailable || front.limited != 1 {
			t.Errorf("%v, reported %d times", answer, front.limited)
		}
		for _, conn := range conns {
			_ = conn.Close()
		}
		synctest.Wait()
		back.local = nil
		if answer := front.mustAsk("GET", "sid="+back.sid(), "", nil); answer.status != http.StatusOK || front.limited != 1 {
			t.Errorf("%v, reported %d times", answer, front.limited)
		}
	})
}
