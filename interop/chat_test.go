package interop

import (
	"bufio"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"syscall"
	"testing"
	"time"
)

// TestChat has two people use the example in Chromium. It runs alone: a browser fills the machine.
func TestChat(t *testing.T) {
	d := chromium(t, "chat.mjs", startChat(t))

	const markup = `<img src=x onerror="document.title='owned'"> & <b>bold</b>`
	for _, name := range []string{"alice", "bob"} {
		d.hears(name, "is", "signed-out")
		d.hears(name, "is", "online")
		d.hears(name, "meets", "alice", "bob")
	}
	d.hears("bob", "reads", "hello bob")
	d.hears("alice", "reads", "hello bob", markup)
	d.hears("alice", "title", "Lobby")

	d.hears("alice", "is", "online") // after a reload
	d.hears("alice", "reads", "hello bob", markup)
	d.hears("second tab", "is", "online")
	d.hears("alice", "reads", "hello bob", markup, "from another tab")
	d.hears("bob", "meets", "alice", "bob")

	d.hears("alice", "is", "signed-out")
	d.hears("second tab", "is", "signed-out")
	d.hears("alice", "tokens", 0)
	d.hears("bob", "meets", "bob")

	// The browser itself complains of the 401; nothing else may be in any console.
	d.hears("alice", "console", "Failed to load resource: the server responded with a status of 401 (Unauthorized)")
	d.hears("alice", "is", "signed-out")
	d.hears("alice", "is", "online")
	d.hears("bob", "meets", "alice", "bob")
	d.done()
}

// chromium starts a script that drives the browser.
func chromium(t *testing.T, script string, args ...string) *driver {
	t.Helper()
	if _, err := os.Stat("/usr/bin/chromium"); err != nil {
		t.Fatal("Chromium is missing: run `apt-get install chromium`")
	}
	return node(t, "playwright-core", script, args...)
}

// startChat builds and starts the example, and gives its URL. It ends with the test.
func startChat(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	program := filepath.Join(dir, "chat")
	build := exec.CommandContext(t.Context(), "go", "build", "-C", "../examples", "-o", program, "./chat")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("building the example: %v\n%s", err, out)
	}
	chat := exec.CommandContext(t.Context(), program, "-addr", "127.0.0.1:0", "-data", filepath.Join(dir, "data"))
	chat.Cancel = func() error { return chat.Process.Signal(syscall.SIGTERM) }
	chat.WaitDelay = 20 * time.Second
	logs, err := chat.StderrPipe()
	if err == nil {
		err = chat.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	ready := make(chan string, 1)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		defer close(ready)
		url := regexp.MustCompile(`url=(http://\S+)`)
		for lines := bufio.NewScanner(logs); lines.Scan(); {
			t.Log(lines.Text())
			if found := url.FindStringSubmatch(lines.Text()); found != nil {
				select {
				case ready <- found[1]:
				default:
				}
			}
		}
	}()
	t.Cleanup(func() { // the test's context has ended
		<-ended
		if err := chat.Wait(); !chat.ProcessState.Success() {
			t.Errorf("the example ended with: %v", err)
		}
	})
	url, ok := <-ready
	if !ok {
		t.Fatal("the example ended before it was ready")
	}
	return url
}
