package interop

import (
	"strings"
	"testing"
)

// TestChatMore uses what the chat example has besides its sessions, in Chromium: who is typing, how
// far a message is, the days between messages, and the bar of a lost connection.
func TestChatMore(t *testing.T) {
	program := buildExample(t, "chat")
	t.Run("writing", func(t *testing.T) { testChatWriting(t, &chat{program: program}) })
	t.Run("sending", func(t *testing.T) { testChatSending(t, &chat{program: program}) })
	t.Run("axe", func(t *testing.T) { testChatAxe(t, &chat{program: program, flags: []string{"-recent", "2s"}}) })
	// These wait for most of their time.
	for name, test := range map[string]func(*testing.T, *chat){
		"typing": testChatTyping, "reading": testChatReading, "offline": testChatOffline,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			test(t, &chat{program: program})
		})
	}
}

func arrive(d *driver, names ...string) {
	d.t.Helper()
	for _, name := range names {
		d.hears(name, "is", "signed-out")
		d.hears(name, "is", "online")
	}
}

// testChatTyping: the others see who is typing, until they send, stop or leave, and a screen reader
// says it once.
func testChatTyping(t *testing.T, c *chat) {
	d := chromium(t, "chat_more.mjs", "typing", c.start(t))
	const dana = "\u05d3\u05e0\u05d4"
	arrive(d, "alice", "bob", dana)
	d.hears("alice", "meets", "alice", "bob", dana)
	d.hears("alice", "shows", "bob is typing")
	d.hears("bob", "told", 1) // one event for 44 keys
	d.hears("alice", "shows", "bob and "+dana+" are typing")
	d.hears("alice", "directions", "ltr", "rtl")
	for _, text := range []string{"bob is typing", "", "bob is typing", "", "bob is typing", ""} {
		d.hears("alice", "shows", text)
	}
	d.hears("alice", "announced", "bob is typing")
	d.done()
}

// testChatWriting: Enter sends, Shift+Enter makes a line, and on a phone Enter makes a line.
func testChatWriting(t *testing.T, c *chat) {
	d := chromium(t, "chat_more.mjs", "writing", c.start(t))
	word := strings.Repeat("x", 900)
	arrive(d, "alice", "phone")
	d.hears("alice", "grows", true)
	d.hears("alice", "composes", "one\ntwo") // Enter chooses a word there
	d.hears("phone", "reads", "one\ntwo")
	d.hears("alice", "shrinks", true)
	d.hears("phone", "reads", "one\ntwo", word)
	d.hears("phone", "overflows", false)
	// A text that is too long is not cut off, and characters are counted as the server does.
	d.hears("alice", "told", "That is too long: 1000 characters are the limit.")
	d.hears("alice", "told", "2 too many")
	d.hears("alice", "valid", 1, "")
	d.hears("alice", "hints", "send", "Shift+Enter makes a new line.")
	d.hears("phone", "hints", "enter", "")
	d.hears("hovering phone", "is", "online")
	d.hears("hovering phone", "hints", "enter", "")
	d.hears("hovering phone", "holds", "one\n")
	d.hears("phone", "holds", "one\ntwo", "enter")
	d.hears("phone", "has sent", "sent", "one\ntwo")
	d.done()
}

// testChatSending: a message is shown at once, nothing is lost or sent twice, and what the server
// refuses can be sent again or removed.
func testChatSending(t *testing.T, c *chat) {
	d := chromium(t, "chat_more.mjs", "sending", c.start(t))
	arrive(d, "alice", "bob")
	d.hears("alice", "states", "sending", "waiting")
	d.hears("alice", "is", "online") // after a reload
	d.hears("bob", "reads", "first", "second")
	d.hears("alice", "has sent", "sent", "second")
	d.hears("alice", "writes", "a draft")

	d.hears("alice", "is", "offline")
	d.hears("alice", "is", "online")
	d.hears("alice", "has sent", "sent", "third")
	d.hears("bob", "reads", "first", "second", "third")

	d.hears("alice", "has sent", "failed", "fourth")
	d.hears("alice", "told", "Not sent. There is nothing to send.")
	d.hears("bob", "reads", "first", "second", "third", "fifth")
	d.hears("bob", "reads", "first", "second", "third", "fifth", "fourth")
	d.hears("alice", "has sent", "failed", "sixth")
	d.hears("alice", "focuses", "log") // the button that had the focus is gone
	d.hears("alice", "reads", "first", "second", "third", "fifth", "fourth")
	d.hears("alice", "is", "signed-out")
	d.hears("alice", "leaves", "0,")
	d.done()
}

// testChatReading: there are days between messages, also past midnight, and what is new does not
// move what is read.
func testChatReading(t *testing.T, c *chat) {
	d := chromium(t, "chat_more.mjs", "reading", c.start(t))
	d.ignore("console") // the clock of the page is wrong, so its first proof of a key is refused
	arrive(d, "bob")
	d.hears("bob", "has sent", "sent", "0 days ago")
	arrive(d, "alice")
	old := []any{"a day with its year", "400 days ago"}
	d.hears("alice", "shows", append(old, "Yesterday", "1 days ago", "1 days ago", "Today", "0 days ago")...)
	d.hears("alice", "shows", append(old, "a day", "1 days ago", "1 days ago", "Yesterday", "0 days ago")...)
	d.hears("alice", "jump is hidden", true)
	d.hears("alice", "told", "Jump to newest")
	d.hears("alice", "moved", 0)
	d.hears("alice", "focuses", "log")
	d.hears("alice", "is at", 0) // the end: her own message is in view
	d.done()
}

// testChatOffline: a lost connection is said across the top unless it is back at once, and what is
// written meanwhile is sent later, in order.
func testChatOffline(t *testing.T, c *chat) {
	d := chromium(t, "chat_more.mjs", "offline", c.start(t))
	d.ignore("console") // the browser logs that there is no server
	arrive(d, "alice", "bob")
	d.hears("alice", "meets", "alice", "bob")
	d.hears("alice", "is", "offline")
	d.hears("alice", "learns")
	d.hears("alice", "blinks", 0)
	d.hears("client", "ready")
	c.stop(t)
	d.hears("alice", "told", "You are offline. The connection is lost.")
	d.hears("alice", "is across the top", true, "status")
	d.hears("alice", "has sent", "waiting", "three\nlines")
	d.hears("alice", "tries")
	d.hears("client", "ready")
	c.start(t)
	d.hears("alice", "told", "You are online again.")
	d.hears("bob", "is", "online")
	d.hears("bob", "reads", "one", "two", "three\nlines")
	d.hears("alice", "has sent", "sent", "three\nlines")
	d.hears("alice", "writes", "a draft")
	d.done()
}

// testChatAxe: axe-core finds nothing in any view, light or dark, wide or narrow, of any impact,
// and there is nothing that it could not decide.
func testChatAxe(t *testing.T, c *chat) {
	d := chromium(t, "chat_axe.mjs", "check", c.start(t))
	d.ignore("console") // the browser logs what the server refuses
	d.hears("alice", "told", "Wrong name or password.")
	d.hears("alice", "checked", "sign-in")
	arrive(d, "alice", strings.Repeat("b", 24))
	d.hears("alice", "has sent", "sent", "\u05e9\u05dc\u05d5\u05dd")
	d.hears("alice", "has sent", "failed", "refused")
	d.hears("alice", "told", "That is too long: 1000 characters are the limit.")
	d.hears("alice", "checked", "chat")
	d.hears("alice", "checked", "older messages")
	d.hears("phone", "is", "online")
	d.hears("alice", "owns", "Chrome on Linux, here", "Chrome on Linux")
	d.hears("alice", "checked", "devices")
	d.hears("alice", "told", "That is not your password.")
	d.hears("alice", "checked", "proof")
	d.hears("alice", "has sent", "waiting", "for later")
	d.hears("alice", "checked", "offline")
	d.done()
}
