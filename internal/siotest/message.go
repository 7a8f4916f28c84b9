package siotest

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"

	"github.com/z-open/socketauth/internal/engine"
)

// The kinds of Socket.IO packets.
const (
	Connect    = '0'
	Disconnect = '1'
	Event      = '2'
	Ack        = '3'
	Refused    = '4' // CONNECT_ERROR
)

// Message is a Socket.IO packet of the root namespace, with its attachments.
type Message struct {
	Kind byte
	ID   string // of the acknowledgement that it asks for, or is; empty for none
	Args engine.Args
}

// Encode returns the packets of an event or an acknowledgement. For an event the first of values is
// its name. A []byte becomes an attachment.
func Encode(kind byte, id string, values ...any) ([]string, error) {
	m, err := engine.NewReply(values...)
	if err != nil {
		return nil, err
	}
	head := "4" + string(kind)
	if n := len(m.Attachments); n > 0 {
		head = "4" + string(kind+3) + strconv.Itoa(n) + "-"
	}
	packets := []string{head + id + string(m.Text)}
	for _, data := range m.Attachments {
		packets = append(packets, "b"+base64.StdEncoding.EncodeToString(data))
	}
	return packets, nil
}

// Decoder makes messages of packets.
type Decoder struct {
	message Message
	missing int // how many attachments are missing
}

// Decode takes the next packet. It returns a message if that is complete now.
func (d *Decoder) Decode(packet string) (m Message, complete bool, err error) {
	malformed := func() (Message, bool, error) {
		return Message{}, false, fmt.Errorf("siotest: malformed packet %.200q", packet)
	}
	text, binary := strings.CutPrefix(packet, "b")
	switch {
	case binary && d.missing > 0:
		data, err := base64.StdEncoding.DecodeString(text)
		if err != nil {
			return malformed()
		}
		d.message.Args.Attachments = append(d.message.Args.Attachments, data)
		d.missing--
		return d.message, d.missing == 0, nil
	case binary, d.missing > 0, len(packet) < 2, packet[0] != '4':
		return malformed()
	}
	m, rest := Message{Kind: packet[1]}, packet[2:]
	if m.Kind == '5' || m.Kind == '6' {
		count, after, ok := strings.Cut(rest, "-")
		if d.missing, err = strconv.Atoi(count); err != nil || !ok {
			return malformed()
		}
		m.Kind, rest = m.Kind-3, after
	}
	if m.Kind == Event || m.Kind == Ack {
		n := strings.IndexByte(rest, '[')
		if n < 0 || json.Unmarshal([]byte(rest[n:]), &m.Args.Values) != nil {
			return malformed()
		}
		m.ID, m.Args.Size = rest[:n], len(rest)
	}
	d.message = m
	return m, d.missing == 0, nil
}
