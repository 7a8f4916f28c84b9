package eio4

import (
	"bytes"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/z-open/socketauth/internal/engine"
	"github.com/z-open/socketauth/internal/sio"
)

func TestOpenPacket(t *testing.T) {
	o := engine.Options{PingInterval: 25 * time.Second, PingTimeout: 20 * time.Second, MaxPayload: 1_000_000}
	p := openPacket("abc", &o, `"websocket"`)
	want := `0{"sid":"abc","upgrades":["websocket"],"pingInterval":25000,"pingTimeout":20000,"maxPayload":1000000}`
	if got := p.head + string(p.data); got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	if p := openPacket("abc", &o, ""); !strings.Contains(p.head, `"upgrades":[]`) {
		t.Errorf("no upgrades are encoded as %s", p.head)
	}
}

func TestParsePacket(t *testing.T) {
	tests := []struct {
		in   string
		want incoming
	}{
		{"4hello", incoming{kind: typeMessage, data: []byte("hello")}},
		{"4", incoming{kind: typeMessage, data: []byte{}}},
		{"bAQIDBA==", incoming{kind: typeMessage, data: []byte{1, 2, 3, 4}, binary: true}},
		{"2probe", incoming{kind: typePing, data: []byte("probe")}},
		{"1", incoming{kind: typeClose, data: []byte{}}},
	}
	for _, tt := range tests {
		got, err := parsePacket([]byte(tt.in))
		if err != nil || !reflect.DeepEqual(got, tt.want) {
			t.Errorf("%s: %+v, %v", tt.in, got, err)
		}
	}
	for _, in := range []string{"", "7", "a", "abc", "b!", "bAQ", "\x00", " 4"} {
		if p, err := parsePacket([]byte(in)); err == nil {
			t.Errorf("%q was read as %+v", in, p)
		}
	}
}

// FuzzPayload takes a payload apart, and puts together again what it was made of.
func FuzzPayload(f *testing.F) {
	for _, seed := range []string{"4hello", "4a\x1e4b\x1ebAQ==", "\x1e", "2\x1e3\x1e", "b", strings.Repeat("3\x1e", 1000)} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, payload []byte) {
		var packets []packet
		for rest, more := payload, true; more; {
			var text []byte
			text, rest, more = nextPacket(rest)
			p, err := parsePacket(text)
			if err != nil {
				return
			}
			if p.kind == typeMessage {
				packets = append(packets, messagePacket(p.data, p.binary))
			} else {
				packets = append(packets, packet{head: string(p.kind), data: p.data})
			}
		}
		again := appendPayload(nil, packets)
		if bytes.ContainsAny(payload, "b") { // base64 may have had line ends
			return
		}
		if !bytes.Equal(again, payload) {
			t.Fatalf("%q became %q", payload, again)
		}
	})
}

func TestIDs(t *testing.T) {
	seen := map[string]bool{}
	for range 1000 {
		id := newID()
		if len(id) != 22 || seen[id] || strings.ContainsAny(id, "+/=") {
			t.Fatalf("id %q", id)
		}
		seen[id] = true
	}
}

func TestEncode(t *testing.T) {
	message := func(args ...any) *engine.Message {
		m, err := engine.NewReply(args...)
		if err != nil {
			t.Fatal(err)
		}
		return m
	}
	tests := []struct {
		want    string
		packets []packet
	}{
		{`42["foo"]`, encodeMessage(sio.Event, "/", false, 0, message("foo"))},
		{`42/admin,["foo"]`, encodeMessage(sio.Event, "/admin", false, 0, message("foo"))},
		{`420["foo"]`, encodeMessage(sio.Event, "/", true, 0, message("foo"))},
		{`43/admin,13["bar"]`, encodeMessage(sio.Ack, "/admin", true, 13, message("bar"))},
		{"452-/admin,[\"baz\",{\"_placeholder\":true,\"num\":0},{\"_placeholder\":true,\"num\":1}]\x1ebAQI=\x1ebAwQ=", encodeMessage(sio.Event, "/admin", false, 0, message("baz", []byte{1, 2}, []byte{3, 4}))},
		{"461-15[\"bar\",{\"_placeholder\":true,\"num\":0}]\x1ebAQ==", encodeMessage(sio.Ack, "/", true, 15, message("bar", []byte{1}))},
		{`41`, []packet{encodeControl(sio.Disconnect, "/", nil)}},
		{`41/admin,`, []packet{encodeControl(sio.Disconnect, "/admin", nil)}},
		{`44/x,{"message":"m"}`, []packet{encodeControl(sio.Error, "/x", []byte(`{"message":"m"}`))}},
	}
	for _, tt := range tests {
		if got := string(appendPayload(nil, tt.packets)); got != tt.want {
			t.Errorf("got %s, want %s", got, tt.want)
		}
	}
}
