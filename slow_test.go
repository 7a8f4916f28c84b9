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

// dripUntilCut sends text a byte a second, again and again, until the connection has ended, while it reads all that
// comes. Others are told something each time, and must hear it at once.
func (w *world) dripUntilCut(conn net.Conn, text string, within time.Duration, others ...*siotest.Conn) {
	w.Helper()
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
			w.Errorf("it drips still after %v", within)
			_ = conn.Close()
			break
		}
		w.tells(fmt.Sprint("drop ", n), others...)
		time.Sleep(time.Second)
	}
	<-read
}

// tells makes sure that others hear of something without delay.
func (w *world) tells(news string, others ...*siotest.Conn) {
	w.Helper()
	for _, other := range others {
		w.beat(other)
	}
	began := time.Now()
	if err := w.Emit("news", news); err != nil {
		w.Error(err)
	}
	for _, other := range others {
		if _, err := other.Expect(`42["news","` + news + `"]`); err != nil {
			w.Fatal(err)
		}
	}
	if took := time.Since(began); took > 0 {
		w.Errorf("others heard of %.20q after %v", news, took)
	}
}

// beat is the heartbeat of version 3, where the client begins.
func (w *world) beat(c *siotest.Conn) {
	if c.Version() != "3" {
		return
	}
	err := c.Write("2")
	if err == nil {
		_, err = c.Expect("3")
	}
	if err != nil {
		w.Fatal(err)
	}
}

// half is the beginning of something that a connected client sends: a frame, or a POST.
func (w *world) half(c *siotest.Conn) string {
	if !c.Polling() {
		return "\x81\xfe\x10\x00\x01\x02\x03\x04" + strings.Repeat("x", 4096) // text, masked, 4096 bytes
	}
	if _, err := io.WriteString(c.NetConn(), c.Head(http.MethodPost, 4096)); err != nil {
		w.Fatal(err)
	}
	return "x"
}

func TestClientsThatDripAreCut(t *testing.T) {
	// Guards: a frame or body that comes byte by byte must not keep a connection: a stranger's no longer than any
	// stranger may stay, nor anybody's longer than a heartbeat may fail. Nobody else waits for it.
	overAll(t, func(w *world, version, transport string) {
		other := w.authenticated(version, transport, "bert")
		stranger := w.unauthenticated(version, transport)
		w.dripUntilCut(stranger.NetConn(), w.half(stranger), 20*time.Second, other)
		friend := w.authenticated(version, transport, "anna")
		w.dripUntilCut(friend.NetConn(), w.half(friend), time.Minute, other)
		synctest.Wait()
		if got := w.Auth().Stats().Sockets[version]; got.Connecting != 0 || got.Authenticated != 1 {
			w.Errorf("%+v are left", got)
		}
	})
}

func TestHandshakesThatDripAreCut(t *testing.T) {
	overAll(t, func(w *world, version, transport string) {
		other := w.authenticated(version, transport, "bert")
		conn, err := w.DialContext(w.Context(), "", "")
		if err != nil {
			w.Fatal(err)
		}
		kind := map[string]string{"websocket": "websocket"}[transport]
		w.dripUntilCut(conn, "GET /socket.io/?EIO="+version+"&transport="+cmp.Or(kind, "polling")+" HTTP/1.1\r\nHost: server\r\nX: "+strings.Repeat("x", 1000), 20*time.Second, other)
	})
}

func TestLoginBodyThatDripsIsCut(t *testing.T) {
	inWorld(t, nil, func(w *world) {
		other := w.authenticated("4", "websocket", "bert")
		for _, path := range []string{"/login", "/register"} {
			conn, err := w.DialContext(w.Context(), "", "")
			if err != nil {
				t.Fatal(err)
			}
			if _, err := io.WriteString(conn, "POST "+path+" HTTP/1.1\r\nHost: server\r\nContent-Type: application/json\r\nContent-Length: 1000\r\n\r\n"); err != nil {
				t.Fatal(err)
			}
			w.dripUntilCut(conn, " ", 15*time.Second, other)
		}
	})
}

func TestBodyThatDripsIsCut(t *testing.T) {
	// Guards: net/http reads what is left of a body before it answers, so who answers without a look at it needs a time too.
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
	} {
		t.Run(name, func(t *testing.T) {
			inWorld(t, nil, func(w *world) {
				conn, err := w.DialContext(w.Context(), "", "")
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

func TestProbeThatDripsIsCutAndItsSessionGoesOn(t *testing.T) {
	// Guards: a websocket that is tried has no heartbeat yet, and needs a deadline of its own.
	for _, version := range []string{"3", "4"} {
		t.Run(version, func(t *testing.T) {
			inWorld(t, nil, func(w *world) {
				c := w.authenticated(version, "polling", "anna")
				for _, first := range []string{"", "2probe"} {
					ws, err := c.Websocket(w.Context())
					if err != nil {
						t.Fatal(err)
					}
					if first != "" {
						_ = ws.WriteMessage(1, []byte(first))
						if _, data, err := ws.ReadMessage(); err != nil || string(data) != "3probe" {
							t.Fatalf("%q, %v", data, err)
						}
					}
					w.dripUntilCut(ws.NetConn(), "\x81\xfe\x10\x00\x01\x02\x03\x04"+strings.Repeat("x", 4096), 20*time.Second, c)
				}
			})
		})
	}
}

func TestClientThatStopsReadingIsDroppedAndDelaysNobody(t *testing.T) {
	// Guards: one client that read nothing froze all broadcasts. Now each has a queue, and who fills it is dropped.
	overAll(t, func(w *world, version, transport string) {
		reasons := make(chan string, 10)
		w.OnDisconnect(func(_ context.Context, s *socketauth.Socket, reason string) { reasons <- s.UserID() + ": " + reason })
		reader := w.authenticated(version, transport, "bert")
		sleepers := 1
		w.authenticated(version, transport, "anna") // who reads nothing from now on, nor polls
		if transport == "polling" {
			sleepers++
			c := w.authenticated(version, transport, "anna") // who polls, and does not read what comes
			if _, err := io.WriteString(c.NetConn(), c.Head(http.MethodGet, 0)); err != nil {
				w.Fatal(err)
			}
		}
		news := strings.Repeat("x", 8000)
		for n := range 600 { // more than MaxQueue holds
			w.tells(fmt.Sprint(n, news), reader)
		}
		synctest.Wait()
		if n := len(reasons); n != sleepers {
			w.Fatalf("%d have been dropped, of %d", n, sleepers)
		}
		for range sleepers {
			if got := <-reasons; got != "anna: slow peer" {
				w.Error(got)
			}
		}
		if got := w.Auth().Stats().Sockets[version]; got.Connecting != 0 || got.Authenticated != 1 {
			w.Errorf("%+v are left", got)
		}
	})
}

// TestClientsThatNeverReadTheirAnswer guards against clients that are kept for as long as they like, each with a
// goroutine: every answer outside the engines has a deadline too, also where middleware hides all but Unwrap.
func TestClientsThatNeverReadTheirAnswer(t *testing.T) {
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
				inWorld(t, func(o *socketauth.Options[string]) { o.ClientPath = "/socketauth/" }, func(w *world) {
					w.Config.Handler = wrap(w.Config.Handler)
					conn, err := w.DialContext(w.Context(), "", "")
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

// TestDeadlineOfAnAnswerIsForThatAlone guards the app's own routes on a connection that was answered by the library.
func TestDeadlineOfAnAnswerIsForThatAlone(t *testing.T) {
	inWorld(t, nil, func(w *world) {
		own := w.Config.Handler
		w.Config.Handler = withOnlyUnwrap(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
			if r.URL.Path != "/slow" {
				own.ServeHTTP(rw, r)
				return
			}
			time.Sleep(20 * time.Second)
			_, _ = io.WriteString(rw, strings.Repeat("x", 100_000))
		}))
		conn, err := w.DialContext(w.Context(), "", "")
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

// onlyUnwrap is a ResponseWriter of a middleware that knows nothing older than http.ResponseController.
type onlyUnwrap struct{ w http.ResponseWriter }

func (o onlyUnwrap) Header() http.Header { return o.w.Header() }

func (o onlyUnwrap) Write(p []byte) (int, error) { return o.w.Write(p) }

func (o onlyUnwrap) WriteHeader(status int) { o.w.WriteHeader(status) }

func (o onlyUnwrap) Unwrap() http.ResponseWriter { return o.w }

func withOnlyUnwrap(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { next.ServeHTTP(onlyUnwrap{w}, r) })
}
