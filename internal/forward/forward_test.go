package forward

import (
	"context"
	"crypto/x509"
	"io"
	"log/slog"
	"maps"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/z-open/socketauth/internal/id"
)

// TestHandsOn guards that a process serves a request that was handed on as if it had come to it
// directly, from the same client.
func TestHandsOn(t *testing.T) {
	in(t, 3, nil, func(t *testing.T, a *app) {
		front, back := a.processes[0], a.processes[2]
		front.server.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Access-Control-Allow-Origin", "of the front")
			w.Header().Set("Set-Cookie", "front=1")
			w.Header().Set("X-Front", "1")
			r.RemoteAddr = "198.51.100.1:99"
			front.ServeHTTP(w, r)
		})
		back.local = func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Access-Control-Allow-Origin", "of the back")
			w.Header().Set("Set-Cookie", "back=1")
			w.WriteHeader(http.StatusTeapot)
		}
		query := "EIO=4&transport=polling&sid=" + back.sid() + "&t=a%20b;c"
		sent := http.Header{
			"X-Real-Ip": {"192.0.2.7"}, "X-Forwarded-For": {"203.0.113.9", "192.0.2.7"}, "X-Forwarded-Proto": {"https"}, "X-Forwarded-Host": {"x"},
			"Forwarded": {"for=192.0.2.7"}, "Origin": {"https://app.example"}, "Cookie": {"a=1"}, "User-Agent": {"test"},
			"Connection": {"Origin, X-Forwarded-For, " + headerName},
		}
		answer := front.mustAsk("GET", query, "", func(r *http.Request) { r.Header = sent })
		if answer.status != http.StatusTeapot || !slices.Equal(answer.header["Access-Control-Allow-Origin"], []string{"of the back"}) ||
			!slices.Equal(answer.header["Set-Cookie"], []string{"front=1", "back=1"}) || answer.header.Get("X-Front") != "1" {
			t.Errorf("the answer is %v with %v", answer, answer.header)
		}
		r := back.one()
		if ip, known := ClientIP(r.Context()); ip != "192.0.2.7" || !known || r.RemoteAddr != "198.51.100.1:99" {
			t.Errorf("the client is at %q, %v, and the peer at %q", ip, known, r.RemoteAddr)
		}
		if r.Host != "app.example" || r.RequestURI != "/socket.io/?"+query {
			t.Errorf("Host is %q and the URI %q", r.Host, r.RequestURI)
		}
		sent.Del("Connection")
		got := maps.Clone(r.Header)
		delete(got, "Accept-Encoding")
		if !maps.EqualFunc(got, sent, slices.Equal) {
			t.Errorf("the header is\n%v, want\n%v", got, sent)
		}
		if len(a.processes[1].served)+len(front.served) != 0 || front.c.Counts.Sent.Load() != 1 || back.c.Counts.Received.Load() != 1 {
			t.Errorf("%s; %s", front.counts(), back.counts())
		}
	})
}

// TestPathThatTheAppCuts guards that the other process, whose router cuts the path too, gets the
// path that the client sent.
func TestPathThatTheAppCuts(t *testing.T) {
	in(t, 2, nil, func(t *testing.T, a *app) {
		for _, p := range a.processes {
			p.server.Handler = http.StripPrefix("/socket.io", p)
		}
		query := "sid=" + a.processes[1].sid()
		if answer := a.processes[0].mustAsk("POST", query, "x", nil); answer.body != "http://10.0.0.2:8080 POST x" {
			t.Errorf("answered %v", answer)
		}
		if r := a.processes[1].one(); r.RequestURI != "/socket.io/?"+query || r.URL.Path != "/" || a.processes[1].c.Counts.Received.Load() != 1 {
			t.Errorf("the URI is %q, cut to %q", r.RequestURI, r.URL.Path)
		}
	})
}

// TestServedHere guards that a process serves what is not of a known other process, and connects to
// nobody for it.
func TestServedHere(t *testing.T) {
	in(t, 2, nil, func(t *testing.T, a *app) {
		front, back := a.processes[0], a.processes[1]
		random := id.New().String()
		for _, c := range []struct{ method, query string }{
			{"GET", ""},
			{"GET", "sid="},
			{"GET", "sid=" + random},
			{"GET", "sid=" + front.sid()},
			{"GET", "sid=abcdefgh" + random},             // nobody has this name
			{"GET", "sid=" + back.Name()},                // no id
			{"GET", "sid=" + back.sid()[:29]},            //
			{"GET", "sid=" + back.sid() + "x"},           //
			{"GET", "sid=" + back.Name() + random + "="}, //
			{"GET", "sid=" + back.Name() + strings.Repeat("~", 22)},
			{"GET", "sid=" + strings.ToUpper(back.Name()) + random},
			{"GET", "sid=http://10.0.0.2:8080"},
			{"GET", "sid=x&sid=" + back.sid()},
			{"GET", "SID=" + back.sid()},
			{"POST", "sid=abcdefgh" + random},
			{"HEAD", "sid=" + back.sid()},
			{"PUT", "sid=" + back.sid()},
			{"OPTIONS", "sid=" + back.sid()},
			{"DELETE", "sid=" + back.sid()},
		} {
			front.mustAsk(c.method, c.query, "", nil)
			if r := front.one(); r.Method != c.method {
				t.Errorf("%+v: served as %s", c, r.Method)
			}
		}
		if len(a.dials) > 0 || len(back.served) > 0 {
			t.Errorf("connected to %v", a.dials)
		}
		if answer := front.mustAsk("GET", "sid="+back.sid()+"&sid=x", "", nil); answer.body != "http://10.0.0.2:8080 GET " {
			t.Errorf("the first sid does not count: %v", answer)
		}
	})
}

// TestDeparted guards that nothing is sent to a process that has left, and that one which has come
// back at the same URL is known by the same name.
func TestDeparted(t *testing.T) {
	in(t, 2, nil, func(t *testing.T, a *app) {
		front, back := a.processes[0], a.processes[1]
		a.processes = a.processes[:1]
		front.mustAsk("GET", "sid="+back.sid(), "", nil)
		if front.one(); len(a.dials) > 0 {
			t.Errorf("connected to %v", a.dials)
		}
		a.start(1, nil)
		if a.processes[1].Name() != back.Name() || front.Name() == back.Name() {
			t.Errorf("the names are %q and %q", back.Name(), a.processes[1].Name())
		}
		_ = back.server.Close()
		if answer := front.mustAsk("GET", "sid="+back.sid(), "", nil); answer.status != http.StatusOK {
			t.Errorf("answered %v", answer)
		}
		a.processes[1].one()
	})
}

// TestMadeUpNames guards that requests with made-up names leave nothing behind.
func TestMadeUpNames(t *testing.T) {
	in(t, 3, nil, func(t *testing.T, a *app) {
		front := a.processes[0]
		for range 10_000 {
			name := strings.ToLower(strings.NewReplacer("0", "a", "1", "b", "8", "c", "9", "d", "-", "e", "_", "f").Replace(id.New().String()[:NameLength]))
			r := httptest.NewRequest("GET", "/socket.io/?EIO=4&transport=polling&sid="+name+id.New().String(), nil)
			if _, handedOn := front.Serve(httptest.NewRecorder(), r); handedOn {
				t.Fatalf("%q was handed on", name)
			}
		}
		if len(a.dials) > 0 || len(front.names.known) != 2 {
			t.Errorf("connected to %v, and knows %d names", a.dials, len(front.names.known))
		}
	})
}

// TestNames guards that names of processes that have left are forgotten, and that a name needs the
// key.
func TestNames(t *testing.T) {
	n, err := newNames([]byte("key"))
	if err != nil {
		t.Fatal(err)
	}
	for i := range 1000 {
		url := "http://10.0.0.1:" + string(rune('0'+i%10)) + id.New().String()
		if got := n.find(n.of(url), []string{url}); got != url {
			t.Fatalf("found %q", got)
		}
	}
	if len(n.known) > 20 {
		t.Errorf("%d names are known", len(n.known))
	}
	other, _ := newNames([]byte("other"))
	if a, b := n.of("http://a"), other.of("http://a"); a == b || nameOf(a+id.New().String()) != a {
		t.Errorf("the names are %q and %q", a, b)
	}
}

// TestHTTPS guards that the certificate of the other process is verified.
func TestHTTPS(t *testing.T) {
	back := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if len(r.Header[headerName]) == 1 {
			w.WriteHeader(http.StatusTeapot)
		}
	}))
	defer back.Close()
	back.Config.ErrorLog = silent
	var logs logBuffer
	for _, trusted := range []bool{true, false} {
		c := Config{
			Key: make([]byte, 32), Peers: func() []string { return []string{back.URL} },
			ClientIP: func(*http.Request) string { return "" }, Counts: new(Counts), MaxRequests: -1, Logger: slog.New(slog.NewTextHandler(&logs, nil)),
		}
		want := http.StatusBadGateway
		if trusted {
			c.RootCAs = x509.NewCertPool()
			c.RootCAs.AddCert(back.Certificate())
			want = http.StatusTeapot
		}
		front, err := New(c)
		if err != nil {
			t.Fatal(err)
		}
		w := httptest.NewRecorder()
		r := httptest.NewRequest("GET", "/socket.io/?sid="+front.names.of(back.URL)+id.New().String(), nil)
		if _, handedOn := front.Serve(w, r); !handedOn || w.Code != want {
			t.Errorf("trusted %v: handed on %v, answered %d", trusted, handedOn, w.Code)
		}
		if err := front.Shutdown(context.Background()); err != nil {
			t.Error(err)
		}
	}
	if !strings.Contains(logs.String(), "certificate") {
		t.Errorf("the log is %s", &logs)
	}
}

// TestHTTP2 guards that a poll over HTTP/2 outlasts the timeouts of the http.Server, which apply to
// each request there.
func TestHTTP2(t *testing.T) {
	release := make(chan struct{})
	back := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		<-release
		_, _ = io.WriteString(w, "event")
	}))
	defer back.Close()
	f, err := New(Config{
		Key: make([]byte, 32), Peers: func() []string { return []string{back.URL} }, ClientIP: func(*http.Request) string { return "" },
		Counts: new(Counts), MaxRequests: -1, Logger: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		t.Fatal(err)
	}
	const timeout = 2 * time.Second // of the handshake of TLS too
	front := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		time.AfterFunc(timeout+time.Second, func() { close(release) })
		f.Serve(w, r)
	}))
	front.EnableHTTP2 = true
	front.Config.ReadTimeout, front.Config.WriteTimeout = timeout, timeout
	front.StartTLS()
	defer front.Close()
	res, err := front.Client().Get(front.URL + "/socket.io/?sid=" + f.names.of(back.URL) + id.New().String())
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	if text, err := io.ReadAll(res.Body); err != nil || string(text) != "event" || res.ProtoMajor != 2 {
		t.Errorf("%d %s by HTTP/%d, %v", res.StatusCode, text, res.ProtoMajor, err)
	}
	if err := f.Shutdown(t.Context()); err != nil {
		t.Error(err)
	}
}
