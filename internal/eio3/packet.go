package eio3

import (
	"bytes"
	"encoding/base64"
	"errors"
	"strconv"
	"strings"
	"unicode/utf8"

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
	typeBinary  = 'b' // a packet of binary data, in text
)

const (
	binaryHead = "\x04" // of a binary message in a binary frame
	base64Head = "b4"   // of a binary message in text
)

var (
	errPacketType = errors.New("unknown engine packet type")
	errLength     = errors.New("malformed length of a packet")
)

// packet is one Engine.IO packet that waits to be written: head and data in one. They are kept apart so that one
// encoded message can be shared by all it goes to.
type packet struct {
	head   string
	data   []byte
	binary bool
	json   bool // data is JSON, and may be written in another form
	pong   bool // not a packet at all, but websocket's own answer to its own ping
}

var (
	closePacket = packet{head: string(typeClose)}
	noopPacket  = packet{head: string(typeNoop)}
)

// packetOverhead is what a queued packet costs beyond its bytes, so that MaxQueue bounds the number of them too.
const packetOverhead = 128

func (p packet) cost() int { return len(p.head) + len(p.data) + packetOverhead }

// messagePacket is a MESSAGE of raw Engine.IO.
func messagePacket(data []byte, binary bool) packet {
	if binary {
		return packet{head: binaryHead, data: data, binary: true}
	}
	return packet{head: string(typeMessage), data: data}
}

// portable is the packet in a form that every client reads from a poll: those of versions 1.x take text that is not
// ASCII for something else.
func (p packet) portable() packet {
	if p.json {
		p.data = sio.ASCII(p.data)
	}
	return p
}

// encodeMessage makes the packets of an event or a reply: the text, then its attachments.
func encodeMessage(kind byte, namespace string, hasID bool, id uint64, m *engine.Message) []packet {
	packets := make([]packet, 0, 1+len(m.Attachments))
	head := sio.MessageHead(kind, namespace, hasID, id, len(m.Attachments))
	packets = append(packets, packet{head: head, data: m.Text, json: true})
	for _, data := range m.Attachments {
		packets = append(packets, messagePacket(data, true))
	}
	return packets
}

// encodeControl makes a packet that is neither event nor reply.
func encodeControl(kind byte, namespace string, payload []byte) packet {
	return packet{head: sio.ControlHead(kind, namespace), data: payload}
}

// appendPayload encodes packets as text, for one poll response.
func appendPayload(dst []byte, packets []packet) []byte {
	for _, p := range packets {
		p = p.portable()
		if p.binary {
			dst = strconv.AppendInt(dst, int64(len(base64Head)+base64.StdEncoding.EncodedLen(len(p.data))), 10)
			dst = append(append(dst, ':'), base64Head...)
			dst = base64.StdEncoding.AppendEncode(dst, p.data)
			continue
		}
		dst = strconv.AppendInt(dst, int64(units([]byte(p.head))+units(p.data)), 10)
		dst = append(append(append(dst, ':'), p.head...), p.data...)
	}
	return dst
}

// appendBinaryPayload encodes packets in the binary form, for one poll response.
func appendBinaryPayload(dst []byte, packets []packet) []byte {
	for _, p := range packets {
		p = p.portable()
		kind := byte(0)
		if p.binary {
			kind = 1
		}
		dst = append(dst, kind)
		for _, digit := range strconv.Itoa(len(p.head) + len(p.data)) {
			dst = append(dst, byte(digit-'0'))
		}
		dst = append(append(append(dst, 0xff), p.head...), p.data...)
	}
	return dst
}

// units is the length of UTF-8 text as the protocol counts it: in units of UTF-16.
func units(text []byte) int {
	n := 0
	for len(text) > 0 {
		size, u := nextRune(text)
		text, n = text[size:], n+u
	}
	return n
}

// nextRune is how long the first character is, in bytes and in units of UTF-16.
func nextRune(text []byte) (size, units int) {
	if text[0] < utf8.RuneSelf {
		return 1, 1
	}
	r, size := utf8.DecodeRune(text)
	if r > 0xffff {
		return size, 2
	}
	return size, 1
}

// incoming is one packet of the client. Its data is its own.
type incoming struct {
	kind   byte
	data   []byte
	binary bool
}

// parseFrame reads the packet of a websocket message.
func parseFrame(data []byte, binary bool) (incoming, error) {
	if binary {
		return parseBinary(data)
	}
	if !utf8.Valid(data) {
		return incoming{}, errUTF8
	}
	return parsePacket(data)
}

// parsePacket reads one packet that came as text.
func parsePacket(text []byte) (incoming, error) {
	switch {
	case len(text) == 0:
		return incoming{}, errPacketType
	case text[0] == typeBinary:
		if len(text) < 2 || text[1] != typeMessage {
			return incoming{}, errPacketType
		}
		data, err := base64.StdEncoding.AppendDecode(nil, text[2:])
		return incoming{kind: typeMessage, data: data, binary: true}, err
	case strings.IndexByte("0123456", text[0]) < 0:
		return incoming{}, errPacketType
	}
	return incoming{kind: text[0], data: text[1:]}, nil
}

// parseBinary reads one packet that came as binary data, which can be only a message.
func parseBinary(data []byte) (incoming, error) {
	if !bytes.HasPrefix(data, []byte(binaryHead)) {
		return incoming{}, errPacketType
	}
	return incoming{kind: typeMessage, data: data[len(binaryHead):], binary: true}, nil
}

// maxDigits is how many digits the length of a packet has at most. No body is that long.
const maxDigits = 9

// nextPacket cuts the first packet off a payload in text.
func (s *Session) nextPacket(payload []byte) (first incoming, rest []byte, err error) {
	n := bytes.IndexByte(payload[:min(len(payload), maxDigits+1)], ':')
	if n < 1 || sio.LeadingDigits(payload[:n]) != n {
		return incoming{}, nil, errLength
	}
	length, _ := strconv.Atoi(string(payload[:n]))
	payload = payload[n+1:]
	end := 0
	for length > 0 && end < len(payload) {
		size, u := nextRune(payload[end:])
		end, length = end+size, length-u
	}
	if length != 0 {
		return incoming{}, nil, errLength
	}
	text := payload[:end]
	if !utf8.Valid(text) {
		return incoming{}, nil, errUTF8
	}
	first, err = parsePacket(s.plain(text))
	return first, payload[end:], err
}

// nextBinaryPacket cuts the first packet off a payload in the binary form.
func nextBinaryPacket(payload []byte) (first incoming, rest []byte, err error) {
	end := bytes.IndexByte(payload[:min(len(payload), maxDigits+2)], 0xff)
	if end < 2 || payload[0] > 1 {
		return incoming{}, nil, errLength
	}
	length := 0
	for _, digit := range payload[1:end] {
		if digit > 9 {
			return incoming{}, nil, errLength
		}
		length = length*10 + int(digit)
	}
	binary := payload[0] == 1
	if payload = payload[end+1:]; length > len(payload) {
		return incoming{}, nil, errLength
	}
	first, err = parseFrame(payload[:length:length], binary)
	return first, payload[length:], err
}

// plain undoes what clients 1.x do to text in a POST, unless the whole is in the binary form: they encode it as UTF-8
// twice. Nothing in the protocol says which version a client is, so what can be decoded twice is, until something comes
// that cannot. A client 2.x would have to send what looks like UTF-8 read as Latin-1, and nothing else before, to be
// misunderstood.
func (s *Session) plain(text []byte) []byte {
	if s.once || sio.IsASCII(text) {
		return text
	}
	inner, ok := undouble(text)
	if !ok {
		s.once = true
		return text
	}
	return inner
}

// undouble reads characters as bytes of UTF-8.
func undouble(text []byte) ([]byte, bool) {
	inner := make([]byte, 0, len(text))
	for _, r := range string(text) {
		if r > 0xff {
			return nil, false
		}
		inner = append(inner, byte(r))
	}
	return repairSurrogates(inner)
}

// repairSurrogates replaces lone surrogates, which versions 1.5 to 1.7 encode as if they were characters.
func repairSurrogates(text []byte) ([]byte, bool) {
	var out []byte
	for len(text) > 0 {
		r, size := utf8.DecodeRune(text)
		switch {
		case r != utf8.RuneError || size > 1:
			out = append(out, text[:size]...)
		case len(text) > 2 && text[0] == 0xed && text[1]>>5 == 5 && text[2]>>6 == 2:
			out = utf8.AppendRune(out, utf8.RuneError)
			size = 3
		default:
			return nil, false
		}
		text = text[size:]
	}
	return out, true
}
