package forward

import (
	"crypto/hmac"
	"encoding/binary"
	"errors"
	"net/http"
	"strings"
	"testing"
	"time"
)

// TestHeaderIsBound guards that a header is valid for one request to one process, for a short time.
func TestHeaderIsBound(t *testing.T) {
	key, now := []byte("key"), time.UnixMilli(1e12)
	to := bounds{"abcdefgh", "GET", "/socket.io/?sid=x"}
	want := claim{"192.0.2.1:1", "192.0.2.2"}
	header := seal(key, to, now, want)
	for _, late := range []time.Duration{-window, 0, window} {
		if got, err := open(key, to, now.Add(late), header); err != nil || got != want {
			t.Errorf("after %v: %v, %v", late, got, err)
		}
	}
	for _, late := range []time.Duration{-window - time.Millisecond, window + time.Millisecond, time.Hour, -time.Hour} {
		if got, err := open(key, to, now.Add(late), header); !errors.Is(err, errTime) || got != (claim{}) {
			t.Errorf("after %v: %v, %v", late, got, err)
		}
	}
	for _, other := range []bounds{
		{"abcdefgi", to.method, to.uri},
		{to.name, "POST", to.uri},
		{to.name, to.method, to.uri + "y"},
		{to.name + "G", "ET", to.uri},
		{to.name, "GET/", to.uri[1:]},
	} {
		if got, err := open(key, other, now, header); !errors.Is(err, errForged) {
			t.Errorf("%v: %v, %v", other, got, err)
		}
	}
	if _, err := open([]byte("other"), to, now, header); !errors.Is(err, errForged) {
		t.Errorf("another key: %v", err)
	}
	for n := range len(header) {
		for _, bad := range []string{header[:n], header[:n] + "\n" + header[n:], header[:n] + flip(header[n]) + header[n+1:]} {
			if got, err := open(key, to, now, bad); !errors.Is(err, errForged) {
				t.Errorf("%q: %v, %v", bad, got, err)
			}
		}
	}
	if _, err := open(key, to, now, strings.Repeat("A", 1<<20)); !errors.Is(err, errForged) {
		t.Errorf("too long: %v", err)
	}
}

func flip(c byte) string {
	if c == 'A' {
		return "B"
	}
	return "A"
}

// TestHeaderOfAnotherForm guards that a header with a valid MAC and another version, another number
// of hops or more data is refused.
func TestHeaderOfAnotherForm(t *testing.T) {
	key, now, to := []byte("key"), time.UnixMilli(1e12), bounds{"abcdefgh", "GET", "/"}
	at := binary.BigEndian.AppendUint64(nil, uint64(now.UnixMilli()))
	form := func(version, hops byte, rest ...byte) string {
		b := append(append([]byte{version, hops}, at...), rest...)
		return encoding.EncodeToString(append(b, mac(key, to, b)...))
	}
	if _, err := open(key, to, now, form(1, 1, 1, 'a', 1, 'b')); err != nil {
		t.Fatal(err)
	}
	for name, header := range map[string]string{
		"another version": form(2, 1, 0, 0), "no hop": form(1, 0, 0, 0), "two hops": form(1, 2, 0, 0),
		"no texts": form(1, 1), "one text": form(1, 1, 0), "a text that is cut": form(1, 1, 0, 3, 'a'), "more": form(1, 1, 0, 0, 0),
		"no time": encoding.EncodeToString(append([]byte{1, 1}, mac(key, to, []byte{1, 1})...)),
	} {
		if got, err := open(key, to, now, header); !errors.Is(err, errForged) {
			t.Errorf("%s: %v, %v", name, got, err)
		}
	}
}

// TestHeadersOfClients guards that a client cannot have headers reach the app that only this
// package sets, however they are written, and that a request with one is not handed on.
func TestHeadersOfClients(t *testing.T) {
	in(t, 2, nil, func(t *testing.T, a *app) {
		front, back := a.processes[0], a.processes[1]
		forged := seal([]byte("not the key"), bounds{back.Name(), "GET", "/socket.io/"}, time.Now(), claim{"192.0.2.1:1", "192.0.2.1"})
		for _, header := range []string{
			headerName + ": " + forged,
			headerName + ":",
			"x-socketauth-forwarded: " + forged,
			"X-SOCKETAUTH-ELSE: 1",
			headerName + ": " + forged + "\r\nConnection: " + headerName,
			headerName + ": a\r\n" + headerName + ": b",
		} {
			for _, p := range []*process{front, back} {
				conn, answers := p.raw("GET /socket.io/?sid=" + back.sid() + " HTTP/1.1\r\nHost: x\r\n" + header + "\r\n\r\n")
				res, err := http.ReadResponse(answers, nil)
				if err != nil || res.StatusCode != http.StatusOK {
					t.Fatalf("%q: %v, %v", header, res, err)
				}
				_ = conn.Close()
				r := p.one()
				for name := range r.Header {
					if strings.HasPrefix(name, headerPrefix) {
						t.Errorf("%q reaches the app as %s", header, name)
					}
				}
				if ip, known := ClientIP(r.Context()); known || r.RemoteAddr == "192.0.2.1:1" {
					t.Errorf("%q is believed: the client is at %q", header, ip)
				}
			}
		}
		if len(a.dials) > 0 || front.c.Counts.Forged.Load() != 6 || back.c.Counts.Forged.Load() != 6 {
			t.Errorf("connected to %v, %s; %s", a.dials, front.counts(), back.counts())
		}
	})
}

// TestHeaderIsUsedAgain guards that who has seen a request that was handed on can neither use its
// header for another request nor for long.
func TestHeaderIsUsedAgain(t *testing.T) {
	in(t, 2, nil, func(t *testing.T, a *app) {
		front, back := a.processes[0], a.processes[1]
		var seen string
		back.server.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if seen == "" {
				seen = r.Header.Get(headerName)
			}
			back.ServeHTTP(w, r)
		})
		query := "sid=" + back.sid()
		twice := func(r *http.Request) { r.Header[headerName] = []string{seen, seen} }
		from := func(ip string) func(*http.Request) {
			return func(r *http.Request) { r.Header.Set("X-Real-Ip", ip) }
		}
		front.mustAsk("GET", query, "", from("192.0.2.7"))
		back.one()
		back.mustAsk("GET", query, "", twice)
		if ip, known := ClientIP(back.one().Context()); known {
			t.Errorf("two headers: the client is at %q", ip)
		}
		for _, c := range []struct {
			to            *process
			method, query string
			wait          time.Duration
			believed      bool
		}{
			{back, "GET", query, 0, true}, // the same request again, which says nothing new
			{back, "POST", query, 0, false},
			{back, "GET", query + "&x", 0, false},
			{front, "GET", query, 0, false},
			{back, "GET", query, window + time.Second, false},
		} {
			<-time.After(c.wait)
			c.to.mustAsk(c.method, c.query, "", func(r *http.Request) { r.Header.Set(headerName, seen) })
			r := c.to.one()
			if ip, known := ClientIP(r.Context()); known != c.believed || known && ip != "192.0.2.7" {
				t.Errorf("%+v: the client is at %q, %v", c, ip, known)
			}
		}
		if n := strings.Count(a.logs.String(), "clocks"); n != 1 {
			t.Errorf("the log names the clocks %d times:\n%s", n, &a.logs)
		}
	})
}

// FuzzHeader guards that what open accepts was made by seal, and that it returns what seal was
// given.
func FuzzHeader(f *testing.F) {
	key, to, now := []byte("key"), bounds{"abcdefgh", "GET", "/"}, time.UnixMilli(1e12)
	f.Add(seal(key, to, now, claim{"192.0.2.1:1", "192.0.2.1"}), "192.0.2.1:1", "2001:db8::1")
	f.Add("", "", strings.Repeat("x", 300))
	f.Add("AQEAAADo1KUQAAAA", "@", "\x00")
	f.Fuzz(func(t *testing.T, header, peer, client string) {
		if c, err := open(key, to, now, header); err == nil && seal(key, to, now, c) != header {
			// A valid MAC with another time cannot be found by chance.
			t.Errorf("%q was accepted with %v", header, c)
		}
		// The content alone, with the right MAC.
		b, _ := encoding.DecodeString(header)
		signed := encoding.EncodeToString(append(b, mac(key, to, b)...))
		if c, err := open(key, to, now, signed); err == nil {
			again, _ := encoding.DecodeString(seal(key, to, time.UnixMilli(int64(binary.BigEndian.Uint64(b[2:]))), c))
			if !hmac.Equal(again[:len(b)], b) {
				t.Errorf("%x was read as %v", b, c)
			}
		}
		got, err := open(key, to, now, seal(key, to, now, claim{peer, client}))
		if want := (claim{peer[:min(len(peer), 255)], client[:min(len(client), 255)]}); err != nil || got != want {
			t.Errorf("%v, %v, want %v", got, err, want)
		}
	})
}
