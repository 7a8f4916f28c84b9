package engine

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"sync"
	"unicode/utf8"
)

// Message is an event or a reply, encoded once for all connections that it goes to. It must not be
// changed.
type Message struct {
	Text        []byte   // the JSON array, which begins with the event's name, with placeholders
	Attachments [][]byte // what the placeholders stand for

	once    sync.Once
	encoded any
}

// Encoded returns what encode returned for the message when Encoded was called first. encode is
// always the same function.
func (m *Message) Encoded(encode func(*Message) any) any {
	m.once.Do(func() { m.encoded = encode(m) })
	return m.encoded
}

// maxAttachments is how many attachments a message may have. Clients of versions 2.5 and 4.8 end
// the connection if there are more.
const maxAttachments = 10

// NewMessage encodes an event. An argument that is a []byte becomes a binary attachment. It returns
// an error if another argument cannot be encoded as JSON, or cannot be sent with attachments
// because clients would misread it.
func NewMessage(event string, args ...any) (*Message, error) {
	text, attachments, err := encode(&event, args)
	if err != nil {
		return nil, err
	}
	return &Message{Text: text, Attachments: attachments}, nil
}

// NewReply encodes the arguments of an acknowledgement as NewMessage does those of an event.
func NewReply(args ...any) (*Message, error) {
	m := new(Message)
	if err := m.SetReply(args); err != nil {
		return nil, err
	}
	return m, nil
}

// SetReply makes m, which must be new, what NewReply returns. m need not be on the heap.
func (m *Message) SetReply(args []any) (err error) {
	m.Text, m.Attachments, err = encode(nil, args)
	return err
}

// encode returns the text and the attachments of a message. event is nil for a reply.
func encode(event *string, items []any) (text []byte, attachments [][]byte, err error) {
	n := countAttachments(items)
	if n > maxAttachments {
		return nil, nil, fmt.Errorf("engine: %d attachments; clients accept at most %d", n, maxAttachments)
	}
	if n > 0 {
		attachments = make([][]byte, 0, n)
	}
	e, _ := encoders.Get().(*encoder)
	if e == nil {
		e = newEncoder()
	}
	first := 0 // the number of the first item
	e.text = append(e.text[:0], '[')
	if event != nil {
		if first = 1; !e.plain(*event) {
			_ = e.other(*event) // a string can be encoded
		}
	}
	for i, item := range items {
		if i+first > 0 {
			e.text = append(e.text, ',')
		}
		if data, ok := item.([]byte); ok {
			e.text = append(e.text, placeholder(len(attachments))...)
			attachments = append(attachments, data)
			continue
		}
		start := len(e.text)
		err := e.value(item)
		if err == nil && n > 0 {
			err = checkBesideAttachments(e.text[start:])
		}
		if err != nil {
			encoders.Put(e)
			return nil, nil, fmt.Errorf("engine: value %d: %w", i+first, err)
		}
	}
	e.text = append(e.text, ']')
	if !utf8.Valid(e.text) {
		// encoding/json checks only the syntax of a json.RawMessage and of what MarshalJSON
		// returns. A client would end the connection.
		e.text = bytes.ToValidUTF8(e.text, []byte("\ufffd"))
	}
	if cap(e.text) > maxPooled {
		return slices.Clip(e.text), attachments, nil
	}
	text = slices.Clip(bytes.Clone(e.text))
	encoders.Put(e)
	return text, attachments, nil
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

// Args are the arguments of an event or a reply as the client sent them: JSON values, which may
// contain placeholders for attachments. The engine has checked that each value is valid JSON and
// that each placeholder, at whatever depth, names an existing attachment.
type Args struct {
	Values      []json.RawMessage
	Attachments [][]byte
	Size        int // how many bytes of memory they keep, with the rest of their packets
}

// Attachment returns the attachment that value i as a whole stands for, if it does.
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
