package eio4

import (
	"bytes"
	"encoding/json"
	"math"
	"reflect"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/z-open/socketauth/internal/engine"
)

func raws(values ...string) []json.RawMessage {
	out := []json.RawMessage{}
	for _, v := range values {
		out = append(out, json.RawMessage(v))
	}
	return out
}

func TestParseSocketPacket(t *testing.T) {
	tests := []struct {
		in   string
		want socketPacket
	}{
		{`0`, socketPacket{kind: sioConnect, namespace: "/"}},
		{`0{"token":"x"}`, socketPacket{kind: sioConnect, namespace: "/", auth: json.RawMessage(`{"token":"x"}`)}},
		{`0/admin,`, socketPacket{kind: sioConnect, namespace: "/admin"}},
		{`0/admin`, socketPacket{kind: sioConnect, namespace: "/admin"}},
		{`0/a?b=c,{}`, socketPacket{kind: sioConnect, namespace: "/a?b=c", auth: json.RawMessage(`{}`)}},
		{`1`, socketPacket{kind: sioDisconnect, namespace: "/"}},
		{`1/admin,`, socketPacket{kind: sioDisconnect, namespace: "/admin"}},
		{`2["foo"]`, socketPacket{kind: sioEvent, namespace: "/", name: "foo", values: raws()}},
		{`2/admin,["bar",1]`, socketPacket{kind: sioEvent, namespace: "/admin", name: "bar", values: raws(`1`)}},
		{`212["foo"]`, socketPacket{kind: sioEvent, namespace: "/", hasID: true, id: 12, name: "foo", values: raws()}},
		{`20["foo"]`, socketPacket{kind: sioEvent, namespace: "/", hasID: true, name: "foo", values: raws()}},
		{`2[7]`, socketPacket{kind: sioEvent, namespace: "/", name: "7", values: raws()}},
		{`2[-1.5e3]`, socketPacket{kind: sioEvent, namespace: "/", name: "-1.5e3", values: raws()}},
		{`2[""]`, socketPacket{kind: sioEvent, namespace: "/", name: "", values: raws()}},
		{`2["\u00e9\n"]`, socketPacket{kind: sioEvent, namespace: "/", name: "é\n", values: raws()}},
		{`2["error",{"_placeholder":true,"num":9}]`, socketPacket{kind: sioEvent, namespace: "/", name: "error", values: raws(`{"_placeholder":true,"num":9}`)}},
		{`218446744073709551615["a"]`, socketPacket{kind: sioEvent, namespace: "/", hasID: true, id: math.MaxUint64, name: "a", values: raws()}},
		{`3/admin,13["bar"]`, socketPacket{kind: sioAck, namespace: "/admin", hasID: true, id: 13, values: raws(`"bar"`)}},
		{`30[]`, socketPacket{kind: sioAck, namespace: "/", hasID: true, values: nil}},
		{`51-["baz",{"_placeholder":true,"num":0}]`, socketPacket{kind: sioEvent, namespace: "/", name: "baz", attachments: 1, values: raws(`{"_placeholder":true,"num":0}`)}},
		{`50-["baz"]`, socketPacket{kind: sioEvent, namespace: "/", name: "baz", values: raws()}},
		{`52-/admin,["baz",{"_placeholder":true,"num":0},{"_placeholder":true,"num":1}]`, socketPacket{kind: sioEvent, namespace: "/admin", name: "baz", attachments: 2, values: raws(`{"_placeholder":true,"num":0}`, `{"_placeholder":true,"num":1}`)}},
		{`61-15["bar",{"_placeholder":true,"num":0}]`, socketPacket{kind: sioAck, namespace: "/", hasID: true, id: 15, attachments: 1, values: raws(`"bar"`, `{"_placeholder":true,"num":0}`)}},
	}
	for _, tt := range tests {
		tt.want.size = len(tt.in)
		got, err := parseSocketPacket([]byte(tt.in), 4)
		if err != nil {
			t.Errorf("%s: %v", tt.in, err)
		} else if !reflect.DeepEqual(got, tt.want) {
			t.Errorf("%s:\n got %+v\nwant %+v", tt.in, got, tt.want)
		}
	}
}

func TestParseSocketPacketRefuses(t *testing.T) {
	for _, in := range []string{
		``, `7`, `abc`, `-`, `4{"message":"x"}`, `4`,
		`0[]`, `0null`, `0"x"`, `0{`, `0{}x`, `012`, `012{}`,
		`1{}`, `112`, `1 `,
		`2`, `212`, `2{}`, `2[]`, `2"x"`, `2null`, `2abc["x"]`, `2["x"`, `2["x"]]`, `2["x"],`, `2 `, `2-1["x"]`,
		`2/admin`, `2/admin["x"]`, `2/admin,`,
		`2[null]`, `2[{}]`, `2[[]]`, `2[true]`, `2[false]`,
		`2["connect"]`, `2["connect_error"]`, `2["disconnect"]`, `2["disconnecting"]`, `2["newListener"]`, `2["removeListener"]`, `2["c\u006fnnect"]`,
		`218446744073709551616["a"]`, `299999999999999999999999["a"]`,
		`3[]`, `3`, `312`, `312{}`, `3/a,[]`,
		`5["x"]`, `5-["x"]`, `51["x"]`, `51`, `5`, `51-`, `5-1-["x"]`, `5 1-["x"]`, `5+1-["x"]`, `51.0-["x"]`,
		`55-["x"]`, `5459999999999-["x",1]`, `599999999999999999999-["x",1]`, `6459999999999-1[]`,
		`51-["x",{"_placeholder":true,"num":1}]`, `51-["x",{"_placeholder":true,"num":"0"}]`, `51-["x",{"_placeholder":true}]`,
		`51-[{"_placeholder":true,"num":0}]`,
		`21-["x"]`, `01-`, `11-`, `31-1[]`, `41-`,
		`2["x",` + strings.Repeat("[", 400_000),
		`0{"a":` + strings.Repeat("[", maxDepth) + strings.Repeat("]", maxDepth) + `}`,
	} {
		if p, err := parseSocketPacket([]byte(in), 4); err == nil {
			t.Errorf("%.60s was read as %+v", in, p)
		}
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
		{`42["foo"]`, encodeMessage(sioEvent, "/", false, 0, message("foo"))},
		{`42/admin,["foo"]`, encodeMessage(sioEvent, "/admin", false, 0, message("foo"))},
		{`420["foo"]`, encodeMessage(sioEvent, "/", true, 0, message("foo"))},
		{`43/admin,13["bar"]`, encodeMessage(sioAck, "/admin", true, 13, message("bar"))},
		{"452-/admin,[\"baz\",{\"_placeholder\":true,\"num\":0},{\"_placeholder\":true,\"num\":1}]\x1ebAQI=\x1ebAwQ=", encodeMessage(sioEvent, "/admin", false, 0, message("baz", []byte{1, 2}, []byte{3, 4}))},
		{"461-15[\"bar\",{\"_placeholder\":true,\"num\":0}]\x1ebAQ==", encodeMessage(sioAck, "/", true, 15, message("bar", []byte{1}))},
		{`41`, []packet{encodeControl(sioDisconnect, "/", nil)}},
		{`41/admin,`, []packet{encodeControl(sioDisconnect, "/admin", nil)}},
		{`44/x,{"message":"m"}`, []packet{encodeControl(sioConnectError, "/x", []byte(`{"message":"m"}`))}},
	}
	for _, tt := range tests {
		if got := string(appendPayload(nil, tt.packets)); got != tt.want {
			t.Errorf("got %s, want %s", got, tt.want)
		}
	}
}

// FuzzParseSocketPacket looks for panics, for broken promises of what was accepted, and for packets that our own
// encoder would not have made.
func FuzzParseSocketPacket(f *testing.F) {
	for _, seed := range []string{`0`, `0/a,{"x":1}`, `1/a,`, `2["a",1]`, `212["a"]`, `3/a,5[{}]`, `51-["a",{"_placeholder":true,"num":0}]`, `62-/a,9[{"_placeholder":true,"num":1}]`, `5459999999999-["x",1]`, `2[1e5]`} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		const most = 4
		if !utf8.Valid(data) {
			return // the session lets none through
		}
		p, err := parseSocketPacket(data, most)
		if err != nil {
			return
		}
		if p.attachments < 0 || p.attachments > most || p.namespace == "" || p.namespace[0] != '/' {
			t.Fatalf("%q: %+v", data, p)
		}
		for _, v := range p.values {
			if !json.Valid(v) {
				t.Fatalf("%q: value %q", data, v)
			}
		}
		if p.kind != sioEvent && p.kind != sioAck {
			return
		}
		// Once more, from what we would send.
		text := bytes.Join(rawBytes(p.values), []byte{','})
		if p.kind == sioEvent {
			name, err := json.Marshal(p.name)
			if err != nil {
				t.Fatal(err)
			}
			text = append(append(name, ','), text...)
			text = bytes.TrimSuffix(text, []byte{','})
		}
		m := &engine.Message{Text: append(append([]byte{'['}, text...), ']'), Attachments: make([][]byte, p.attachments)}
		packets := encodeMessage(p.kind, p.namespace, p.hasID, p.id, m)
		sent := append([]byte(packets[0].head), packets[0].data...)
		again, err := parseSocketPacket(sent[1:], most)
		again.size = p.size // what was escaped, or had spaces, is so no more
		if err != nil || !reflect.DeepEqual(again, p) {
			t.Fatalf("%q: %+v, and from %q: %+v, %v", data, p, sent, again, err)
		}
	})
}

func rawBytes(values []json.RawMessage) [][]byte {
	out := make([][]byte, len(values))
	for i, v := range values {
		out[i] = v
	}
	return out
}
