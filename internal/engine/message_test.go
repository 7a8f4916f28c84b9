package engine

import (
	"bytes"
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"unicode/utf8"
)

func TestEncoding(t *testing.T) {
	// Guards the text and the attachments of a message.
	m, err := NewMessage("chat", "<é&\u2028>", 5, nil, []byte{1, 2}, map[string]any{"a": true}, json.RawMessage(`[ 1 ]`), []byte(nil))
	if err != nil {
		t.Fatal(err)
	}
	want := `["chat","<é&\u2028>",5,null,{"_placeholder":true,"num":0},{"a":true},[1],{"_placeholder":true,"num":1}]`
	if string(m.Text) != want || len(m.Attachments) != 2 || !bytes.Equal(m.Attachments[0], []byte{1, 2}) {
		t.Errorf("%s, %x", m.Text, m.Attachments)
	}
	if m, err := NewReply(); err != nil || string(m.Text) != "[]" {
		t.Errorf("an empty reply: %s, %v", m.Text, err)
	}
	for _, bad := range []any{func() {}, make(chan int), map[any]any{}, json.RawMessage("{")} {
		if _, err := NewMessage("chat", bad); err == nil {
			t.Errorf("%T was encoded", bad)
		}
	}
}

// raw encodes itself as JSON.
type raw string

func (r raw) MarshalJSON() ([]byte, error) { return []byte(r), nil }

// TestPlaceholdersBesideAttachments guards that the data of one user cannot end the connections of
// those who are sent it.
func TestPlaceholdersBesideAttachments(t *testing.T) {
	picture := []byte{1}
	for _, value := range []any{
		map[string]any{"_placeholder": true, "num": 7},
		map[string]any{"_placeholder": true, "num": 0},
		[]any{1, map[string]any{"a": []any{map[string]any{"num": 0, "_placeholder": true}}}},
		json.RawMessage(`{ "\u005fplaceholder" : true }`),
		raw(`{"a":{"_pl\u0061ceholder":true}}`),
		struct{ About json.RawMessage }{json.RawMessage(`{"x":"_placeholder\\","_placeholder":1}`)},
		json.RawMessage(`{"_placeholder":false,"_placeholder":"yes"}`),
	} {
		if m, err := NewMessage("profile", value); err != nil || len(m.Attachments) != 0 {
			t.Errorf("%v alone: %v", value, err)
		}
		for _, args := range [][]any{{value, picture}, {picture, value}, {picture, "x", value}} {
			if _, err := NewMessage("profile", args...); !errors.Is(err, errPlaceholder) {
				t.Errorf("%v: %v", args, err)
			}
			if _, err := NewReply(args...); !errors.Is(err, errPlaceholder) {
				t.Errorf("a reply of %v: %v", args, err)
			}
		}
	}
	for _, value := range []any{
		"_placeholder", []string{"_placeholder"}, raw(`{"a":"\"_placeholder\":true"}`), json.RawMessage(`{"_placeholder":false,"num":7}`),
		map[string]any{"_placeholder": nil}, map[string]any{"placeholder": true, "_placeholders": true, "x_placeholder": true},
	} {
		if _, err := NewMessage("profile", value, picture); err != nil {
			t.Errorf("%v: %v", value, err)
		}
	}
}

// TestUnreadable guards that no message is sent on which clients end the connection.
func TestUnreadable(t *testing.T) {
	nested := func(depth int) raw {
		return raw(strings.Repeat(`[{"a":`, depth/2) + "1" + strings.Repeat("}]", depth/2))
	}
	if _, err := NewMessage("x", nested(maxDepthBesideAttachments), []byte{}); err != nil {
		t.Error(err)
	}
	if _, err := NewMessage("x", []byte{}, nested(maxDepthBesideAttachments+2)); !errors.Is(err, errDepth) {
		t.Errorf("deeper: %v", err)
	}
	if _, err := NewMessage("x", nested(9000)); err != nil {
		t.Errorf("deeper, without attachments: %v", err)
	}
	attachments := make([]any, maxAttachments)
	for i := range attachments {
		attachments[i] = []byte{}
	}
	if _, err := NewReply(attachments...); err != nil {
		t.Error(err)
	}
	if _, err := NewReply(append(attachments, []byte{})...); err == nil {
		t.Error("more attachments than clients accept")
	}
	for _, value := range []any{json.RawMessage("\"a\xff\""), raw("{\"\xc3\":1}")} {
		if m, err := NewMessage("x", value); err != nil || !utf8.Valid(m.Text) || !json.Valid(m.Text) {
			t.Errorf("%q, %v", m.Text, err)
		}
	}
}

func TestAttachment(t *testing.T) {
	// Guards that only a valid placeholder stands for an attachment.
	a := Args{Attachments: [][]byte{{7}}}
	for value, want := range map[string]bool{
		`{"_placeholder":true,"num":0}`: true, `{"num":0,"_placeholder":true}`: true,
		`{"_placeholder":true}`: false, `{"_placeholder":false,"num":0}`: false, `{"_placeholder":true,"num":1}`: false,
		`{"_placeholder":true,"num":-1}`: false, `{"_placeholder":true,"num":"0"}`: false, `5`: false, `null`: false, `"x"`: false,
	} {
		a.Values = []json.RawMessage{json.RawMessage(value)}
		if _, ok := a.Attachment(0); ok != want {
			t.Errorf("%s: %v", value, ok)
		}
	}
	if _, ok := (Args{Values: a.Values}).Attachment(0); ok {
		t.Error("an attachment, though there are none")
	}
}

// TestTextOfItsOwn guards that the text of a message is not written again when others are encoded,
// of any size and also if encoding fails or calls the encoder in turn.
func TestTextOfItsOwn(t *testing.T) {
	var kept []*Message
	var want []string
	keep := func(value any, text string) {
		m, err := NewMessage("x", value)
		if err != nil {
			t.Fatal(err)
		}
		kept, want = append(kept, m), append(want, `["x",`+text+`]`)
	}
	for i := range 50 {
		for _, size := range []int{1, 100, maxPooled - 20, maxPooled + 20} {
			text := strings.Repeat(string(rune('a'+i%26)), size)
			keep(text, `"`+text+`"`)
			keep([]string{text}, `["`+text+`"]`)
		}
		keep(marshaler(func() ([]byte, error) { keep("inner", `"inner"`); return []byte("7"), nil }), "7")
		if _, err := NewReply("failed", marshaler(func() ([]byte, error) { return nil, errors.New("no") })); err == nil {
			t.Error("no error")
		}
	}
	for i, m := range kept {
		if string(m.Text) != want[i] || cap(m.Text) != len(m.Text) {
			t.Fatalf("message %d is %.40q, of capacity %d, and not %.40q", i, m.Text, cap(m.Text), want[i])
		}
	}
}

// marshaler encodes itself as JSON.
type marshaler func() ([]byte, error)

func (f marshaler) MarshalJSON() ([]byte, error) { return f() }
