package interop

import (
	"net"
	"os/exec"
	"testing"
	"time"
)

// TestMinimal has somebody use that example in Chromium: what the README shows is all that a server and its page need.
func TestMinimal(t *testing.T) {
	d := chromium(t, "minimal.mjs", startMinimal(t))
	d.hears("ada", "sees", "the form")
	d.hears("ada", "sees", "the greeting")
	d.hears("ada", "sees", "the greeting") // after a reload
	d.hears("ada", "form", false)
	d.hears("ada", "sees", "the form") // after the log-out
	d.done()
}

// startMinimal starts the example, for as long as the test lasts, and gives its URL.
func startMinimal(t *testing.T) string {
	t.Helper()
	program := buildExample(t, "minimal")
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := listener.Addr().String() // is free, once this is closed
	_ = listener.Close()
	command := exec.Command(program, "-addr", addr)
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
	for timeout := time.After(20 * time.Second); ; { // nothing else tells that it serves
		conn, err := net.Dial("tcp", addr)
		if err == nil {
			_ = conn.Close()
			return "http://" + addr
		}
		select {
		case err := <-exited:
			exited <- err // for the cleanup
			t.Fatalf("the example exited: %v", err)
		case <-timeout:
			t.Fatal(err)
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// TestOwnersBrowserIsLetInWhileStrangersGuess guards that Chromium keeps the cookie of a login on loopback, where nobody
// told the library of a proxy, and that it lets the account's owner in where others have to wait.
func TestOwnersBrowserIsLetInWhileStrangersGuess(t *testing.T) {
	d := chromium(t, "device.mjs", startMinimal(t))
	d.hears("ada", "sees", "the greeting")
	d.hears("ada", "cookie", "socketauth_device", true, "Strict", "")
	d.hears("ada", "another client", 429)
	d.hears("ada", "sees", "the greeting")
	d.done()
}
