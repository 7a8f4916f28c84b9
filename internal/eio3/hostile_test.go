package eio3_test

import (
	"context"
	"encoding/base64"
	"fmt"
	"net/http"
	"runtime"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/z-open/socketauth/internal/engine"
	"github.com/z-open/socketauth/internal/engine/enginetest"
)

func in(t *testing.T, f func(t *testing.T, w *enginetest.World)) {
	t.Helper()
	t.Parallel()
	alone(t, f)
}

// alone runs a test that measures the whole process, so not in parallel.
func alone(t *testing.T, f func(t *testing.T, w *enginetest.World)) {
	t.Helper()
	enginetest.In(t, enginetest.V3, start, engine.Options{MaxPayload: 1 << 20}, f)
}

// frames are input on which go-socket.io by itself panics, hangs or takes much memory, or which is
// malformed. Each has to end its own connection and nothing else. Those that begin with a "b" are
// attachments.
var frames = map[string][]string{
	"huge count":                {`459999999999-["x",1]`},
	"huge count, no allocation": {`45100000000-["x",1]`},
	"count on EVENT":            {`429999999999-["x",1]`},
	"count past 64 bits":        {`429999999999999999-["x",1]`},
	"count on CONNECT":          {`401-`},
	"count on DISCONNECT":       {`419999999999999999-`},
	"count on ACK":              {`431-1[]`},
	"count on ERROR":            {`441-"x"`},
	"huge count on ACK":         {`469999999999999999-1[]`},
	"negative count":            {`45-1-["x"]`},
	"no count":                  {`45-["x"]`},
	"count missing":             {`45["x"]`},
	"dash alone":                {`42-`},
	"too many attachments":      {`4517-["x"]`},
	"placeholder out of range":  {`451-["x",{"_placeholder":true,"num":5}]`, "bAQID"},
	"placeholder negative":      {`451-["x",{"_placeholder":true,"num":-1}]`, "bAQID"},
	"placeholder fraction":      {`451-["x",{"_placeholder":true,"num":0.5}]`, "bAQID"},
	"placeholder text":          {`451-["x",{"_placeholder":true,"num":"0"}]`, "bAQID"},
	"placeholder deep":          {`451-["x",{"a":[{"_placeholder":true,"num":1}]}]`, "bAQID"},
	"text between attachments":  {`452-["x"]`, "bAQID", `42["x"]`},
	"attachment of nothing":     {"bAQID"},
	"ERROR":                     {"44"},
	"ERROR with text":           {`44"x"`},
	"ERROR many times":          slices.Repeat([]string{"44"}, 150_000),
	"unknown type":              {"47"},
	"no type":                   {"4"},
	"no packet":                 {"9"},
	"OPEN":                      {`0{"sid":"x"}`},
	"PONG":                      {"3"},
	"PONG unasked":              {"3probe"},
	"UPGRADE":                   {"5"},
	"NOOP":                      {"6"},
	"long PING":                 {"2" + strings.Repeat("x", 65)},
	"PING not ASCII":            {"2é"},
	"no array":                  {`42"x"`},
	"empty array":               {`42[]`},
	"cut array":                 {`42["x"`},
	"two arrays":                {`42["x"]["y"]`},
	"not JSON":                  {`42["x",]`},
	"name is null":              {`42[null]`},
	"name is an object":         {`42[{}]`},
	"name connect":              {`42["connect"]`},
	"name disconnect":           {`42["disconnect"]`},
	"id past 64 bits":           {`4299999999999999999999["x"]`},
	"ACK without id":            {`43[]`},
	"ACK without array":         {`431`},
	"CONNECT with payload":      {`40{"token":"x"}`},
	"CONNECT with id":           {`401`},
	"deep nesting":              {"42" + strings.Repeat("[", 400_000) + strings.Repeat("]", 400_000)},
	"many arguments":            {`42["x"` + strings.Repeat(",1", 5000) + "]"},
	"not joined":                {`42/admin,["x"]`},
	"long name of namespace":    {"42/" + strings.Repeat("x", 100_000)},
}

// Guards that no frame of an unauthenticated client ends the process, as attachment counts,
// placeholders and ERROR did, or affects another connection.
func TestHostile_Frames(t *testing.T) {
	bearers := map[string]func(w *enginetest.World, c *enginetest.Client, packets []string){
		"websocket": func(_ *enginetest.World, c *enginetest.Client, packets []string) { _ = c.Post(packets...) },
		"upgrade":   func(_ *enginetest.World, c *enginetest.Client, packets []string) { _ = c.Post(packets...) },
		"polling":   func(_ *enginetest.World, c *enginetest.Client, packets []string) { _ = c.Post(packets...) },
		"polling binary": func(w *enginetest.World, c *enginetest.Client, packets []string) {
			w.Request(context.Background(), http.MethodPost, "transport=polling"+c.SID(), "application/octet-stream", strings.NewReader(binaryPayload(packets)))
		},
	}
	for bearer, send := range bearers {
		t.Run(bearer, func(t *testing.T) {
			in(t, func(t *testing.T, w *enginetest.World) {
				transport, _, _ := strings.Cut(bearer, " ")
				other, conn := w.Member(transport)
				for name, packets := range frames {
					c, _ := w.Member(transport)
					send(w, c, packets)
					w.WantCalls("disconnected: protocol error")
					c.WantEnd()
					other.Send(`2["` + name + `"]`)
					w.WantCalls("event " + name + " []")
					m, err := engine.NewMessage("alive")
					if err == nil {
						err = conn.Emit(m)
					}
					if err != nil {
						t.Errorf("after %s: %v", name, err)
					}
					other.Want(`2["alive"]`)
				}
				w.WantNoCalls()
			})
		})
	}
}

// binaryPayload returns a payload in the binary form.
func binaryPayload(packets []string) string {
	var b strings.Builder
	for _, p := range packets {
		kind := byte(0)
		if p[0] == 'b' {
			data, _ := base64.StdEncoding.DecodeString(p[1:])
			kind, p = 1, "\x04"+string(data)
		}
		b.WriteByte(kind)
		for _, digit := range fmt.Sprint(len(p)) {
			b.WriteByte(byte(digit - '0'))
		}
		b.WriteString("\xff" + p)
	}
	return b.String()
}

// Guards that a malformed payload in a POST ends its session.
func TestHostile_Payloads(t *testing.T) {
	const text, binary = "text/plain;charset=UTF-8", "application/octet-stream"
	in(t, func(t *testing.T, w *enginetest.World) {
		for body, contentType := range map[string]string{
			"": text, ":": text, "x": text, "1": text, "1:": text, "0:": text, "5:4": text, "-1:4": text, ":4x": text, "+1:4": text,
			"99999999999999999999:4": text, "1:\xff": text, "3:4\xc3\x28": text, "2:4\U0001d11e": text, "9999999999:4": text,
			"1.5:4": text, "1 :4": text, "d=1%3A4": text, "2:b4x": text, "3:b5A": text, "4:b4A=": text,
			"\x00": binary, "\x00\xff": binary, "\x02\x01\xff4": binary, "\x00\x0a\xff4": binary, "\x00\x09\xff4": binary,
			"\x01\x01\xff\x03": binary, "\x01\x01\xff4": binary, "\x01\x00\xff": binary, "\x00\x00\xff": binary,
			"\x00" + strings.Repeat("\x09", 400) + "\xff4": binary, "\x00\x02\xff4\xff": binary, "1:4": binary,
		} {
			c, _ := w.Member("polling")
			status, answer := w.Request(context.Background(), http.MethodPost, "transport=polling"+c.SID(), contentType, strings.NewReader(body))
			if status != http.StatusBadRequest || !strings.Contains(answer, `"Bad request"`) {
				t.Errorf("%q was answered %d %s", body, status, answer)
			}
			w.WantCalls("disconnected: protocol error")
			c.WantEnd()
		}
	})
}

// Guards that what is read is bounded: a name of 400 MB took 1 GB.
func TestHostile_TooLarge(t *testing.T) {
	alone(t, func(t *testing.T, w *enginetest.World) {
		before := heap()
		for _, length := range []int64{-1, 400 << 20} { // chunked, and with an announced length
			c, _ := w.Member("polling")
			body := new(endless)
			status, _ := w.RequestSized(context.Background(), http.MethodPost, "transport=polling"+c.SID(), "", body, length)
			if status != http.StatusRequestEntityTooLarge && status != 0 {
				t.Errorf("answered %d", status)
			}
			if read := body.read.Load(); read > 4<<20 {
				t.Errorf("%d bytes were read", read)
			}
			w.WantCalls("disconnected: protocol error")
			c.WantEnd()
		}
		for _, transport := range []string{"websocket", "upgrade"} {
			c, _ := w.Member(transport)
			_ = c.Post(`42["` + strings.Repeat("x", 2<<20) + `"]`)
			w.WantCalls("disconnected: protocol error")
			c.WantEnd()
		}
		if after := heap(); after > before+32<<20 {
			t.Errorf("the heap grew from %d to %d", before, after)
		}
	})
}

// endless is a body that does not end.
type endless struct{ read atomic.Int64 }

func (e *endless) Read(p []byte) (int, error) {
	for i := range p {
		p[i] = 'x'
	}
	e.read.Add(int64(len(p)))
	return len(p), nil
}

func heap() uint64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

// Guards that many packets in one POST do not start as many goroutines.
func TestHostile_ManyPackets(t *testing.T) {
	alone(t, func(t *testing.T, w *enginetest.World) {
		c, _ := w.Member("polling")
		before := runtime.NumGoroutine()
		if err := c.Post(strings.Split(strings.Repeat("2 ", 10_000)+"2", " ")...); err != nil {
			t.Error(err)
		}
		if after := runtime.NumGoroutine(); after > before+100 {
			t.Errorf("%d goroutines, %d before", after, before)
		}
		// The answers to them are bounded: the client counts as slow if it does not read them.
		synctest.Wait()
	})
}

// Guards that session ids cannot be guessed: they were 1, 2, 3, and whoever knows one can read what
// its client is sent.
func TestHostile_SessionIDs(t *testing.T) {
	in(t, func(t *testing.T, w *enginetest.World) {
		seen := make(map[string]bool)
		for range 100 {
			c, conn := w.Member("polling")
			id := strings.TrimPrefix(c.SID(), "&sid=")
			raw, err := base64.RawURLEncoding.DecodeString(id)
			if err != nil || len(raw) != 16 || seen[id] {
				t.Fatalf("the session id %q is not 128 random bits", id)
			}
			seen[id] = true
			if conn.ID() == id {
				t.Error("the id that apps publish is the session id")
			}
		}
		for _, sid := range []string{"1", "2", "3", "x"} {
			if status, answer := w.Request(context.Background(), http.MethodGet, "transport=polling&sid="+sid, "", nil); status != 400 || !strings.Contains(answer, "Session ID unknown") {
				t.Errorf("%s: %d %s", sid, status, answer)
			}
		}
	})
}

// Guards that malformed requests are refused, and leave nothing behind.
func TestHostile_Requests(t *testing.T) {
	in(t, func(t *testing.T, w *enginetest.World) {
		c, _ := w.Member("polling")
		for _, r := range []struct{ method, query, want string }{
			{http.MethodPost, "transport=polling", "Bad handshake method"},
			{http.MethodDelete, "transport=polling", "Bad handshake method"},
			{http.MethodPut, "transport=websocket", "Bad handshake method"},
			{http.MethodGet, "", "Transport unknown"},
			{http.MethodGet, "transport=flashsocket", "Transport unknown"},
			{http.MethodGet, "transport=websocket", "Bad request"},
			{http.MethodGet, "transport=polling&j=0", "Bad request"}, // JSONP: its index was echoed
			{http.MethodGet, "transport=polling&j=alert(1)" + c.SID(), "Bad request"},
			{http.MethodPut, "transport=polling" + c.SID(), "Bad request"},
			{http.MethodGet, "transport=polling&sid=%00", "Session ID unknown"},
		} {
			if status, answer := w.Request(context.Background(), r.method, r.query, "", nil); status != 400 || !strings.Contains(answer, r.want) {
				t.Errorf("%s ?%s: %d %s", r.method, r.query, status, answer)
			}
		}
		c.Send(`2["alive"]`)
		w.WantCalls("event alive []")
	})
}

// Guards that sessions end that are never polled: 5,000 stayed for ever.
func TestHostile_AbandonedHandshakes(t *testing.T) {
	in(t, func(t *testing.T, w *enginetest.World) {
		for range 500 {
			if status, _ := w.Request(context.Background(), http.MethodGet, "transport=polling", "", nil); status != 200 {
				t.Fatal(status)
			}
			w.WantCalls("connect")
		}
		<-time.After(46 * time.Second)
		for range 500 {
			w.WantCalls("disconnected: ping timeout")
		}
	})
}

// Guards that a second CONNECT does not call Accept again.
func TestHostile_ConnectAgain(t *testing.T) {
	for _, transport := range []string{"websocket", "polling", "upgrade"} {
		t.Run(transport, func(t *testing.T) {
			in(t, func(t *testing.T, w *enginetest.World) {
				c, _ := w.Member(transport)
				c.Send("0")
				c.Send(`2["x"]`)
				w.WantCalls("event x []")
				c.Send("1")
				w.WantCalls("disconnected: client disconnect")
				c.Send("0")
				c.Want("0")
				w.WantCalls("connect")
				w.WantNoCalls()
			})
		})
	}
}

// Guards that two polls at a time end the session.
func TestHostile_TwoPolls(t *testing.T) {
	in(t, func(t *testing.T, w *enginetest.World) {
		c, _ := w.Member("polling")
		synctest.Wait()
		if status, _ := w.Request(context.Background(), http.MethodGet, "transport=polling"+c.SID(), "", nil); status != 400 {
			t.Errorf("the second poll was answered %d", status)
		}
		w.WantCalls("disconnected: protocol error")
		c.WantEnd()
	})
}

// Guards that text in a POST is read whether it is encoded twice, as by clients 1.x, or once.
func TestTextEncodedTwice(t *testing.T) {
	in(t, func(t *testing.T, w *enginetest.World) {
		post := func(c *enginetest.Client, b64, body string) {
			status, answer := w.Request(context.Background(), http.MethodPost, "transport=polling"+b64+c.SID(), "text/plain;charset=UTF-8", strings.NewReader(body))
			if status != 200 {
				t.Errorf("%q: %d %s", body, status, answer)
			}
		}
		c, _ := w.Member("polling")
		post(c, "", `12:42["m","`+"\u00c3\u00a9"+`"]`+`12:42["m","xx"]`)
		w.WantCalls(`event m ["é"]`, `event m ["xx"]`)
		post(c, "", `11:42["m","`+"\u00e9"+`"]`) // cannot be decoded twice, so from now on nothing is
		w.WantCalls(`event m ["é"]`)
		post(c, "", `12:42["m","`+"\u00c3\u00a9"+`"]`)
		w.WantCalls("event m [\"\u00c3\u00a9\"]")
		lone, _ := w.Member("polling")
		post(lone, "", `13:42["m","`+"\u00ed\u00a0\u00bd"+`"]`)
		w.WantCalls("event m [\"\ufffd\"]")
	})
}

// Guards that polls are ASCII: clients 1.x misread other text.
func TestPollsAreASCII(t *testing.T) {
	in(t, func(t *testing.T, w *enginetest.World) {
		c, conn := w.Member("polling")
		c.StopPolling() // the test makes the next poll itself
		for _, b64 := range []string{"", "&b64=1"} {
			m, err := engine.NewMessage("é", "你好", []byte{1}, "𝄞\u2028")
			if err == nil {
				err = conn.Emit(m)
			}
			if err != nil {
				t.Fatal(err)
			}
			status, body := w.Request(context.Background(), http.MethodGet, "transport=polling"+b64+c.SID(), "", nil)
			if want := `["\u00e9","\u4f60\u597d",{"_placeholder":true,"num":0},"\ud834\udd1e\u2028"]`; status != 200 || !strings.Contains(body, want) {
				t.Errorf("%d %q", status, body)
			}
		}
	})
}
