package eio

import (
	"bytes"
	"encoding/base64"
	"errors"
	"unicode/utf8"
)

// The types of packets, as they are on the wire.
const (
	Open    = '0'
	Close   = '1'
	Ping    = '2'
	Pong    = '3'
	Message = '4'
	Upgrade = '5'
	Noop    = '6'
)

var (
	errPacketType = errors.New("unknown engine packet type")
	errUTF8       = errors.New("text is not UTF-8")
)

// Packet is one packet to be written. Text consists of Head followed by Data, a binary message of
// Data alone. They are separate fields so that one encoded message can be shared by all clients
// that it goes to.
type Packet struct {
	Head   string
	Data   []byte
	Binary bool
	JSON   bool // Data is JSON, and may be escaped
	pong   bool // not an Engine.IO packet, but the answer to a websocket ping frame

	frame []byte // all of it as a websocket frame, if Shared has made that
}

// Shared returns a text packet for many clients, whose websocket frame is made only once.
func (p Packet) Shared() Packet {
	p.frame = appendFrame(nil, p)
	return p
}

var (
	pingPacket  = Packet{Head: string(Ping)}
	closePacket = Packet{Head: string(Close)}
	noopPacket  = Packet{Head: string(Noop)}
)

// packetOverhead is what a queued packet costs beyond its bytes, so that MaxQueue also bounds the
// number of packets.
const packetOverhead = 128

func (p Packet) cost() int { return len(p.Head) + len(p.Data) + packetOverhead }

func cost(packets []Packet) (n int) {
	for _, p := range packets {
		n += p.cost()
	}
	return n
}

// NewMessage returns a MESSAGE of bare Engine.IO.
func NewMessage(data []byte, binary bool) Packet {
	if binary {
		return Packet{Data: data, Binary: true}
	}
	return Packet{Head: string(Message), Data: data}
}

// Incoming is one packet of the client.
type Incoming struct {
	Kind   byte
	Data   []byte
	Binary bool
}

// ParseText parses one packet that came as text. Text that begins with base64Head is a binary
// message.
func ParseText(text []byte, base64Head string) (Incoming, error) {
	switch {
	case !utf8.Valid(text):
		return Incoming{}, errUTF8
	case bytes.HasPrefix(text, []byte(base64Head)):
		data, err := base64.StdEncoding.AppendDecode(nil, text[len(base64Head):])
		return Incoming{Kind: Message, Data: data, Binary: true}, err
	case len(text) == 0 || text[0] < Open || text[0] > Noop:
		return Incoming{}, errPacketType
	}
	return Incoming{Kind: text[0], Data: text[1:]}, nil
}
