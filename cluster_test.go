package socketauth_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/z-open/socketauth"
	"github.com/z-open/socketauth/blacklist"
)

// noBroker is a Broker that must not be called.
type noBroker struct{ socketauth.Broker }

// TestClusterFaults checks that faults of Options.Cluster are errors that say what is wrong.
func TestClusterFaults(t *testing.T) {
	type options = socketauth.Options[any]
	type cluster = socketauth.Cluster
	broker, shared := noBroker{}, blacklist.NewMemory()
	with := func(c cluster) options { return options{Secret: testSecret, Blacklist: shared, Cluster: c} }
	for _, c := range []struct {
		want string // "": no fault
		o    options
	}{
		{"", with(cluster{})},
		{"", with(cluster{Broker: broker, Advertise: "http://10.0.0.5:8080", MaxStale: 3 * time.Second, ReceiptTimeout: time.Second})},
		{"", with(cluster{Broker: broker, Key: make([]byte, 32)})},
		{"", options{Keys: testKeys(t), Blacklist: shared, Cluster: cluster{Broker: broker, Key: make([]byte, 32)}}},
		{"without Blacklist", options{Secret: testSecret, Cluster: cluster{Broker: broker}}},
		{"is a nil *", with(cluster{Broker: (*noBroker)(nil)})},
		{"needs Cluster.Key", options{Keys: testKeys(t), Blacklist: shared, Cluster: cluster{Broker: broker}}},
		{"Cluster.Key has 31 bytes", with(cluster{Key: make([]byte, 31)})},
		{"Cluster.Key has 0 bytes", with(cluster{Broker: broker, Key: []byte{}})},
		{"Cluster.MaxStale is negative", with(cluster{MaxStale: -1})},
		{"30 * time.Second", with(cluster{MaxStale: 30})},
		{"less than 3s", with(cluster{MaxStale: time.Second})},
		{"Cluster.ReceiptTimeout is negative", with(cluster{ReceiptTimeout: -1})},
	} {
		_, err := socketauth.New(c.o)
		if c.want == "" && err != nil || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
			t.Errorf("%v, want %q", err, c.want)
		}
	}
}

// TestClusterAdvertise checks which URLs Cluster.Advertise accepts.
func TestClusterAdvertise(t *testing.T) {
	for s, ok := range map[string]bool{
		"http://10.0.0.5:8080": true, "https://node-1.internal": true, "http://[fd00::1]:80": true, "http://localhost": true,
		"10.0.0.5:8080": false, "//10.0.0.5": false, "ws://10.0.0.5": false, "http://": false, "http://:80": false, "HTTP://a": false,
		"http://a/": false, "http://a/x": false, "http://a?": false, "http://a?x": false, "http://a#": false, "http://u:p@a": false,
		"http://a:": false, "http://a:0": false, "http://a:65536": false, "http://a:http": false, "http://a b": false, "http://a\n": false,
		"http://0.0.0.0:80": false, "http://[::]:80": false, "http://[fe80::1%25eth0]": false, "http://a,http://b": false, "http://a,b": false, "http://*.a": false, "http://ä": false,
	} {
		_, err := socketauth.New(socketauth.Options[any]{Secret: testSecret, Cluster: socketauth.Cluster{Advertise: s}})
		if (err == nil) != ok || err != nil && !strings.Contains(err.Error(), "Cluster.Advertise") {
			t.Errorf("%q: %v", s, err)
		}
	}
}

// TestClusterKeyNotPrinted checks that printing, logging or encoding a Cluster does not show its
// key.
func TestClusterKeyNotPrinted(t *testing.T) {
	c := socketauth.Cluster{Key: []byte("hunter2hunter2hunter2hunter2hunter2")}
	var out bytes.Buffer
	for _, v := range []any{c, &c, []socketauth.Cluster{c}} {
		for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%x"} {
			fmt.Fprintf(&out, verb, v)
		}
		slog.New(slog.NewTextHandler(&out, nil)).Info("x", "v", v)
		slog.New(slog.NewJSONHandler(&out, nil)).Info("x", "v", v)
		_ = json.NewEncoder(&out).Encode(v)
	}
	for _, trace := range []string{"hunter2", fmt.Sprintf("%x", "hunter2"), "104 117 110", "aHVudGVy"} {
		if strings.Contains(strings.ToLower(out.String()), strings.ToLower(trace)) {
			t.Errorf("the output has %q", trace)
		}
	}
}

// TestClusterOptionsQuiet checks that building a core with a Broker calls nothing of it.
func TestClusterOptionsQuiet(t *testing.T) {
	a, err := socketauth.New(socketauth.Options[any]{Secret: testSecret, Blacklist: blacklist.NewMemory(), Cluster: socketauth.Cluster{Broker: noBroker{}}})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := a.IssueCode(context.Background(), jwt.MapClaims{"sub": "anna"}); err != nil {
		t.Error(err)
	}
}
