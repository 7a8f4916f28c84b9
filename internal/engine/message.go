package engine

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strconv"
	"unicode/utf8"
)

// Message is an event or a reply, encoded once for however many connections it goes to. It is not changed after it
// was made, and may be shared.
type Message struct {
	Text        []byte   // the JSON array as it goes over the wire, the event's name first, placeholders in place
	Attachments [][]byte // what the placeholders stand for
}

// maxAttachments is how many attachments a message may have. Clients refuse more, and end the connection: those of
// versions 2.5 and 4.8 do.
const maxAttachments = 10

// NewMessage encodes an event. An argument that is a []byte becomes a binary attachment. Every other must be one that
// JSON can hold and, beside attachments, one that clients do not take for another; the error says which is not.
func NewMessage(event string, args ...any) (*Message, error) {
	return encode(append([]any{event}, args...))
}

// NewReply encodes the arguments of an acknowledgement, as NewMessage does those of an event.
func NewReply(args ...any) (*Message, error) {
	return encode(args)
}

func encode(items []any) (*Message, error) {
	m := new(Message)
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	attachments := countAttachments(items)
	if attachments > maxAttachments {
		return nil, fmt.Errorf("engine: %d attachments, where clients accept at most %d", attachments, maxAttachments)
	}
	b.WriteByte('[')
	for i, item := range items {
		if i > 0 {
			b.WriteByte(',')
		}
		if data, ok := item.([]byte); ok {
			b.WriteString(placeholder(len(m.Attachments)))
			m.Attachments = append(m.Attachments, data)
			continue
		}
		start := b.Len()
		if err := enc.Encode(item); err != nil {
			return nil, fmt.Errorf("engine: value %d: %w", i, err)
		}
		b.Truncate(b.Len() - 1) // Encode ends each value with a newline
		if attachments > 0 {
			if err := checkBesideAttachments(b.Bytes()[start:]); err != nil {
				return nil, fmt.Errorf("engine: value %d: %w", i, err)
			}
		}
	}
	b.WriteByte(']')
	m.Text = b.Bytes()
	if !utf8.Valid(m.Text) {
		// From a json.RawMessage or a MarshalJSON, which encoding/json checks for its syntax alone. A client would end
		// the connection.
		m.Text = bytes.ToValidUTF8(m.Text, []byte("\ufffd"))
	}
	return m, nil
}

func countAttachments(items []any) (n int) {
	for _, item := range items {
		if _, ok := item.([]byte); ok {
			n++
		}
	}
	return n
}

func placeholder(n int) string {
	return `{"` + placeholderKey + `":true,"num":` + strconv.Itoa(n) + `}`
}

// Args are the arguments of an event or of a reply, as they came: JSON values of which some may be placeholders for
// attachments. The engine has checked that each value is valid JSON and that each placeholder, at whatever depth,
// names an attachment that is there.
type Args struct {
	Values      []json.RawMessage
	Attachments [][]byte
	Size        int // bytes that they keep in memory, with what came around them
}

// Attachment is the attachment that the whole of value i stands for, if it does.
func (a Args) Attachment(i int) ([]byte, bool) {
	if len(a.Attachments) == 0 {
		return nil, false
	}
	var p struct {
		Placeholder bool `json:"_placeholder"`
		Num         *int `json:"num"`
	}
	if json.Unmarshal(a.Values[i], &p) != nil || !p.Placeholder || p.Num == nil || *p.Num < 0 || *p.Num >= len(a.Attachments) {
		return nil, false
	}
	return a.Attachments[*p.Num], true
}
