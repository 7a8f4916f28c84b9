package eio4_test

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/z-open/socketauth/internal/engine"
)

// Guards against frames that come with the websocket handshake, before its answer.
func TestHostile_FramesBeforeHandshake(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s, app := serveIO(t, engine.Options{})
		c := s.dialRaw()
		frame := "\x81\x82\x00\x00\x00\x0040"
		request(t, c, "GET "+webSocket+upgradeHeader+strings.Repeat(frame, 20))
		_ = c.SetReadDeadline(time.Now().Add(patience))
		if got := readAll(c); strings.Contains(got, "timeout") {
			t.Errorf("the connection is open: %q", clip(got))
		}
		app.wantNothing()
		wantNoGoroutines(t, engineFrame)
	})
}

// Guards against pongs without pings, from the beginning and in great number.
func TestHostile_UnsolicitedPongs(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s, app := serveEcho(t, beat)
		w, _ := s.connect()
		for range 1000 {
			w.send("3")
		}
		w.send("3extra", "4hello")
		w.want("4hello")
		app.want("text hello")
		p := s.open()
		p.send("3", "3", "4hello")
		p.want("4hello")
		app.want("text hello")
		// They neither delay the ping nor answer it in advance.
		advance(beat.PingInterval / 2)
		w.send("3")
		advance(beat.PingInterval - beat.PingInterval/2 - time.Millisecond)
		w.wantSilence()
		advance(time.Millisecond)
		w.wantNow("2")
		advance(beat.PingTimeout + time.Millisecond)
		w.wantClosed()
		app.want("closed: ping timeout", "closed: ping timeout")
	})
}

// Guards that binary packets with a wrong count or wrong placeholders are not delivered.
func TestHostile_Attachments(t *testing.T) {
	const one = `{"_placeholder":true,"num":0}`
	for _, packets := range [][]string{
		// The count.
		{`4517-["x"]`}, {`459999999999-["x",1]`}, {`45100000000-["x",1]`}, {`4599999999999999999999-["x"]`},
		{`45` + strings.Repeat("9", 100000) + `-["x"]`}, {`451["x"]`}, {`45["x"]`}, {`45-["x"]`}, {`45-1-["x"]`},
		{`45x-["x"]`}, {`451.5-["x"]`}, {`45+1-["x"]`}, {`45 1-["x"]`}, {`451`}, {`451-`}, {`45`}, {`46`}, {`461-`},
		{`469999999999-1[]`}, {`461-["no id",` + one + `]`},
		// A dash in other packets.
		{`421-["x"]`}, {`429999999999-["x",1]`}, {`431-1[]`}, {`411-`}, {`411-/admin,`}, {`401-{}`}, {`431-[]`},
		// The placeholder.
		{`451-["x",{"_placeholder":true,"num":1}]`}, {`451-["x",{"_placeholder":true,"num":-1}]`},
		{`451-["x",{"_placeholder":true,"num":99999999999999999999}]`}, {`451-["x",{"_placeholder":true,"num":"0"}]`},
		{`451-["x",{"_placeholder":true,"num":0.5}]`}, {`451-["x",{"_placeholder":true,"num":null}]`},
		{`451-["x",{"_placeholder":true,"num":[0]}]`}, {`451-["x",{"_placeholder":true}]`},
		{`451-["x",` + one + `,{"_placeholder":true,"num":1}]`},
		{`451-["x",{"a":[{"b":{"_placeholder":true,"num":7}}]}]`},
		{`451-["x",{"\u005fplaceholder":true,"n\u0075m":7}]`},
		{`451-["x",{"num":0,"_placeholder":true,"num":7}]`},
		{`451-[` + one + `]`}, // the name of an event must not be an attachment
		{`451-[]`}, {`451-{}`}, {`451-["connect",` + one + `]`},
		// Something else in place of an attachment.
		{`451-["x",` + one + `]`, `42["y"]`}, {`452-["x",` + one + `]`, "\x00binary", `42["y"]`},
		{`451-["x",` + one + `]`, `41`}, {`451-["x",` + one + `]`, `40`}, {`451-["x",` + one + `]`, `451-["x",` + one + `]`},
		// An attachment without a packet.
		{"\x00binary"}, {`450-["connect"]`, "\x00binary"},
	} {
		t.Run(clip(strings.Join(packets, " ")), func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				s, app := serveIO(t, engine.Options{})
				w, _ := s.join(app)
				var payload []string
				for _, packet := range packets {
					if data, ok := strings.CutPrefix(packet, "\x00"); ok {
						w.tryBinary(data)
						payload = append(payload, "b"+base64Of(data))
						continue
					}
					w.try(packet)
					payload = append(payload, packet)
				}
				// The attachments may be needed before the fault is noticed.
				w.tryBinary("late")
				w.wantClosed()
				app.want("gone / protocol error")
				p, _ := s.joinPolling(app)
				p.post(strings.Join(payload, rs) + rs + "bAQ==")
				app.want("gone / protocol error")
				p.wantUnknown()
				app.wantNothing()
			})
		})
	}
}

// Guards the largest number of attachments, and an end before all have come.
func TestHostile_AttachmentsAtTheLimit(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s, app := serveIO(t, engine.Options{MaxAttachments: 3})
		w, _ := s.join(app)
		w.send(`453-["x"]`)
		w.sendBinary("a")
		w.sendBinary("b")
		w.sendBinary("c")
		app.want(`event / x [] <61> <62> <63>`)
		w.send(`453-["x"]`)
		w.sendBinary("a")
		w.drop()
		app.want("gone / transport close")
		app.wantNothing()
		w, _ = s.join(app)
		w.send(`454-["x"]`)
		w.wantClosed()
		app.want("gone / protocol error")
	})
}

// Guards that more than 512 levels of JSON, including the array itself, close the connection before
// anything recursive parses it.
func TestHostile_NestingDepth(t *testing.T) {
	auth := func(levels int) string {
		return `{"a":` + strings.Repeat("[", levels-1) + strings.Repeat("]", levels-1) + "}"
	}
	nested := func(levels int) string { return strings.Repeat("[", levels) + strings.Repeat("]", levels) }
	objects := func(levels int) string {
		return strings.Repeat(`{"a":`, levels) + "1" + strings.Repeat("}", levels)
	}
	for _, c := range []struct {
		name, packet string
		received     string
	}{
		{"512 levels", `42["x",` + nested(511) + `]`, "event / x [" + nested(511) + "]"},
		{"513 levels", `42["x",` + nested(512) + `]`, ""},
		{"513 objects", `42["x",` + objects(512) + `]`, ""},
		{"CONNECT with 512 levels", `40/admin,` + auth(512), "connect /admin " + auth(512)},
		{"CONNECT with 513 levels", `40/admin,` + auth(513), ""},
		{"400,000 levels", `42` + strings.Repeat("[", 400000), ""},
		{"400,000 levels, all closed", `42["x",` + nested(400000) + `]`, ""},
		{"400,000 objects", `42["x",` + strings.Repeat(`{"a":`, 100000), ""},
		{"attachments and 400,000 levels", `451-["x",` + nested(400000) + `]`, ""},
		{"acknowledgement", `430` + nested(513), ""},
		{"CONNECT", `40/admin,` + objects(513), ""},
		{"CONNECT with 400,000 levels", `40/admin,{"a":` + nested(400000) + `}`, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				s, app := serveIO(t, engine.Options{})
				w, _ := s.join(app)
				w.send(c.packet)
				if c.received != "" {
					app.want(c.received)
					return
				}
				w.wantClosed()
				app.want("gone / protocol error")
				app.wantNothing()
			})
		})
	}
}

// Guards that text that is not UTF-8 closes the connection, wherever it is, on either transport.
func TestHostile_InvalidUTF8(t *testing.T) {
	for name, bad := range map[string]string{
		"lone continuation": "\x80", "cut short": "\xe2\x82", "overlong": "\xc0\xaf", "surrogate": "\xed\xa0\x80",
		"past the end": "\xf4\x90\x80\x80", "no such byte": "\xff",
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				s, app := serveIO(t, engine.Options{})
				for _, packet := range []string{`42["x","` + bad + `"]`, `42["` + bad + `"]`, `40/` + bad} {
					w, _ := s.join(app)
					w.send(packet)
					w.wantClosed()
					app.want("gone / protocol error")
					p, _ := s.joinPolling(app)
					p.post(packet).wantError(t, 3)
					app.want("gone / protocol error")
					p.wantUnknown()
				}
				app.wantNothing()
			})
		})
		t.Run(name+" in a raw message", func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				s, app := serveEcho(t, engine.Options{})
				w, _ := s.connect()
				w.send("4" + bad)
				w.wantClosed()
				app.want("closed: protocol error")
				w, _ = s.connect()
				w.sendBinary(bad) // binary data may be anything
				w.wantBinary(bad)
			})
		})
	}
}

// Guards that escaped lone surrogates, which are valid JSON, arrive unchanged.
func TestHostile_LoneSurrogates(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s, app := serveIO(t, engine.Options{})
		w, _ := s.join(app)
		w.send(`42["x","\ud800","\udc00\ud800",{"\ud800":1}]`)
		app.want(`event / x ["\ud800","\udc00\ud800",{"\ud800":1}]`)
		w.send(`42["\ud800"]`)
		app.want("event / \ufffd []")
	})
}

// Guards that acknowledgement ids of more than 64 bits close the connection.
func TestHostile_HugeAckId(t *testing.T) {
	for _, packet := range []string{
		`4218446744073709551616["x"]`,
		`42` + strings.Repeat("9", 400) + `["x"]`,
		`42/admin,` + strings.Repeat("1", 100000) + `["x"]`,
		`4318446744073709551616[]`,
		`461-` + strings.Repeat("9", 30) + `[{"_placeholder":true,"num":0}]`,
	} {
		t.Run(clip(packet), func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				s, app := serveIO(t, engine.Options{})
				w, _ := s.join(app)
				w.send(packet)
				w.wantClosed()
				app.want("gone / protocol error")
				app.wantNothing()
			})
		})
	}
}

// Guards that invalid event names, or those reserved by client libraries, close the connection.
func TestHostile_EventNames(t *testing.T) {
	for _, name := range []string{
		`null`, `true`, `false`, `{}`, `{"a":1}`, `[]`, `["x"]`,
		`"connect"`, `"connect_error"`, `"disconnect"`, `"disconnecting"`, `"newListener"`, `"removeListener"`,
		`"\u0063onnect"`, `"dis\u0063onnect"`,
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				s, app := serveIO(t, engine.Options{})
				for _, packet := range []string{`42[` + name + `]`, `421[` + name + `,1]`, `450-[` + name + `]`} {
					w, _ := s.join(app)
					w.send(packet)
					w.wantClosed()
					app.want("gone / protocol error")
				}
				app.wantNothing()
			})
		})
	}
}

// Guards that unusual but valid event names reach the application.
func TestHostile_OddEventNames(t *testing.T) {
	for name, received := range map[string]string{
		`1`: "1", `-1.5e3`: "-1.5e3", `0`: "0", `"error"`: "error", `"Connect"`: "Connect", `" connect"`: " connect",
		`"__proto__"`: "__proto__", `"a\u0000b"`: "a\x00b",
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				s, app := serveIO(t, engine.Options{})
				w, _ := s.join(app)
				w.send(`42[` + name + `]`)
				app.want("event / " + received + " []")
			})
		})
	}
}

// Guards that a client is disconnected that asks for unknown namespaces again and again and does
// not read the answers.
func TestHostile_NamespaceFlood(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s, app := serveIO(t, engine.Options{MaxQueue: 64 << 10})
		p, _ := s.joinPolling(app)
		payload := strings.TrimSuffix(strings.Repeat("40/nowhere"+rs, 5000), rs)
		p.post(payload)
		app.want("gone / slow peer")
		p.wantUnknown()
		synctest.Wait()
		app.wantNothing()
	})
}

// Guards that unusual but valid requests are answered, and never with anything a browser would run.
func TestHostile_Requests(t *testing.T) {
	for _, c := range []struct {
		path   string
		status int
	}{
		{polling + "&j=0", 200}, {polling + "&b64=1", 200}, {polling + "&t=abc", 200}, {polling + "&sid=", 200},
		{polling + "&sid=" + strings.Repeat("x", 100000), 400}, {polling + "&sid=../../etc/passwd", 400},
		{polling + "&sid=%00", 400}, {polling + "&sid=%3Cscript%3E", 400}, {polling + "&sid=a&sid=b", 400},
		{"/engine.io/?EIO=4;transport=polling", 400}, {"/engine.io/?%zz", 400}, {"/engine.io/", 400},
		{"/engine.io/?EIO=4&transport=constructor", 400}, {"/engine.io/?EIO=4&transport=__proto__", 400},
	} {
		t.Run(clip(c.path), func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				s, _ := serveEcho(t, engine.Options{})
				r := s.get(c.path)
				if r.err != nil || r.status != c.status {
					t.Fatalf("got %d %q %v, want %d", r.status, clip(r.body), r.err, c.status)
				}
				if c.status == 200 {
					parseOpen(t, r.body)
				}
				if strings.Contains(r.body, "<script>") || strings.Contains(r.body, "___eio") {
					t.Errorf("the answer is %q", r.body)
				}
				if r.header.Get("X-Content-Type-Options") != "nosniff" {
					t.Error("the answer has no X-Content-Type-Options")
				}
			})
		})
	}
}
