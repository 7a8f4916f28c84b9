package eio4

import (
	"bytes"
	"encoding/base64"
	"errors"
	"fmt"
	"strings"

	"github.com/z-open/socketauth/internal/engine"
	"github.com/z-open/socketauth/internal/sio"
)

// The types of Engine.IO packets, as they stand on the wire.
const (
	typeOpen    = '0'
	typeClose   = '1'
	typePing    = '2'
	typePong    = '3'
	typeMessage = '4'
	typeUpgrade = '5'
	typeNoop    = '6'
	typeBinary  = 'b' // a binary message, in text
)

// separator stands between the packets of a payload.
const separator = '\x1e'

var errPacketType = errors.New("unknown engine packet type")

// packet is one Engine.IO packet that waits to be written: text is head and data in one, binary is data alone. They
// are kept apart so that one encoded message can be shared by all it goes to.
type packet struct {
	head   string
	data   []byte
	binary bool
	pong   bool // not a packet at all, but websocket's own answer to its own ping
}

var (
	pingPacket  = packet{head: string(typePing)}
	closePacket = packet{head: string(typeClose)}
	noopPacket  = packet{head: string(typeNoop)}
)

// packetOverhead is what a queued packet costs beyond its bytes, so that MaxQueue bounds the number of them too.
const packetOverhead = 128

func (p packet) cost() int { return len(p.head) + len(p.data) + packetOverhead }

// messagePacket is a MESSAGE of raw Engine.IO.
func messagePacket(data []byte, binary bool) packet {
	if binary {
		return packet{data: data, binary: true}
	}
	return packet{head: string(typeMessage), data: data}
}

// openPacket is the server's half of the handshake. upgrades is the inside of a JSON array.
func openPacket(sid string, o *engine.Options, upgrades string) packet {
	return packet{head: fmt.Sprintf(`%c{"sid":"%s","upgrades":[%s],"pingInterval":%d,"pingTimeout":%d,"maxPayload":%d}`,
		typeOpen, sid, upgrades, o.PingInterval.Milliseconds(), o.PingTimeout.Milliseconds(), o.MaxPayload)}
}

// encodeMessage makes the packets of an event or a reply: the text, then its attachments.
func encodeMessage(kind byte, namespace string, hasID bool, id uint64, m *engine.Message) []packet {
	packets := make([]packet, 0, 1+len(m.Attachments))
	head := sio.MessageHead(kind, namespace, hasID, id, len(m.Attachments))
	packets = append(packets, packet{head: head, data: m.Text})
	for _, data := range m.Attachments {
		packets = append(packets, messagePacket(data, true))
	}
	return packets
}

// encodeControl makes a packet that is neither event nor reply.
func encodeControl(kind byte, namespace string, payload []byte) packet {
	return packet{head: sio.ControlHead(kind, namespace), data: payload}
}

// appendPayload encodes packets for one poll response.
func appendPayload(dst []byte, packets []packet) []byte {
	for i, p := range packets {
		if i > 0 {
			dst = append(dst, separator)
		}
		if p.binary {
			dst = append(dst, typeBinary)
			dst = base64.StdEncoding.AppendEncode(dst, p.data)
			continue
		}
		dst = append(append(dst, p.head...), p.data...)
	}
	return dst
}

// incoming is one packet of the client.
type incoming struct {
	kind   byte // a type without data counts as that type, a binary message as typeMessage
	data   []byte
	binary bool
}

// parsePacket reads one packet that came as text.
func parsePacket(text []byte) (incoming, error) {
	switch {
	case len(text) == 0:
		return incoming{}, errPacketType
	case text[0] == typeBinary:
		data, err := base64.StdEncoding.AppendDecode(nil, text[1:])
		return incoming{kind: typeMessage, data: data, binary: true}, err
	case strings.IndexByte("0123456", text[0]) < 0:
		return incoming{}, errPacketType
	}
	return incoming{kind: text[0], data: text[1:]}, nil
}

// nextPacket cuts the first packet off a payload.
func nextPacket(payload []byte) (first, rest []byte, more bool) {
	return bytes.Cut(payload, []byte{separator})
}
