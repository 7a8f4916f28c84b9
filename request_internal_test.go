package socketauth

import (
	"bytes"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"reflect"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// TestRequestHeaders checks that of a request only some headers are kept, none of them a credential
// or long.
func TestRequestHeaders(t *testing.T) {
	c, err := Options[any]{Secret: testSecret}.config()
	if err != nil {
		t.Fatal(err)
	}
	r := httptest.NewRequest(http.MethodGet, "http://app.example/socket.io/", nil)
	r.RemoteAddr = "192.0.2.1:5555"
	for name, value := range map[string]string{
		"Origin": "https://app.example", "User-Agent": "curl", "X-Forwarded-For": "198.51.100.2", "Cookie": "session=hunter2", "Authorization": "Bearer hunter2",
	} {
		r.Header.Set(name, value)
	}
	r.Header["X-Request-Id"] = []string{"1", "2", "3", "4", "5"}
	r.Header.Set("Accept-Language", strings.Repeat("x", 900_000)) // unauthenticated clients can send it, and it is kept
	d := c.describe(r)
	got := d.request()
	want := Request{"192.0.2.1:5555", "192.0.2.1", "app.example", "https://app.example", "curl", http.Header{
		"X-Forwarded-For": {"198.51.100.2"}, "X-Request-Id": {"1", "2", "3", "4"}, "Accept-Language": {strings.Repeat("x", maxHeaderLength)},
	}}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v", got)
	}
}

// TestProxyPeersNotCounted checks that peers that may be proxies are not counted by address, since
// behind a proxy that the library was not told of all clients have one.
func TestProxyPeersNotCounted(t *testing.T) {
	var logs bytes.Buffer
	a, err := New(Options[any]{Secret: testSecret, Logger: slog.New(slog.NewTextHandler(&logs, nil))})
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct{ peer, want string }{
		{"127.0.0.1:1", ""}, {"[::1]:1", ""}, {"10.1.2.3:1", ""}, {"192.168.1.1:1", ""}, {"172.16.0.1:1", ""}, {"[fd00::1]:1", ""}, {"[::ffff:10.0.0.1]:1", ""},
		{"169.254.1.1:1", ""}, {"[fe80::1%eth0]:1", ""}, {"100.64.0.1:1", ""}, {"100.127.255.255:1", ""}, {"[::ffff:100.64.0.1]:1", ""},
		{"@", ""}, {"", ""}, {"@app", ""}, {"/run/app.sock", ""},
		{"100.63.255.255:1", "100.63.255.255"}, {"100.128.0.1:1", "100.128.0.1"}, {"169.253.1.1:1", "169.253.1.1"}, {"[fec0::1]:1", "fec0::/64"},
		{"203.0.113.1:1", "203.0.113.1"}, {"[2001:db8::1]:1", "2001:db8::/64"}, {"172.32.0.1:1", "172.32.0.1"},
	} {
		r := httptest.NewRequest(http.MethodGet, "/", nil)
		r.RemoteAddr = tt.peer
		r.Header.Set("X-Forwarded-For", "198.51.100.7") // which is not believed
		for range 2 {
			if got := a.network(r, a.address(r)); got != tt.want {
				t.Errorf("%s: %q, want %q", tt.peer, got, tt.want)
			}
		}
	}
	if n := strings.Count(logs.String(), "Options.ClientIP"); n != 1 {
		t.Errorf("the fix was logged %d times", n)
	}
}

// TestClientIP checks that what ClientIP returns is read as one address, and that a list, a port or
// quotes do not switch the limits off without a warning.
func TestClientIP(t *testing.T) {
	const peer = "10.1.2.3"
	long := strings.Repeat("203.0.113.9, ", 1000) // longer than what is kept of a header
	for _, tt := range []struct{ given, address, network, warns string }{
		{"203.0.113.1", "203.0.113.1", "203.0.113.1", ""},
		{"", peer, peer, ""},
		{" 203.0.113.1 ", "203.0.113.1", "203.0.113.1", ""},
		{"203.0.113.1:4711", "203.0.113.1", "203.0.113.1", ""},
		{`"203.0.113.1:4711"`, "203.0.113.1", "203.0.113.1", ""},
		{"::ffff:203.0.113.1", "203.0.113.1", "203.0.113.1", ""},
		{"2001:db8::1", "2001:db8::1", "2001:db8::/64", ""},
		{"[2001:db8::1]", "2001:db8::1", "2001:db8::/64", ""},
		{`"[2001:DB8::1]:4711"`, "2001:db8::1", "2001:db8::/64", ""},
		{"127.0.0.1", "127.0.0.1", "127.0.0.1", ""}, // since the app says so
		{"198.51.100.7, 203.0.113.1", "203.0.113.1", "203.0.113.1", "returned a list"},
		{`198.51.100.7,"[2001:db8::1]:4711"`, "2001:db8::1", "2001:db8::/64", "returned a list"},
		{long + "203.0.113.1", "203.0.113.1", "203.0.113.1", "returned a list"},
		{"203.0.113.1,", peer, peer, "returned no IP address"},
		{"unknown", peer, peer, "returned no IP address"},
		{"for=203.0.113.1;proto=https", peer, peer, "returned no IP address"},
		{`"203.0.113.1`, peer, peer, "returned no IP address"},
		{"203.0.113.1 198.51.100.7", peer, peer, "returned no IP address"},
		{strings.Repeat("1", 5000), peer, peer, "returned no IP address"},
	} {
		synctest.Test(t, func(t *testing.T) {
			var logs bytes.Buffer
			a, err := New(Options[any]{
				Secret:   testSecret,
				Logger:   slog.New(slog.NewTextHandler(&logs, nil)),
				ClientIP: func(*http.Request) string { return tt.given },
			})
			if err != nil {
				t.Fatal(err)
			}
			r := httptest.NewRequest(http.MethodGet, "/", nil)
			r.RemoteAddr = peer + ":1"
			ask := func() {
				address := a.address(r)
				if network := a.network(r, address); address != tt.address || network != tt.network {
					t.Errorf("%.60q: address %q, network %q, want %q, %q", tt.given, address, network, tt.address, tt.network)
				}
			}
			for range 3 {
				ask()
			}
			said := logs.String()
			if tt.warns == "" && said != "" || strings.Count(said, tt.warns) != 1 && tt.warns != "" || strings.Count(said, "fix=") > 1 || len(said) > 2000 {
				t.Errorf("%.60q: logged %s", tt.given, said)
			}
			time.Sleep(time.Minute)
			if ask(); tt.warns != "" && strings.Count(logs.String(), tt.warns) != 2 {
				t.Errorf("%.60q: a minute later it was not logged again", tt.given)
			}
		})
	}
}

// FuzzNetwork checks that a peer that cannot be a proxy is always counted.
func FuzzNetwork(f *testing.F) {
	for _, s := range []string{"127.0.0.1:1", "[::ffff:10.0.0.1]:1", "203.0.113.1:1", "[2001:db8::1%eth0]:1", "", "@", "x", "[::1]"} {
		f.Add(s, "198.51.100.7")
	}
	a, err := New(Options[any]{Secret: testSecret, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, peer, forwarded string) {
		r := &http.Request{RemoteAddr: peer, Header: http.Header{"X-Forwarded-For": {forwarded}}}
		got := a.network(r, a.address(r))
		ip, err := netip.ParseAddr(remoteIP(r))
		ip = ip.Unmap()
		exempt := err != nil || ip.IsLoopback() || ip.IsPrivate() || ip.IsLinkLocalUnicast() || ip.Is4() && ip.As4()[0] == 100 && ip.As4()[1]>>6 == 1
		if (got == "") != exempt {
			t.Errorf("%q is counted as %q", peer, got)
		}
	})
}
