package interop

import (
	"bufio"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"testing"
	"time"
)

// TestChat uses the chat example in Chromium. It does not run in parallel with other tests, since a
// browser needs most of the machine.
func TestChat(t *testing.T) {
	program := buildExample(t, "chat")
	t.Run("talk", func(t *testing.T) { testChatTalk(t, &chat{program: program}) })
	t.Run("access", func(t *testing.T) { testChatAccess(t, &chat{program: program}) })
	t.Run("devices", func(t *testing.T) { testChatDevices(t, &chat{program: program}) })
	t.Run("crowd", func(t *testing.T) { testChatCrowd(t, &chat{program: program}) })
	t.Run("parting", func(t *testing.T) { testChatParting(t, &chat{program: program}) })
	t.Run("proof", func(t *testing.T) { testChatProof(t, &chat{program: program, flags: []string{"-recent", "10s"}}) })
	t.Run("connection", func(t *testing.T) { testChatConnection(t, &chat{program: program}) })
}

func testChatTalk(t *testing.T, c *chat) {
	d := chromium(t, "chat.mjs", "talk", c.start(t))

	const markup = `<img src=x onerror="document.title='owned'"> & <b>bold</b>`
	// Guards: a name that was too long was shortened without a message, and the account got the
	// shorter name.
	d.hears("alice", "console", "Failed to load resource: the server responded with a status of 400 (Bad Request)")
	d.hears("alice", "told", "That name is too long: 24 characters are the limit.")
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

	// The browser itself logs the 401. Nothing else may be in any console.
	d.hears("alice", "console", "Failed to load resource: the server responded with a status of 401 (Unauthorized)")
	d.hears("alice", "is", "signed-out")
	d.hears("alice", "is", "online")
	d.hears("bob", "meets", "alice", "bob")
	d.done()
}

// testChatAccess: the page can be used with a high zoom, with a screen reader, and for writing from
// right to left.
func testChatAccess(t *testing.T, c *chat) {
	d := chromium(t, "chat.mjs", "access", c.start(t))
	d.ignore("console") // the browser logs what the server refuses
	d.hears("alice", "is", "signed-out")
	// Guards: a form submitted by a script did nothing; the focus was always on the password,
	// whichever field was wrong, and no field was marked.
	d.hears("alice", "complains", "register-username", "register-username")
	d.hears("alice", "complains", "register-password", "register-password")
	d.hears("alice", "complains", "login-password", "login-username", "login-password")
	d.hears("alice", "complains", "login-submit") // no field is wrong
	d.hears("alice", "is", "signed-out")
	d.hears("alice", "is", "online")
	d.hears("alice", "focuses", "message-input")
	d.hears("alice", "reads")
	// Guards: text that begins in Hebrew was shown from left to right.
	d.hears("alice", "directions", "rtl", "ltr", "ltr", "ltr")
	d.hears("alice", "writes", "rtl")
	// Guards: at a zoom of 400 %, which leaves 320 by 200 pixels, the messages had only 32 pixels.
	for range 6 {
		d.hears("alice", "sees", true, true, true)
	}
	d.hears("alice", "reaches", true)
	d.done()
}

// testChatDevices: users can end one of their sessions or all others, but no other user's.
func testChatDevices(t *testing.T, c *chat) {
	d := chromium(t, "chat.mjs", "devices", c.start(t))
	const desktop, iPhone = "Chrome on Linux", "Safari on iPhone"
	for _, name := range []string{"alice", "bob"} {
		d.hears(name, "is", "signed-out")
		d.hears(name, "is", "online")
	}
	d.hears("phone", "is", "online")
	d.hears("alice", "owns", desktop+", here", iPhone)
	d.hears("bob", "owns", desktop+", here")

	d.hears("alice", "told", "That is not one of your devices, or it is logged out already.")
	d.hears("alice", "reads", "still here")

	d.hears("alice", "owns", desktop+", here", iPhone)
	d.hears("phone", "is", "signed-out")
	d.hears("phone", "told", "This device was logged out from another one.")
	d.hears("phone", "learns")
	d.hears("phone", "tokens", 0)
	d.hears("alice", "told", iPhone+" was logged out.")
	d.hears("alice", "owns", desktop+", here")

	d.hears("phone", "is", "online")
	d.hears("laptop", "is", "online")
	d.hears("other laptop", "is", "online")
	d.hears("alice", "owns", desktop+", here", desktop, desktop, iPhone)
	// Guards: the buttons for two devices of a kind that were signed in within a minute had one name.
	d.hears("alice", "tells apart", 4)
	d.hears("alice", "is", "signed-out")
	d.hears("laptop", "is", "signed-out")
	d.hears("other laptop", "is", "signed-out")
	d.hears("phone", "told", "3 other devices were logged out.")
	d.hears("phone", "owns", iPhone+", here")
	// Guards: when the button with the focus was removed, the focus went to the start of the page.
	d.hears("phone", "focuses", "devices-title")
	d.hears("phone", "reads", "still here", "and still here")
	// Guards: after a change to the other half and back, all messages appeared as new.
	d.hears("phone", "arrivals", 0)
	d.done()
}

// testChatCrowd guards: with three devices or more, the answer to a press of a button of one was below the
// visible part of the panel.
func testChatCrowd(t *testing.T, c *chat) {
	d := chromium(t, "chat.mjs", "crowd", c.start(t))
	d.ignore("console") // the browser logs that there is no server
	d.hears("alice", "is", "signed-out")
	d.hears("alice", "is", "online")
	for range 2 {
		d.hears("alice", "is in sight", true, "Chrome on Linux was logged out.")
	}
	d.hears("alice", "owns", append([]any{"Chrome on Linux, here"}, slices.Repeat([]any{"Chrome on Linux"}, 7)...)...)
	d.hears("client", "ready")
	c.stop(t)
	d.hears("alice", "is", "offline")
	for n := range 4 { // sizes of the window
		for range 3 {
			d.hears("alice", "is in sight", true, "You are offline. Try again when you are back.")
		}
		if n < 3 {
			d.hears("alice", "sees what has the focus", true, true)
		}
	}
	for n := 2; n <= 8; n++ {
		d.hears(fmt.Sprintf("device %d", n), "is", "online")
	}
	for n := 7; n <= 8; n++ {
		d.hears(fmt.Sprintf("device %d again", n), "is", "online")
	}
	d.done()
}

// testChatParting guards: who logged out while the server was away was told that it does not know of it, and
// not that the page would tell it.
func testChatParting(t *testing.T, c *chat) {
	d := chromium(t, "chat.mjs", "parting", c.start(t))
	d.ignore("console") // the browser logs that there is no server
	d.hears("alice", "is", "signed-out")
	d.hears("alice", "is", "online")
	d.hears("client", "ready")
	c.stop(t)
	d.hears("alice", "is", "offline")
	d.hears("alice", "is", "signed-out")
	d.hears("alice", "told", "You are logged out here, but the server could not be told. It will be told as soon as it can be reached.")
	d.hears("client", "ready")
	c.start(t)
	d.hears("alice", "is", "online")
	d.hears("alice", "owns", "Chrome on Linux, here")
	d.done()
}

// testChatProof: the page asks for the password again, and logs out nobody without it.
func testChatProof(t *testing.T, c *chat) {
	d := chromium(t, "chat.mjs", "proof", c.start(t))
	d.hears("alice", "is", "signed-out")
	d.hears("alice", "is", "online")
	d.hears("phone", "is", "online")
	d.hears("alice", "owns", "Chrome on Linux, here", "Chrome on Linux")
	d.hears("alice", "focuses", "proof-password")
	d.hears("alice", "told", "Nothing was changed.")
	d.hears("alice", "focuses", "end-others")
	d.hears("alice", "owns", "Chrome on Linux, here", "Chrome on Linux")
	d.hears("alice", "console", "Failed to load resource: the server responded with a status of 401 (Unauthorized)")
	d.hears("alice", "told", "That is not your password.")
	d.hears("alice", "focuses", "proof-password")
	d.hears("phone", "is", "signed-out")
	d.hears("alice", "told", "One other device was logged out.")
	d.hears("alice", "owns", "Chrome on Linux, here")
	d.hears("alice", "asked again", false)
	// Guards: "What happened" said of this that the token was renewed in time.
	d.hears("alice", "learns", "You gave your password. Token 2 replaces token 1.")
	d.done()
}

// testChatConnection: neither a lost connection nor a restart of the server signs users out, with
// one tab or two.
func testChatConnection(t *testing.T, c *chat) {
	d := chromium(t, "chat.mjs", "connection", c.start(t))
	d.ignore("console") // the browser logs that there is no server
	d.hears("alice", "is", "signed-out")
	d.hears("alice", "is", "online")
	d.hears("alice", "holds", 1)
	d.hears("second tab", "is", "online")
	d.hears("second tab", "holds", 2)
	d.hears("alice", "holds", 2)
	d.hears("alice", "owns", "Chrome on Linux, here")

	d.hears("alice", "learns")
	d.hears("alice", "learns")
	d.hears("second tab", "holds", 3)
	d.hears("second tab", "reads", "back again")

	d.hears("client", "ready")
	c.stop(t)
	for _, tab := range []string{"alice", "second tab"} {
		d.hears(tab, "is", "offline")
	}
	// Guards: users who were online before the connection was lost were still shown as "Here now".
	d.hears("alice", "meets")
	d.hears("alice", "devices", "Seen just now · 127.0.0.1")
	d.hears("alice", "has sent", "waiting", "for later")
	d.hears("client", "ready")
	c.start(t)
	for _, tab := range []string{"alice", "second tab"} {
		d.hears(tab, "is", "online")
	}
	d.hears("second tab", "reads", "back again", "for later")
	d.hears("alice", "reads", "back again", "for later", "the server is back")
	d.hears("alice", "is", "online") // after a reload
	d.hears("alice", "reads", "back again", "for later", "the server is back")
	d.hears("alice", "owns", "Chrome on Linux, here")
	d.done()
}

// buildExample builds the example, and returns the path of the program.
func buildExample(t *testing.T, name string) string {
	t.Helper()
	program := filepath.Join(t.TempDir(), name)
	build := exec.CommandContext(t.Context(), "go", "build", "-C", "../examples", "-o", program, "./"+name)
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("building the example: %v\n%s", err, out)
	}
	return program
}

// chromium starts a script that controls the browser.
func chromium(t *testing.T, script string, args ...string) *driver {
	t.Helper()
	if _, err := os.Stat("/usr/bin/chromium"); err != nil {
		t.Fatal("Chromium is missing: run `apt-get install chromium`")
	}
	return node(t, "playwright-core", script, args...)
}

// chat is the example, running in its own process.
type chat struct {
	program string
	flags   []string
	data    string // folder
	addr    string // the same after each restart
	process *exec.Cmd
	ended   chan struct{} // closed when its log has been read to the end
}

// start starts the example, and returns its URL. It is stopped at the end of the test at the
// latest.
func (c *chat) start(t *testing.T) string {
	t.Helper()
	if c.data == "" {
		c.data, c.addr = t.TempDir(), "127.0.0.1:0"
		t.Cleanup(func() { c.stop(t) })
	}
	c.process = exec.Command(c.program, append(c.flags, "-addr", c.addr, "-data", c.data)...)
	logs, err := c.process.StderrPipe()
	if err == nil {
		err = c.process.Start()
	}
	if err != nil {
		c.process = nil
		t.Fatal(err)
	}
	ready := make(chan string, 1)
	c.ended = make(chan struct{})
	go func() {
		defer close(c.ended)
		defer close(ready)
		url := regexp.MustCompile(`url=http://localhost(:\d+)`)
		for lines := bufio.NewScanner(logs); lines.Scan(); {
			t.Log(lines.Text())
			if found := url.FindStringSubmatch(lines.Text()); found != nil {
				ready <- found[1]
			}
		}
	}()
	port, ok := <-ready
	if !ok {
		t.Fatal("the example ended before it was ready")
	}
	c.addr = "127.0.0.1" + port
	return "http://localhost" + port
}

// stop stops the example as Ctrl-C does. It may be called more than once.
func (c *chat) stop(t *testing.T) {
	t.Helper()
	if c.process == nil {
		return
	}
	if err := c.process.Process.Signal(os.Interrupt); err != nil {
		t.Error(err)
	}
	kill := time.AfterFunc(20*time.Second, func() { _ = c.process.Process.Kill() })
	<-c.ended
	kill.Stop()
	if err := c.process.Wait(); err != nil {
		t.Errorf("the example ended with: %v", err)
	}
	c.process = nil
}
