package main

import (
	"net"
	"net/http"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/z-open/socketauth/examples/internal/wire"
)

// TestStarted builds the command and starts it, as a user does.
func TestStarted(t *testing.T) {
	binary := filepath.Join(t.TempDir(), "minimal")
	if out, err := exec.CommandContext(t.Context(), "go", "build", "-o", binary, ".").CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	addr := freeAddr(t)
	command := exec.Command(binary, "-addr", addr)
	command.Stderr = t.Output()
	if err := command.Start(); err != nil {
		t.Fatal(err)
	}
	exited := make(chan error, 1)
	go func() { exited <- command.Wait() }()
	t.Cleanup(func() {
		_ = command.Process.Kill()
		<-exited
	})
	awaitServing(t, addr, exited)
	url := "http://" + addr

	for path, media := range map[string]string{"/": "text/html", "/browser.js": "text/javascript", "/socketauth/socketauth.js": "text/javascript"} {
		page, err := http.Get(url + path)
		if err != nil {
			t.Fatal(err)
		}
		_ = page.Body.Close()
		if page.StatusCode != http.StatusOK || !strings.HasPrefix(page.Header.Get("Content-Type"), media) {
			t.Errorf("%s: %s %s", path, page.Status, page.Header.Get("Content-Type"))
		}
	}
	if got := wire.Post(t, url+"/login", "ada", "open barley"); got.Status != http.StatusUnauthorized || got.Code != "USER_INVALID" {
		t.Errorf("wrong password: %+v", got)
	}
	if got := wire.Post(t, url+"/login", "eve", "open sesame"); got.Status != http.StatusUnauthorized || got.Code != "USER_INVALID" {
		t.Errorf("unknown user: %+v", got)
	}
	c := wire.WebSocket(t, url, wire.Auth(wire.Code(t, url+"/login", "ada", "open sesame")))
	token := c.AwaitToken()
	var greeting string
	if c.Call(&greeting, "hello"); greeting != "Hello, ada" {
		t.Errorf("greeting %q", greeting)
	}
	wire.Polling(t, url, wire.Auth(token)).AwaitToken()
	if code := wire.WebSocket(t, url, wire.Auth("none")).AwaitRefusal(); code != "invalid_token" {
		t.Errorf("no token: %q", code)
	}
}

func freeAddr(t *testing.T) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = listener.Close() }()
	return listener.Addr().String()
}

// awaitServing tries until the command answers, which nothing else tells.
func awaitServing(t *testing.T, addr string, exited chan error) {
	t.Helper()
	timeout := time.After(20 * time.Second)
	for {
		conn, err := net.Dial("tcp", addr)
		if err == nil {
			_ = conn.Close()
			return
		}
		select {
		case err := <-exited:
			exited <- err // for the cleanup
			t.Fatalf("exited: %v", err)
		case <-timeout:
			t.Fatal(err)
		case <-time.After(20 * time.Millisecond):
		}
	}
}
