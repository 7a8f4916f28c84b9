package interop

import (
	"bytes"
	"context"
	"encoding/json"
	"net"
	"net/http"
	"net/http/httptest"
	"os/exec"
	"syscall"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/z-open/socketauth"
)

// TestMinimal uses the minimal example in Chromium: what the README shows is all that a server and
// its page need.
func TestMinimal(t *testing.T) {
	d := chromium(t, "minimal.mjs", startMinimal(t))
	d.hears("ada", "sees", "the form")
	d.hears("ada", "sees", "the greeting")
	d.hears("ada", "sees", "the greeting") // after a reload
	d.hears("ada", "form", false)
	d.hears("ada", "sees", "the form") // after the log-out
	d.done()
}

// startMinimal starts the example until the end of the test, and returns its URL.
func startMinimal(t *testing.T) string {
	t.Helper()
	program := buildExample(t, "minimal")
	addr := freeAddr(t)
	startServing(t, exec.Command(program, "-addr", addr), addr)
	return "http://" + addr
}

// freeAddr returns an address on which no process listens.
func freeAddr(t *testing.T) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	return listener.Addr().String()
}

// startServing starts a command until the end of the test, and waits until it serves on addr.
func startServing(t *testing.T, command *exec.Cmd, addr string) {
	t.Helper()
	command.Stderr, command.WaitDelay = t.Output(), 10*time.Second
	if err := command.Start(); err != nil {
		t.Fatal(err)
	}
	exited := make(chan error, 1)
	go func() { exited <- command.Wait() }()
	t.Cleanup(func() {
		_ = command.Process.Signal(syscall.SIGTERM) // a process with workers ends those too
		select {
		case <-exited:
		case <-time.After(20 * time.Second):
			_ = command.Process.Kill()
			t.Errorf("%s does not end", command.Path)
		}
	})
	for timeout := time.After(20 * time.Second); ; { // a connection is the only sign that it serves
		conn, err := net.Dial("tcp", addr)
		if err == nil {
			_ = conn.Close()
			return
		}
		select {
		case err := <-exited:
			exited <- err // for the cleanup
			t.Fatalf("%s exited: %v", command.Path, err)
		case <-timeout:
			t.Fatal(err)
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// TestMinimalWithoutKey guards that the page of docs/clients.md, which has no keys, gives up a code
// that the server takes only with one, instead of presenting it every few seconds until it expires.
func TestMinimalWithoutKey(t *testing.T) {
	t.Parallel()
	mux := http.NewServeMux()
	srv, err := socketauth.New(socketauth.Options[any]{Secret: bytes.Repeat([]byte{1}, 32), Binding: socketauth.BindRequired})
	if err != nil {
		t.Fatal(err)
	}
	sockets, err := srv.SocketServe(nil, mux)
	if err != nil {
		t.Fatal(err)
	}
	mux.HandleFunc("POST /login", func(w http.ResponseWriter, r *http.Request) { // the app's own
		code, err := srv.IssueCode(r.Context(), jwt.MapClaims{"sub": "ada"})
		if err != nil {
			t.Error(err)
		}
		_ = json.NewEncoder(w).Encode(map[string]string{"token": code})
	})
	s := httptest.NewServer(mux)
	t.Cleanup(func() {
		_ = sockets.Shutdown(context.Background())
		s.Close()
	})
	d := node(t, "socket.io-client-4.8.4", "minimal_socketio.mjs", s.URL)
	d.hears("page", "refused", "proof_required", []any{}, false)
	d.done()
}

// TestOwnersBrowserIsLetInWhileStrangersGuess guards that Chromium keeps the cookie of a login on
// loopback without a configured proxy, and that with this cookie the account's owner can log in
// while others have to wait.
func TestOwnersBrowserIsLetInWhileStrangersGuess(t *testing.T) {
	d := chromium(t, "device.mjs", startMinimal(t))
	d.hears("ada", "sees", "the greeting")
	d.hears("ada", "cookie", "socketauth_device", true, "Strict", "")
	d.hears("ada", "another client", 429)
	d.hears("ada", "sees", "the greeting")
	d.done()
}
