package interop

import (
	"flag"
	"os"
	"strconv"
	"testing"
)

// clientVersion is a version of socket.io-client, installed under the alias
// socket.io-client-<version>, and what it supports.
type clientVersion struct {
	version   string
	handshake bool // it can send its token in the handshake, from an auth function
	upgrades  bool // it begins with polling and moves to a websocket
}

// clients lists the versions. To add one, add it here and its alias to package.json.
var clients = []clientVersion{
	{version: "1.4.8", upgrades: true},
	{version: "1.7.4", upgrades: true},
	{version: "2.5.0", upgrades: true},
	{version: "3.1.3", handshake: true, upgrades: true},
	{version: "4.8.4", handshake: true, upgrades: true},
}

// run is one combination of client, transport and way to present a token.
type run struct {
	client    clientVersion
	transport string // "websocket", "polling", or "upgrade", the client's default
	entry     string // "event" or "handshake": how it presents its token
}

// final returns the transport that the client uses in the end.
func (r run) final() string {
	switch {
	case r.transport != "upgrade":
		return r.transport
	case r.client.upgrades:
		return "websocket"
	}
	return "polling"
}

// matrix runs f for each client and transport.
func matrix(t *testing.T, f func(t *testing.T, r run)) {
	t.Parallel()
	for _, client := range clients {
		for _, transport := range []string{"websocket", "polling", "upgrade"} {
			t.Run(client.version+"/"+transport, func(t *testing.T) {
				t.Parallel()
				f(t, run{client, transport, "event"})
			})
		}
	}
}

// entries runs f for each client, transport and way to present a token.
func entries(t *testing.T, f func(t *testing.T, r run)) {
	matrix(t, func(t *testing.T, r run) {
		for _, entry := range []string{"event", "handshake"} {
			if entry == "handshake" && !r.client.handshake {
				continue
			}
			t.Run(entry, func(t *testing.T) {
				t.Parallel()
				f(t, run{r.client, r.transport, entry})
			})
		}
	})
}

// soaking returns how often a bulk test repeats its step: more often with SOAK=1.
func soaking(times, soaked int) int {
	if on, _ := strconv.ParseBool(os.Getenv("SOAK")); on {
		return soaked
	}
	return times
}

// TestMain allows more parallel tests than there are cores, since most of them wait for their
// client or for a deadline.
func TestMain(m *testing.M) {
	flag.Parse()
	given := false
	flag.Visit(func(f *flag.Flag) { given = given || f.Name == "test.parallel" })
	if !given {
		_ = flag.Set("test.parallel", "6")
	}
	os.Exit(m.Run())
}
