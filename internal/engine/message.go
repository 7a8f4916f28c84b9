package engine

import (
	"bytes"
	"encoding/json"
	"fmt"
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
	return encode(append([]any{event}, args...))
}

// NewReply encodes the arguments of an acknowledgement as NewMessage does those of an event.
func NewReply(args ...any) (*Message, error) {
	return encode(args)
}

func encode(items []any) (*Message, error) {
	m := new(Message)
	var b bytes.Buffer
	var enc *json.Encoder // of what is not a plain string
	attachments := countAttachments(items)
	if attachments > maxAttachments {
		return nil, fmt.Errorf("engine: %d attachments; clients accept at most %d", attachments, maxAttachments)
	}
	b.Grow(plainLength(items))
	b.WriteByte('[')
	for i, item := range items {
		if i > 0 {
			b.WriteByte(',')
		}
		switch item := item.(type) {
		case []byte:
			b.WriteString(placeholder(len(m.Attachments)))
			m.Attachments = append(m.Attachments, item)
			continue
		case string:
			if isPlainASCII(item) {
				b.WriteByte('"')
				b.WriteString(item)
				b.WriteByte('"')
				continue
			}
		}
		if enc == nil {
			enc = json.NewEncoder(&b)
			enc.SetEscapeHTML(false)
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
		// encoding/json checks only the syntax of a json.RawMessage and of what MarshalJSON
		// returns. A client would end the connection.
		m.Text = bytes.ToValidUTF8(m.Text, []byte("\ufffd"))
	}
	return m, nil
}

// plainLength returns how long the JSON of items is at least, and if all are plain strings.
func plainLength(items []any) int {
	n := len("[]")
	for _, item := range items {
		if text, ok := item.(string); ok {
			n += len(text) + len(`"",`)
		}
	}
	return n
}

// isPlainASCII reports whether text is ASCII that encoding/json does not escape.
func isPlainASCII(text string) bool {
	for i := range len(text) {
		if c := text[i]; c < ' ' || c >= utf8.RuneSelf || c == '"' || c == '\\' {
			return false
		}
	}
	return true
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
