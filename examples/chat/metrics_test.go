package main

import (
	"net"
	"net/http"
	"strings"
	"testing"

	"github.com/z-open/socketauth/examples/internal/wire"
)

// TestMetrics guards that the operator's address serves what the sockets of users count, and nothing
// else; that the pages' address does not serve it; and that it ends with the app.
func TestMetrics(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	a := startWith(t, config{Data: t.TempDir(), Metrics: listener})
	ada, _ := a.signUp("Ada")
	join(ada) // is authenticated, and counted, by the reply
	operator := "http://" + listener.Addr().String()
	response, body := wire.Do(t, http.MethodGet, operator+"/metrics", "")
	for _, line := range []string{
		`socketauth_sockets{engine="4",state="authenticated"} 1`, `socketauth_logins_total{code="OK"} 1`, "# TYPE go_goroutines gauge",
	} {
		if !strings.Contains(body, "\n"+line+"\n") {
			t.Errorf("%s: no line %s in\n%s", response.Status, line, body)
		}
	}
	for _, url := range []string{a.url + "/metrics", operator + "/", operator + "/socket.io/"} {
		if response, _ := wire.Do(t, http.MethodGet, url, ""); response.StatusCode != http.StatusNotFound {
			t.Errorf("%s: %s", url, response.Status)
		}
	}
	a.shutdown()
	if conn, err := net.Dial("tcp", listener.Addr().String()); err == nil {
		_ = conn.Close()
		t.Error("the metrics are still served")
	}
}
