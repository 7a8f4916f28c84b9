package socketauth_test

import (
	"bufio"
	"cmp"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/z-open/socketauth"
	"github.com/z-open/socketauth/internal/siotest"
)

// sendSlowly sends text again and again, a byte a second, and reads what comes, until the
// connection ends. Broadcasts meanwhile must reach others at once.
func (srv *testServer) sendSlowly(conn net.Conn, text string, within time.Duration, others ...*siotest.Conn) {
	srv.Helper()
	read := make(chan struct{})
	go func() {
		defer close(read)
		_, _ = io.Copy(io.Discard, conn)
	}()
	began := time.Now()
	for n := 0; ; n++ {
		_ = conn.SetWriteDeadline(time.Now().Add(time.Minute))
		if _, err := conn.Write([]byte{text[n%len(text)]}); err != nil {
			break
		}
		if time.Since(began) > within {
			srv.Errorf("the connection is open after %v", within)
			_ = conn.Close()
			break
		}
		srv.expectDelivery(fmt.Sprint("drop ", n), others...)
		time.Sleep(time.Second)
	}
	<-read
}

// expectDelivery checks that a broadcast reaches others without delay.
func (srv *testServer) expectDelivery(news string, others ...*siotest.Conn) {
	srv.Helper()
	for _, other := range others {
		srv.heartbeat(other)
	}
	began := time.Now()
	if err := srv.Emit("news", news); err != nil {
		srv.Error(err)
	}
	for _, other := range others {
		if _, err := other.Expect(`42["news","` + news + `"]`); err != nil {
			srv.Fatal(err)
		}
	}
	if took := time.Since(began); took > 0 {
		srv.Errorf("others received %.20q after %v", news, took)
	}
}

// heartbeat sends the heartbeat of version 3, where the client begins.
func (srv *testServer) heartbeat(c *siotest.Conn) {
	if c.Version() != "3" {
		return
	}
	err := c.Write("2")
	if err == nil {
		_, err = c.Expect("3")
	}
	if err != nil {
		srv.Fatal(err)
	}
}

// sendHalf begins a POST on polling, and returns the beginning of a frame or body to send on.
func (srv *testServer) sendHalf(c *siotest.Conn) string {
	if !c.Polling() {
		return "\x81\xfe\x10\x00\x01\x02\x03\x04" + strings.Repeat("x", 4096) // text, masked, 4096 bytes
	}
	if _, err := io.WriteString(c.NetConn(), c.Head(http.MethodPost, 4096)); err != nil {
		srv.Fatal(err)
	}
	return "x"
}

// TestSlowClients checks that a frame or body that comes byte by byte keeps no connection longer
// than Timeout while it is unauthenticated, nor longer than a heartbeat may take after that, and
// delays nobody else.
func TestSlowClients(t *testing.T) {
	onAllTransports(t, func(srv *testServer, version, transport string) {
		other := srv.rawAuthenticated(version, transport, "bert")
		unauthenticated := srv.rawUnauthenticated(version, transport)
		srv.sendSlowly(unauthenticated.NetConn(), srv.sendHalf(unauthenticated), 20*time.Second, other)
		authenticated := srv.rawAuthenticated(version, transport, "anna")
		srv.sendSlowly(authenticated.NetConn(), srv.sendHalf(authenticated), time.Minute, other)
		synctest.Wait()
		if got := srv.Auth().Stats().Sockets[version]; got.Connecting != 0 || got.Authenticated != 1 {
			srv.Errorf("%+v are left", got)
		}
	})
}

// TestSlowHandshakes checks that a handshake that comes byte by byte is cut.
func TestSlowHandshakes(t *testing.T) {
	onAllTransports(t, func(srv *testServer, version, transport string) {
		other := srv.rawAuthenticated(version, transport, "bert")
		conn, err := srv.DialContext(srv.Context(), "", "")
		if err != nil {
			srv.Fatal(err)
		}
		kind := map[string]string{"websocket": "websocket"}[transport]
		srv.sendSlowly(conn, "GET /socket.io/?EIO="+version+"&transport="+cmp.Or(kind, "polling")+" HTTP/1.1\r\nHost: server\r\nX: "+strings.Repeat("x", 1000), 20*time.Second, other)
	})
}

// TestSlowLoginBody checks that a login's body that comes byte by byte is cut.
func TestSlowLoginBody(t *testing.T) {
	withServer(t, nil, func(srv *testServer) {
		other := srv.rawAuthenticated("4", "websocket", "bert")
		for _, path := range []string{"/login", "/register"} {
			conn, err := srv.DialContext(srv.Context(), "", "")
			if err != nil {
				t.Fatal(err)
			}
			if _, err := io.WriteString(conn, "POST "+path+" HTTP/1.1\r\nHost: server\r\nContent-Type: application/json\r\nContent-Length: 1000\r\n\r\n"); err != nil {
				t.Fatal(err)
			}
			srv.sendSlowly(conn, " ", 15*time.Second, other)
		}
	})
}

// TestSlowRefusedBody checks that a slow body is cut also where the answer does not depend on it:
// net/http reads what is left of a body before it answers.
func TestSlowRefusedBody(t *testing.T) {
	const polling = " /socket.io/?transport=polling&EIO="
	for name, head := range map[string]string{
		"login":                   "POST /login HTTP/1.1\r\nContent-Type: application/json",
		"login, media type":       "POST /login HTTP/1.1\r\nContent-Type: text/plain",
		"login, another origin":   "POST /login HTTP/1.1\r\nOrigin: https://evil.example",
		"login, OPTIONS":          "OPTIONS /login HTTP/1.1",
		"login, preflight":        "OPTIONS /login HTTP/1.1\r\nOrigin: http://server\r\nAccess-Control-Request-Method: POST",
		"sockets, another origin": "POST" + polling + "4 HTTP/1.1\r\nOrigin: https://evil.example",
		"sockets, preflight":      "OPTIONS" + polling + "4 HTTP/1.1\r\nOrigin: http://server\r\nAccess-Control-Request-Method: POST",
		"sockets, version":        "POST" + polling + "9 HTTP/1.1",
		"sockets, no session":     "POST" + polling + "4 HTTP/1.1",
		"the app's, no token":     "GET /api HTTP/1.1",
		"the app's, bad token":    "GET /api HTTP/1.1\r\nAuthorization: Bearer x",
		"the app's, no step-up":   "POST /strong HTTP/1.1\r\nAuthorization: Bearer TOKEN",
	} {
		t.Run(name, func(t *testing.T) {
			withServer(t, nil, func(srv *testServer) {
				strong := srv.Auth().RequireRecent(time.Minute, "strong")(http.NotFoundHandler())
				srv.Mux.Handle("POST /strong", srv.Auth().Middleware(strong))
				_, token := srv.authenticated()
				head := strings.ReplaceAll(head, "TOKEN", token)
				conn, err := srv.DialContext(srv.Context(), "", "")
				if err != nil {
					t.Fatal(err)
				}
				_ = conn.SetDeadline(time.Now().Add(time.Minute))
				var dripping sync.WaitGroup
				defer func() { _ = conn.Close(); dripping.Wait() }()
				dripping.Go(func() {
					_, _ = io.WriteString(conn, head+"\r\nHost: server\r\nContent-Length: 1000\r\n\r\n")
					for {
						if _, err := io.WriteString(conn, " "); err != nil {
							return
						}
						time.Sleep(time.Second)
					}
				}) // until the connection is closed
				began := time.Now()
				_, _ = io.Copy(io.Discard, conn)
				if d := time.Since(began); d > 15*time.Second {
					t.Errorf("after %v", d)
				}
			})
		})
	}
}

// TestSlowProbe checks that a slow probe of an upgrade, which has no heartbeat yet, is cut, and
// that its session goes on.
func TestSlowProbe(t *testing.T) {
	for _, version := range []string{"3", "4"} {
		t.Run(version, func(t *testing.T) {
			withServer(t, nil, func(srv *testServer) {
				c := srv.rawAuthenticated(version, "polling", "anna")
				for _, first := range []string{"", "2probe"} {
					ws, err := c.Websocket(srv.Context())
					if err != nil {
						t.Fatal(err)
					}
					if first != "" {
						_ = ws.WriteMessage(1, []byte(first))
						if _, data, err := ws.ReadMessage(); err != nil || string(data) != "3probe" {
							t.Fatalf("%q, %v", data, err)
						}
					}
					srv.sendSlowly(ws.NetConn(), "\x81\xfe\x10\x00\x01\x02\x03\x04"+strings.Repeat("x", 4096), 20*time.Second, c)
				}
			})
		})
	}
}

// TestClientStopsReading checks that a client that does not read is dropped when its queue is full,
// and delays no broadcast to others.
func TestClientStopsReading(t *testing.T) {
	onAllTransports(t, func(srv *testServer, version, transport string) {
		reasons := make(chan string, 10)
		srv.OnDisconnect(func(_ context.Context, s *socketauth.Socket, reason string) { reasons <- s.UserID() + ": " + reason })
		reader := srv.rawAuthenticated(version, transport, "bert")
		sleepers := 1
		srv.rawAuthenticated(version, transport, "anna") // reads nothing from now on, nor polls
		if transport == "polling" {
			sleepers++
			c := srv.rawAuthenticated(version, transport, "anna") // polls, and does not read the answer
			if _, err := io.WriteString(c.NetConn(), c.Head(http.MethodGet, 0)); err != nil {
				srv.Fatal(err)
			}
		}
		news := strings.Repeat("x", 8000)
		for n := range 600 { // more than MaxQueue holds
			srv.expectDelivery(fmt.Sprint(n, news), reader)
		}
		synctest.Wait()
		if n := len(reasons); n != sleepers {
			srv.Fatalf("%d have been dropped, of %d", n, sleepers)
		}
		for range sleepers {
			if got := <-reasons; got != "anna: slow peer" {
				srv.Error(got)
			}
		}
		if got := srv.Auth().Stats().Sockets[version]; got.Connecting != 0 || got.Authenticated != 1 {
			srv.Errorf("%+v are left", got)
		}
	})
}

// TestUnreadAnswers checks that every answer outside the engines has a deadline, so that a client
// that does not read it keeps no goroutine, also behind middleware that hides all but Unwrap.
func TestUnreadAnswers(t *testing.T) {
	const headers = " HTTP/1.1\r\nHost: server\r\nContent-Length: 0\r\n"
	login := func(body string) string {
		return "POST /login HTTP/1.1\r\nHost: server\r\nContent-Type: application/json\r\nContent-Length: " + strconv.Itoa(len(body)) + "\r\n\r\n" + body
	}
	const foreign = "Origin: https://evil.example\r\n"
	requests := map[string]string{
		"client file":          "GET /socketauth/socketauth.js" + headers + "\r\n",
		"login":                login(`{"username":"anna","password":"secret"}`),
		"wrong password":       login(`{"username":"anna","password":"guess"}`),
		"login that is busy":   login(`{"username":"busy"}`),
		"no credentials":       "POST /login" + headers + "\r\n",
		"foreign login":        "POST /login" + headers + foreign + "\r\n",
		"foreign socket":       "GET /socket.io/?EIO=4&transport=polling" + headers + foreign + "\r\n",
		"options":              "OPTIONS /login" + headers + "\r\n",
		"preflight":            "OPTIONS /socket.io/" + headers + "Origin: http://server\r\nAccess-Control-Request-Method: POST\r\n\r\n",
		"options of sockets":   "OPTIONS /socket.io/?EIO=4" + headers + "\r\n",
		"unknown version":      "GET /socket.io/?EIO=5&transport=polling" + headers + "\r\n",
		"refused by an engine": "GET /socket.io/?EIO=4&transport=x" + headers + "\r\n",
		"no token":             "GET /api" + headers + "\r\n",
		"wrong token":          "GET /api" + headers + "Authorization: Bearer x\r\n\r\n",
	}
	for name, request := range requests {
		for _, wrap := range []func(http.Handler) http.Handler{func(h http.Handler) http.Handler { return h }, withOnlyUnwrap} {
			t.Run(name, func(t *testing.T) {
				withServer(t, func(o *socketauth.Options[string]) { o.ClientPath = "/socketauth/" }, func(srv *testServer) {
					srv.Config.Handler = wrap(srv.Config.Handler)
					conn, err := srv.DialContext(srv.Context(), "", "")
					if err == nil {
						_, err = io.WriteString(conn, request)
					}
					if err != nil {
						t.Fatal(err)
					}
					time.Sleep(11 * time.Second)
					_ = conn.SetReadDeadline(time.Now().Add(time.Second))
					if n, err := conn.Read(make([]byte, 1)); err != io.EOF {
						t.Errorf("%d bytes were still to be had, %v", n, err)
					}
				})
			})
		}
	}
}

// TestAnswerDeadlineScope checks that the deadline of an answer of the library does not stay on the
// connection for the app's own routes.
func TestAnswerDeadlineScope(t *testing.T) {
	withServer(t, nil, func(srv *testServer) {
		own := srv.Config.Handler
		srv.Config.Handler = withOnlyUnwrap(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
			if r.URL.Path != "/slow" {
				own.ServeHTTP(rw, r)
				return
			}
			time.Sleep(20 * time.Second)
			_, _ = io.WriteString(rw, strings.Repeat("x", 100_000))
		}))
		conn, err := srv.DialContext(srv.Context(), "", "")
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		answers := bufio.NewReader(conn)
		for _, path := range []string{"/api", "/slow", "/socket.io/?EIO=5", "/slow"} {
			fmt.Fprintf(conn, "GET %s HTTP/1.1\r\nHost: server\r\n\r\n", path)
			res, err := http.ReadResponse(answers, nil)
			if err != nil {
				t.Fatalf("%s: %v", path, err)
			}
			body, err := io.ReadAll(res.Body)
			if err != nil || path == "/slow" && len(body) != 100_000 {
				t.Fatalf("%s: %d bytes, %v", path, len(body), err)
			}
		}
	})
}

// onlyUnwrap is a ResponseWriter of a middleware that has Unwrap and none of the optional methods.
type onlyUnwrap struct{ w http.ResponseWriter }

func (o onlyUnwrap) Header() http.Header { return o.w.Header() }

func (o onlyUnwrap) Write(p []byte) (int, error) { return o.w.Write(p) }

func (o onlyUnwrap) WriteHeader(status int) { o.w.WriteHeader(status) }

func (o onlyUnwrap) Unwrap() http.ResponseWriter { return o.w }

func withOnlyUnwrap(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { next.ServeHTTP(onlyUnwrap{w}, r) })
}
