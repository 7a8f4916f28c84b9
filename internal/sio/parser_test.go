package sio

import (
	"bytes"
	"encoding/json"
	"math"
	"reflect"
	"strings"
	"testing"
	"unicode/utf8"
)

func raws(values ...string) []json.RawMessage {
	out := []json.RawMessage{}
	for _, v := range values {
		out = append(out, json.RawMessage(v))
	}
	return out
}

const maxDepth = 512

func TestParse(t *testing.T) {
	// Guards what the text of each kind of packet is parsed as.
	tests := []struct {
		in   string
		want Packet
	}{
		{`0`, Packet{Kind: Connect, Namespace: "/"}},
		{`0{"token":"x"}`, Packet{Kind: Connect, Namespace: "/", Auth: json.RawMessage(`{"token":"x"}`)}},
		{`0/admin,`, Packet{Kind: Connect, Namespace: "/admin"}},
		{`0/admin`, Packet{Kind: Connect, Namespace: "/admin"}},
		{`0/a?b=c,{}`, Packet{Kind: Connect, Namespace: "/a?b=c", Auth: json.RawMessage(`{}`)}},
		{`1`, Packet{Kind: Disconnect, Namespace: "/"}},
		{`1/admin,`, Packet{Kind: Disconnect, Namespace: "/admin"}},
		{`2["foo"]`, Packet{Kind: Event, Namespace: "/", Name: "foo", Values: raws()}},
		{`2/admin,["bar",1]`, Packet{Kind: Event, Namespace: "/admin", Name: "bar", Values: raws(`1`)}},
		{`212["foo"]`, Packet{Kind: Event, Namespace: "/", HasID: true, ID: 12, Name: "foo", Values: raws()}},
		{`20["foo"]`, Packet{Kind: Event, Namespace: "/", HasID: true, Name: "foo", Values: raws()}},
		{`2[7]`, Packet{Kind: Event, Namespace: "/", Name: "7", Values: raws()}},
		{`2[-1.5e3]`, Packet{Kind: Event, Namespace: "/", Name: "-1.5e3", Values: raws()}},
		{`2[""]`, Packet{Kind: Event, Namespace: "/", Name: "", Values: raws()}},
		{`2["\u00e9\n"]`, Packet{Kind: Event, Namespace: "/", Name: "é\n", Values: raws()}},
		{`2["error",{"_placeholder":true,"num":9}]`, Packet{Kind: Event, Namespace: "/", Name: "error", Values: raws(`{"_placeholder":true,"num":9}`)}},
		{`218446744073709551615["a"]`, Packet{Kind: Event, Namespace: "/", HasID: true, ID: math.MaxUint64, Name: "a", Values: raws()}},
		{`3/admin,13["bar"]`, Packet{Kind: Ack, Namespace: "/admin", HasID: true, ID: 13, Values: raws(`"bar"`)}},
		{`30[]`, Packet{Kind: Ack, Namespace: "/", HasID: true, Values: nil}},
		{`51-["baz",{"_placeholder":true,"num":0}]`, Packet{Kind: Event, Namespace: "/", Name: "baz", Attachments: 1, Values: raws(`{"_placeholder":true,"num":0}`)}},
		{`50-["baz"]`, Packet{Kind: Event, Namespace: "/", Name: "baz", Values: raws()}},
		{`52-/admin,["baz",{"_placeholder":true,"num":0},{"_placeholder":true,"num":1}]`, Packet{Kind: Event, Namespace: "/admin", Name: "baz", Attachments: 2, Values: raws(`{"_placeholder":true,"num":0}`, `{"_placeholder":true,"num":1}`)}},
		{`61-15["bar",{"_placeholder":true,"num":0}]`, Packet{Kind: Ack, Namespace: "/", HasID: true, ID: 15, Attachments: 1, Values: raws(`"bar"`, `{"_placeholder":true,"num":0}`)}},
	}
	for _, tt := range tests {
		tt.want.Size = len(tt.in)
		got, err := Parse([]byte(tt.in), 4, maxDepth, name)
		if err != nil {
			t.Errorf("%s: %v", tt.in, err)
		} else if !reflect.DeepEqual(got, tt.want) {
			t.Errorf("%s:\n got %+v\nwant %+v", tt.in, got, tt.want)
		}
	}
}

// name is as engine.Options.EventName is by default.
func name(b []byte) string { return string(b) }

func TestParseErrors(t *testing.T) {
	// Guards that malformed text is refused.
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
		if p, err := Parse([]byte(in), 4, maxDepth, name); err == nil {
			t.Errorf("%.60s was parsed as %+v", in, p)
		}
	}
}

// FuzzParse looks for panics, for accepted packets that break a promise of Parse, and for those
// that differ after they are encoded and parsed again.
func FuzzParse(f *testing.F) {
	for _, seed := range []string{`0`, `0/a,{"x":1}`, `1/a,`, `2["a",1]`, `212["a"]`, `3/a,5[{}]`, `51-["a",{"_placeholder":true,"num":0}]`, `62-/a,9[{"_placeholder":true,"num":1}]`, `5459999999999-["x",1]`, `2[1e5]`} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		const most = 4
		if !utf8.Valid(data) {
			return // the session refuses such text before
		}
		p, err := Parse(data, most, maxDepth, name)
		if err != nil {
			return
		}
		if p.Attachments < 0 || p.Attachments > most || p.Namespace == "" || p.Namespace[0] != '/' {
			t.Fatalf("%q: %+v", data, p)
		}
		for _, v := range p.Values {
			if !json.Valid(v) {
				t.Fatalf("%q: value %q", data, v)
			}
		}
		if p.Kind != Event && p.Kind != Ack {
			return
		}
		// Encode and parse it again.
		text := bytes.Join(rawBytes(p.Values), []byte{','})
		if p.Kind == Event {
			quoted, err := json.Marshal(p.Name)
			if err != nil {
				t.Fatal(err)
			}
			text = append(append(quoted, ','), text...)
			text = bytes.TrimSuffix(text, []byte{','})
		}
		array := append(append([]byte{'['}, text...), ']')
		sent := append([]byte(messageHead(p.Kind, p.Namespace, p.HasID, p.ID, p.Attachments)), array...)
		again, err := Parse(sent[1:], most, maxDepth, name)
		again.Size = p.Size // the encoder writes no escapes or spaces
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
