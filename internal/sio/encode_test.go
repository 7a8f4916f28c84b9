package sio

import (
	"encoding/base64"
	"strings"
	"testing"

	"github.com/z-open/socketauth/internal/eio"
	"github.com/z-open/socketauth/internal/engine"
)

// written returns packets as one payload of Engine.IO 4.
func written(packets []eio.Packet) string {
	var texts []string
	for _, p := range packets {
		if p.Binary {
			p.Head, p.Data = "b", []byte(base64.StdEncoding.EncodeToString(p.Data))
		}
		texts = append(texts, p.Head+string(p.Data))
	}
	return strings.Join(texts, "\x1e")
}

func TestEncode(t *testing.T) {
	// Guards the encoding of each kind of packet.
	message := func(args ...any) *engine.Message {
		m, err := engine.NewReply(args...)
		if err != nil {
			t.Fatal(err)
		}
		return m
	}
	tests := []struct {
		want    string
		packets []eio.Packet
	}{
		{`42["foo"]`, encodeMessage(Event, "/", false, 0, message("foo"))},
		{`42/admin,["foo"]`, encodeMessage(Event, "/admin", false, 0, message("foo"))},
		{`420["foo"]`, encodeMessage(Event, "/", true, 0, message("foo"))},
		{`43/admin,13["bar"]`, encodeMessage(Ack, "/admin", true, 13, message("bar"))},
		{"452-/admin,[\"baz\",{\"_placeholder\":true,\"num\":0},{\"_placeholder\":true,\"num\":1}]\x1ebAQI=\x1ebAwQ=", encodeMessage(Event, "/admin", false, 0, message("baz", []byte{1, 2}, []byte{3, 4}))},
		{"461-15[\"bar\",{\"_placeholder\":true,\"num\":0}]\x1ebAQ==", encodeMessage(Ack, "/", true, 15, message("bar", []byte{1}))},
		{`41`, []eio.Packet{encodeControl(Disconnect, "/", nil)}},
		{`41/admin,`, []eio.Packet{encodeControl(Disconnect, "/admin", nil)}},
		{`44/x,{"message":"m"}`, []eio.Packet{encodeControl(Error, "/x", []byte(`{"message":"m"}`))}},
	}
	for _, tt := range tests {
		if got := written(tt.packets); got != tt.want {
			t.Errorf("got %s, want %s", got, tt.want)
		}
	}
}
