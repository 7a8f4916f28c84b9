package main

import (
	"context"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/crypto/bcrypt"

	"github.com/z-open/socketauth/examples/internal/wire"
)

const password = "correct horse"

// app is the chat, running.
type app struct {
	tb      testing.TB
	url     string
	stop    context.CancelFunc
	serving chan error
	data    string // folder
}

func start(tb testing.TB, data string) *app { tb.Helper(); return startWith(tb, config{Data: data}) }

// startWith starts the chat with a configuration that lacks Cost and Log.
func startWith(tb testing.TB, c config) *app {
	tb.Helper()
	c.Cost, c.Log = bcrypt.MinCost, slog.New(slog.DiscardHandler)
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		tb.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	a := &app{tb: tb, url: "http://" + listener.Addr().String(), stop: cancel, serving: make(chan error, 1), data: c.Data}
	go func() {
		a.serving <- serve(ctx, listener, c)
	}()
	tb.Cleanup(a.shutdown)
	return a
}

func startNew(tb testing.TB) *app {
	tb.Helper()
	return start(tb, filepath.Join(tb.TempDir(), "new folder", "chat #1?"))
}

// shutdown ends the app and waits for it. It may be called again.
func (a *app) shutdown() {
	a.stop()
	if err, ok := <-a.serving; ok {
		close(a.serving)
		if err != nil {
			a.tb.Errorf("serve: %v", err)
		}
	}
}

// signUp registers a user and connects with the code.
func (a *app) signUp(username string) (c *wire.Client, token string) {
	a.tb.Helper()
	c = wire.WebSocket(a.tb, a.url, wire.Auth(wire.Code(a.tb, a.url+"/register", username, password)))
	return c, c.AwaitToken()
}

func join(c *wire.Client) (v view) {
	c.Call(&v, "join")
	return v
}

func TestRegisterThenLogin(t *testing.T) {
	a := startNew(t)
	c, _ := a.signUp("Ada")
	if you := join(c).You; you != "Ada" {
		t.Errorf("registered as %q", you)
	}
	for _, name := range []string{"Ada", "ADA", " ada "} {
		again := wire.WebSocket(t, a.url, wire.Auth(wire.Code(t, a.url+"/login", name, password)))
		again.AwaitToken()
		if you := join(again).You; you != "Ada" {
			t.Errorf("login as %q is %q", name, you)
		}
	}
}

func TestRegistrationRefused(t *testing.T) {
	a := startNew(t)
	wire.Code(t, a.url+"/register", "Ünal", password)
	for name, tt := range map[string]struct{ username, password, code string }{
		"taken":              {"Ünal", password, "USER_EXISTS"},
		"taken, other case":  {"üNAL", password, "USER_EXISTS"},
		"taken, decomposed":  {"U\u0308nal", password, "USER_EXISTS"},
		"no name":            {"", password, "NAME_INVALID"},
		"one character":      {"x", password, "NAME_INVALID"},
		"spaces alone":       {"   ", password, "NAME_INVALID"},
		"space inside":       {"a b", password, "NAME_INVALID"},
		"control character":  {"a\x00b", password, "NAME_INVALID"},
		"25 characters":      {strings.Repeat("é", 25), password, "NAME_TOO_LONG"},
		"huge name":          {strings.Repeat("x", 50000), password, "NAME_TOO_LONG"},
		"no password":        {"Bob", "", "PASSWORD_TOO_SHORT"},
		"7 characters":       {"Bob", "ééééééé", "PASSWORD_TOO_SHORT"},
		"more than 72 bytes": {"Bob", strings.Repeat("é", 37), "PASSWORD_TOO_LONG"},
	} {
		t.Run(name, func(t *testing.T) {
			if got := wire.Post(t, a.url+"/register", tt.username, tt.password); got.Status != http.StatusBadRequest || got.Code != tt.code {
				t.Errorf("%d %s, want 400 %s", got.Status, got.Code, tt.code)
			}
		})
	}
	wire.Code(t, a.url+"/register", strings.Repeat("é", 24), strings.Repeat("é", 36)) // the longest of both
}

func TestLoginRefused(t *testing.T) {
	a := startNew(t)
	wire.Code(t, a.url+"/register", "Ada", password)
	for name, tt := range map[string]struct{ username, password string }{
		"wrong password": {"Ada", "correct house"},
		"no password":    {"Ada", ""},
		"unknown name":   {"Bob", password},
		"no name":        {"", password},
		"no valid name":  {"A d a", password},
	} {
		t.Run(name, func(t *testing.T) {
			if got := wire.Post(t, a.url+"/login", tt.username, tt.password); got.Status != http.StatusUnauthorized || got.Code != "USER_INVALID" {
				t.Errorf("%d %s, want 401 USER_INVALID", got.Status, got.Code)
			}
		})
	}
}

func TestChat(t *testing.T) {
	a := startNew(t)
	ada, _ := a.signUp("Ada")
	if v := join(ada); v.Messages == nil || len(v.Messages) != 0 || !slices.Equal(v.Online.Names, []string{"Ada"}) { // nil would be null for the page
		t.Errorf("first in the room: %+v", v)
	}
	var here online
	ada.Await("online", &here) // of her own coming

	bob, _ := a.signUp("Bob")
	join(bob)
	if ada.Await("online", &here); !slices.Equal(here.Names, []string{"Ada", "Bob"}) {
		t.Errorf("after Bob came: %v", here.Names)
	}

	const text = `<script>alert("hello")</script> 👋 שלום`
	var said message
	ada.Call(&said, "say", "  "+text+"\n")
	for _, c := range []*wire.Client{ada, bob} {
		var m message
		if c.Await("message", &m); m.Author != "Ada" || m.Text != text || m.Time.IsZero() || m != said {
			t.Errorf("message %+v, and the reply is %+v", m, said)
		}
	}

	late, _ := a.signUp("Cleo")
	if v := join(late); len(v.Messages) != 1 || v.Messages[0].Text != text {
		t.Errorf("what was said before: %+v", v.Messages)
	}

	bob.Emit("logout")
	bob.AwaitDisconnect()
	for slices.Contains(here.Names, "Bob") {
		ada.Await("online", &here)
	}
}

func TestMessageRefused(t *testing.T) {
	a := startNew(t)
	ada, _ := a.signUp("Ada")
	for name, tt := range map[string]struct {
		args []any
		code string
	}{
		"empty":       {[]any{" \n"}, "MESSAGE_EMPTY"},
		"too long":    {[]any{strings.Repeat("é", maxMessageText+1)}, "MESSAGE_TOO_LONG"},
		"no text":     {[]any{map[string]any{"toString": 1}}, "bad_arguments"},
		"no argument": {nil, "bad_arguments"},
		"odd key":     {[]any{"hello", 5}, "bad_arguments"},
		"long key":    {[]any{"hello", strings.Repeat("x", maxMessageKey+1)}, "bad_arguments"},
	} {
		t.Run(name, func(t *testing.T) {
			var reply struct{ Error struct{ Code string } }
			if ada.Call(&reply, "say", tt.args...); reply.Error.Code != tt.code {
				t.Errorf("code %q, want %q", reply.Error.Code, tt.code)
			}
		})
	}
	if v := join(ada); len(v.Messages) != 0 {
		t.Errorf("said all the same: %+v", v.Messages)
	}
}

// TestMessageIsSentOnce: a page sends a message again if the answer was lost, with the same key, also on
// another connection and after a restart. Guards: it was said twice.
func TestMessageIsSentOnce(t *testing.T) {
	a := startNew(t)
	ada, token := a.signUp("Ada")
	bob, _ := a.signUp("Bob")
	join(bob)
	var first, again, other message
	ada.Call(&first, "say", "two\r\nlines", "key 1")
	if first.Text != "two\nlines" || first.Key != "key 1" {
		t.Errorf("said %+v", first)
	}
	if ada.Call(&again, "say", "two\nlines", "key 1"); again != first {
		t.Errorf("%+v when sent again, %+v before", again, first)
	}
	bob.Call(&other, "say", "from another author", "key 1")
	if other.ID == first.ID {
		t.Error("the key of one author counts for another")
	}
	var heard []message
	for range 2 {
		var m message
		bob.Await("message", &m)
		heard = append(heard, m)
	}
	if want := []message{first, other}; !slices.Equal(heard, want) {
		t.Errorf("Bob heard %+v, not %+v", heard, want)
	}
	a.shutdown()
	ada.AwaitEnd()

	a = start(t, a.data)
	ada = wire.WebSocket(t, a.url, wire.Auth(token))
	ada.AwaitToken()
	if ada.Call(&again, "say", "two\nlines", "key 1"); again != first {
		t.Errorf("%+v when sent again after a restart, %+v before", again, first)
	}
	if kept, want := join(ada).Messages, []message{first, other}; !slices.Equal(kept, want) {
		t.Errorf("kept %+v, not %+v", kept, want)
	}
}

// TestTyping: the others in the room hear who is typing; who is not in the room neither hears it nor is heard.
func TestTyping(t *testing.T) {
	a := startNew(t)
	ada, _ := a.signUp("Ada")
	bob, _ := a.signUp("Bob")
	join(bob)
	ada.Emit("typing", true) // before she joins
	join(ada)
	ada.Emit("typing", true)
	ada.Emit("typing", false)
	for _, want := range []bool{true, false} {
		var name string
		var typing bool
		if bob.Await("typing", &name, &typing); name != "Ada" || typing != want {
			t.Errorf("%q, %v, should be Ada, %v", name, typing, want)
		}
	}
	var reply refused
	if ada.Call(&reply, "typing", "yes"); reply.Error.Code != "bad_arguments" {
		t.Errorf("code %q", reply.Error.Code)
	}
}

func TestReconnectWithTheToken(t *testing.T) {
	a := startNew(t)
	_, token := a.signUp("Ada")
	again := wire.WebSocket(t, a.url, wire.Auth(token))
	if next := again.AwaitToken(); next == token {
		t.Error("the token was not replaced")
	}
	if you := join(again).You; you != "Ada" {
		t.Errorf("came back as %q", you)
	}
	if code := wire.WebSocket(t, a.url, wire.Auth(token)).AwaitRefusal(); code != "token_reused" {
		t.Errorf("a used token: %q", code)
	}
	if code := again.AwaitRefusal(); code != "token_reused" { // one of the two has stolen it
		t.Errorf("the other socket of the session: %q", code)
	}
}

func TestRenewalOnTheLiveSocket(t *testing.T) {
	a := startNew(t)
	ada, token := a.signUp("Ada")
	ada.Emit("authenticate", wire.Auth(token))
	if next := ada.AwaitToken(); next == token {
		t.Error("the token was not replaced")
	}
	join(ada)
}

func TestLogOut(t *testing.T) {
	a := startNew(t)
	ada, token := a.signUp("Ada")
	tab := wire.WebSocket(t, a.url, wire.Auth(token))
	token = tab.AwaitToken()
	ada.Emit("logout", token)
	for _, c := range []*wire.Client{ada, tab} {
		c.Await("logged_out")
		c.AwaitDisconnect()
	}
	if code := wire.WebSocket(t, a.url, wire.Auth(token)).AwaitRefusal(); code != "no_longer_valid" {
		t.Errorf("the token after the log-out: %q", code)
	}
}

func TestRestart(t *testing.T) {
	a := startNew(t)
	ada, token := a.signUp("Ada")
	gone, dead := a.signUp("Bob")
	gone.Emit("logout", dead)
	gone.AwaitDisconnect()
	var reply any
	ada.Call(&reply, "say", "hello")
	before := join(ada)
	a.shutdown()
	ada.AwaitEnd()

	a = start(t, a.data)
	again := wire.WebSocket(t, a.url, wire.Auth(token))
	again.AwaitToken()
	v := join(again)
	if v.You != "Ada" || !slices.Equal(v.Messages, before.Messages) || len(v.Messages) != 1 {
		t.Errorf("came back as %q, to %+v", v.You, v.Messages)
	}
	if v.Online.Version <= before.Online.Version { // or pages would keep the list from before
		t.Errorf("version %d after %d", v.Online.Version, before.Online.Version)
	}
	if code := wire.WebSocket(t, a.url, wire.Auth(dead)).AwaitRefusal(); code != "no_longer_valid" {
		t.Errorf("a token logged out before the restart: %q", code)
	}
	if got := wire.Post(t, a.url+"/register", "ada", password); got.Code != "USER_EXISTS" {
		t.Errorf("the name after the restart: %+v", got)
	}
}

func TestDataIsPrivate(t *testing.T) {
	a := startNew(t)
	a.signUp("Ada")
	files, err := filepath.Glob(filepath.Join(filepath.Dir(a.data), "chat #1[?]", "*"))
	if err != nil || len(files) < 2 {
		t.Fatalf("files: %v, %v", files, err)
	}
	for _, file := range append(files, a.data) {
		info, err := os.Stat(file)
		if err != nil {
			t.Fatal(err)
		}
		if info.Mode().Perm()&0o077 != 0 {
			t.Errorf("%s: %v", file, info.Mode())
		}
	}
}

func TestPage(t *testing.T) {
	a := startNew(t)
	for path, media := range map[string]string{
		"/":                         "text/html",
		"/app.js":                   "text/javascript",
		"/composer.js":              "text/javascript",
		"/devices.js":               "text/javascript",
		"/dom.js":                   "text/javascript",
		"/journal.js":               "text/javascript",
		"/offline.js":               "text/javascript",
		"/outbox.js":                "text/javascript",
		"/proof.js":                 "text/javascript",
		"/reading.js":               "text/javascript",
		"/room.js":                  "text/javascript",
		"/texts.js":                 "text/javascript",
		"/typing.js":                "text/javascript",
		"/socketauth/socketauth.js": "text/javascript",
		"/style.css":                "text/css",
		"/icon.svg":                 "image/svg+xml",
	} {
		response, body := wire.Do(t, http.MethodGet, a.url+path, "")
		if response.StatusCode != http.StatusOK || !strings.HasPrefix(response.Header.Get("Content-Type"), media) || body == "" {
			t.Errorf("%s: %s, %s", path, response.Status, response.Header.Get("Content-Type"))
		}
		policy := response.Header.Get("Content-Security-Policy")
		if !strings.Contains(policy, "default-src 'none'") || strings.Contains(policy, "unsafe") {
			t.Errorf("%s: policy %q", path, policy)
		}
	}
	if response, _ := wire.Do(t, http.MethodGet, a.url+"/chat.db", ""); response.StatusCode != http.StatusNotFound {
		t.Errorf("/chat.db: %s", response.Status)
	}
}

func TestStartFails(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	folder := t.TempDir()
	if err := os.MkdirAll(filepath.Join(folder, "odd", "sessions.db"), 0o700); err != nil {
		t.Fatal(err)
	}
	used := startNew(t)
	wire.Do(t, http.MethodGet, used.url, "") // by its answer it has opened its files
	for name, args := range map[string][]string{
		"a folder for the sessions": {"-addr", "127.0.0.1:0", "-data", filepath.Join(folder, "odd")},
		"a folder in use":           {"-addr", "127.0.0.1:0", "-data", used.data},
		"no address":                {"-addr", "127.0.0.1:none", "-data", folder},
		"no address of the metrics": {"-addr", "127.0.0.1:0", "-metrics", "127.0.0.1:none", "-data", folder},
		"unknown flag":              {"-port", "80"},
	} {
		t.Run(name, func(t *testing.T) {
			if err := run(ctx, args, t.Output()); err == nil {
				t.Error("no error")
			}
		})
	}
}
