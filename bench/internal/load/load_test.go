package load

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/gorilla/websocket"
)

// serve returns the address of a server that sends frames as they are written in a script: "<" is
// what it sends, anything else it waits for.
func serve(t *testing.T, script ...string) string {
	t.Helper()
	var upgrader websocket.Upgrader
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		ws, err := upgrader.Upgrade(w, r, nil)
		if err != nil {
			return
		}
		defer ws.Close()
		for _, line := range script {
			if text, send := strings.CutPrefix(line, "<"); send {
				if ws.WriteMessage(websocket.TextMessage, []byte(text)) != nil {
					return
				}
			} else if _, got, err := ws.ReadMessage(); err != nil || string(got) != line {
				t.Errorf("%q instead of %q", got, line)
				return
			}
		}
		_, _, _ = ws.ReadMessage() // the end of the client
	}))
	t.Cleanup(s.Close)
	return s.URL
}

// TestEnter guards that each dialect takes its answer, and the token in it, and nothing else.
func TestEnter(t *testing.T) {
	for _, c := range []struct {
		name   string
		d      Dialect
		script []string
		token  string // "": it is an error
	}{
		{"EIO 4", EIO4, []string{"<0{}", "40", `<40{"sid":"a"}`}, "old"},
		{"a ping before the answer", EIO4, []string{"<0{}", "<2", "40", "3", `<40{"sid":"a"}`}, "old"},
		{"EIO 4, refused", EIO4Bearer, []string{"<0{}", `40{"token":"Bearer old"}`, `<44{"message":"no"}`}, ""},
		{"EIO 4, token", EIO4Token, []string{"<0{}", `40{"token":"old"}`, `<40{"sid":"a"}`, `<42["authenticated","n.e.w"]`}, "n.e.w"},
		{"EIO 4, no token", EIO4Token, []string{"<0{}", `40{"token":"old"}`, `<40{"sid":"a"}`, `<42["authenticated",""]`}, ""},
		{"EIO 4, unauthorized", EIO4Token, []string{"<0{}", `40{"token":"old"}`, `<40{"sid":"a"}`, `<42["unauthorized",{}]`}, ""},
		{"EIO 3", EIO3, []string{"<0{}", "<40"}, "old"},
		{"EIO 3, token", EIO3Token, []string{"<0{}", "<40", `42["authenticate",{"token":"old"}]`, `<42["authenticated","n.e.w"]`}, "n.e.w"},
		{"EIO 3, event", EIO3Event, []string{"<0{}", "<40", `42["authenticate",{"token":"old"}]`, `<42["authenticated"]`}, "old"},
		{"centrifuge", Centrifuge, []string{`{"id":1,"connect":{"token":"old"}}`, `<{"id":1,"connect":{"client":"a"}}`}, "old"},
		{"centrifuge, refused", Centrifuge, []string{`{"id":1,"connect":{"token":"old"}}`, `<{"id":1,"error":{"code":1}}`}, ""},
		{"raw", Raw, []string{"1 " + payload, "<1 " + payload}, "old"},
	} {
		t.Run(c.name, func(t *testing.T) {
			conn, token, err := Open(t.Context(), serve(t, c.script...), c.d, 0, "old")
			if conn != nil {
				defer conn.Close()
			}
			if token != c.token || (err == nil) != (c.token != "") {
				t.Errorf("token %q, %v", token, err)
			}
		})
	}
}

// TestAnswers guards that wrong answers to an echo, and wrong news, are errors.
func TestAnswers(t *testing.T) {
	entered := []string{"<0{}", "40", `<40{"sid":"a"}`}
	question, answer := EIO4.echo(1)
	for _, c := range []struct {
		name, answer string
		ok           bool
	}{
		{"right", answer, true},
		{"of a different question", strings.Replace(answer, "431", "432", 1), false},
		{"cut off", answer[:len(answer)-1], false},
		{"too long", answer + " ", false},
		{"of a different text", strings.Replace(answer, "chat", "cat", 1), false},
	} {
		t.Run(c.name, func(t *testing.T) {
			conn, _, err := Open(t.Context(), serve(t, append(entered, question, "<"+c.answer)...), EIO4, 0, "")
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			if err := conn.Echo(); (err == nil) != c.ok {
				t.Error(err)
			}
		})
	}
	for _, c := range []struct {
		d      Dialect
		packet string
		ok     bool
	}{
		{EIO4, `42["news","0 text"]`, true},
		{EIO4, `42["other","0 text"]`, false},
		{EIO3, `42["news","0 text"`, false},
		{Centrifuge, `{"push":{"channel":"news","pub":{"data":"0 text"}}}`, true},
		{Centrifuge, `{"push":{"channel":"other","pub":{"data":"0 text"}}}`, false},
		{Raw, "0 text", true},
	} {
		if text, err := c.d.news([]byte(c.packet)); (err == nil) != c.ok || c.ok && text != "0 text" {
			t.Errorf("%s: %q, %v", c.packet, text, err)
		}
	}
}

// TestCentrifugeBatch guards that several packets in one message are read one after another.
func TestCentrifugeBatch(t *testing.T) {
	url := serve(t, `{"id":1,"connect":{"token":""}}`, "<"+`{"id":1,"connect":{"client":"a"}}`,
		"<"+`{"push":{"channel":"news","pub":{"data":"0"}}}`+"\n{}\n"+`{"push":{"channel":"news","pub":{"data":"1"}}}`, "{}")
	conn, _, err := Open(t.Context(), url, Centrifuge, 0, "")
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	for _, due := range []string{"0", "1"} {
		if text, err := conn.News(); text != due || err != nil {
			t.Errorf("%q, %v instead of %q", text, err, due)
		}
	}
}

// TestPings guards that clients of Engine.IO 3 send pings while they wait for a broadcast: servers
// close the connection of one that does not.
func TestPings(t *testing.T) {
	conn, _, err := Open(t.Context(), serve(t, "<0{}", "<40", "2", "<3", `<42["news","0"]`), EIO3, 0, "")
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	conn.ping.Reset(time.Millisecond) // the time of the first one
	if text, err := conn.News(); text != "0" || err != nil {
		t.Errorf("%q, %v", text, err)
	}
}
