package eio4

import (
	"bytes"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/z-open/socketauth/internal/eio"
	"github.com/z-open/socketauth/internal/engine"
)

func TestOpenPacket(t *testing.T) {
	// Guards the OPEN packet.
	o := engine.Options{PingInterval: 25 * time.Second, PingTimeout: 20 * time.Second, FirstPayload: 1_000_000}
	p := openPacket("abc", &o, `"websocket"`)
	want := `0{"sid":"abc","upgrades":["websocket"],"pingInterval":25000,"pingTimeout":20000,"maxPayload":1000000}`
	if got := p.Head + string(p.Data); got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	if p := openPacket("abc", &o, ""); !strings.Contains(p.Head, `"upgrades":[]`) {
		t.Errorf("no upgrades are encoded as %s", p.Head)
	}
}

func TestParsePacket(t *testing.T) {
	// Guards how each kind of packet is parsed, and that malformed ones are refused.
	tests := []struct {
		in   string
		want eio.Incoming
	}{
		{"4hello", eio.Incoming{Kind: eio.Message, Data: []byte("hello")}},
		{"4", eio.Incoming{Kind: eio.Message, Data: []byte{}}},
		{"bAQIDBA==", eio.Incoming{Kind: eio.Message, Data: []byte{1, 2, 3, 4}, Binary: true}},
		{"2probe", eio.Incoming{Kind: eio.Ping, Data: []byte("probe")}},
		{"1", eio.Incoming{Kind: eio.Close, Data: []byte{}}},
	}
	for _, tt := range tests {
		got, err := parseFrame([]byte(tt.in), false)
		if err != nil || !reflect.DeepEqual(got, tt.want) {
			t.Errorf("%s: %+v, %v", tt.in, got, err)
		}
	}
	for _, in := range []string{"", "7", "a", "abc", "b!", "bAQ", "\x00", " 4"} {
		if p, err := parseFrame([]byte(in), false); err == nil {
			t.Errorf("%q was read as %+v", in, p)
		}
	}
}

// FuzzPayload takes a payload apart, and puts together again what it was made of.
func FuzzPayload(f *testing.F) {
	for _, seed := range []string{"4hello", "4a\x1e4b\x1ebAQ==", "\x1e", "2\x1e3\x1e", "b", strings.Repeat("3\x1e", 1000),
		`459999999999-["x",1]`, "451-[\"x\",{\"_placeholder\":true,\"num\":-1}]\x1ebAQID", "4\xff", "7", "b!"} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, payload []byte) {
		var packets []eio.Packet
		for p, err := range (link{}).Packets(payload, "") {
			switch {
			case err != nil:
				return
			case p.Kind == eio.Message:
				packets = append(packets, eio.NewMessage(p.Data, p.Binary))
			default:
				packets = append(packets, eio.Packet{Head: string(p.Kind), Data: p.Data})
			}
		}
		again, _ := protocol{}.AppendPayload(nil, packets, false)
		if bytes.ContainsAny(payload, "b") { // base64 may have had line ends
			return
		}
		if !bytes.Equal(again, payload) {
			t.Fatalf("%q became %q", payload, again)
		}
	})
}
