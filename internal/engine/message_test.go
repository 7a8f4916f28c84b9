package engine

import (
	"bytes"
	"encoding/json"
	"testing"
)

func TestMessagesAreEncodedOnceWithTheirAttachmentsApart(t *testing.T) {
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

func TestAttachmentOfAPlaceholderAlone(t *testing.T) {
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
		t.Error("an attachment where there are none")
	}
}
