package eio3

import (
	"bytes"
	"encoding/base64"
	"errors"
	"iter"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/z-open/socketauth/internal/eio"
	"github.com/z-open/socketauth/internal/sio"
)

const (
	binaryHead = "\x04" // begins a binary message in a binary frame
	base64Head = "b4"   // begins a binary message in text
)

var (
	errBinary = errors.New("binary data that is not a message")
	errLength = errors.New("malformed length of a packet")
)

// portable returns the packet in a form that every client can read from a poll: clients 1.x
// misread text that is not ASCII.
func portable(p eio.Packet) eio.Packet {
	if p.JSON {
		p.Data = sio.ASCII(p.Data)
	}
	return p
}

// maxText is how long a poll response in text may be. With more, clients 1.x in a browser overflow
// their stack.
const maxText = 32 << 10

// AppendPayload implements eio.Protocol. It uses the binary form if a packet is binary or the text
// form is long, unless the client cannot read it.
func (protocol) AppendPayload(dst []byte, packets []eio.Packet, b64 bool) (payload []byte, contentType string) {
	if !b64 && slices.ContainsFunc(packets, func(p eio.Packet) bool { return p.Binary }) {
		return appendBinaryPayload(dst, packets), eio.ContentBinary
	}
	payload = appendPayload(dst, packets)
	if !b64 && len(payload) > maxText {
		return appendBinaryPayload(dst, packets), eio.ContentBinary
	}
	return payload, eio.ContentText
}

// appendPayload encodes packets as text, for one poll response.
func appendPayload(dst []byte, packets []eio.Packet) []byte {
	for _, p := range packets {
		p = portable(p)
		if p.Binary {
			dst = strconv.AppendInt(dst, int64(len(base64Head)+base64.StdEncoding.EncodedLen(len(p.Data))), 10)
			dst = append(append(dst, ':'), base64Head...)
			dst = base64.StdEncoding.AppendEncode(dst, p.Data)
			continue
		}
		dst = strconv.AppendInt(dst, int64(units([]byte(p.Head))+units(p.Data)), 10)
		dst = append(append(append(dst, ':'), p.Head...), p.Data...)
	}
	return dst
}

// appendBinaryPayload encodes packets in the binary form, for one poll response.
func appendBinaryPayload(dst []byte, packets []eio.Packet) []byte {
	for _, p := range packets {
		p = portable(p)
		kind := byte(0)
		if p.Binary {
			kind, p.Head = 1, binaryHead
		}
		dst = append(dst, kind)
		for _, digit := range strconv.Itoa(len(p.Head) + len(p.Data)) {
			dst = append(dst, byte(digit-'0'))
		}
		dst = append(append(append(dst, 0xff), p.Head...), p.Data...)
	}
	return dst
}

// Frame implements eio.Protocol. It marks a binary message as a message.
func (protocol) Frame(p eio.Packet, b64 bool) eio.Packet {
	switch {
	case p.Binary && b64:
		return eio.Packet{Head: base64Head, Data: base64.StdEncoding.AppendEncode(nil, p.Data)}
	case p.Binary:
		p.Head = binaryHead
	}
	return p
}

// units returns the length of UTF-8 text as the protocol counts it, in UTF-16 code units.
func units(text []byte) int {
	n := 0
	for len(text) > 0 {
		size, u := nextRune(text)
		text, n = text[size:], n+u
	}
	return n
}

// nextRune returns the length of the first character in bytes and in UTF-16 code units.
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

// parseFrame parses the packet in a websocket message.
func parseFrame(data []byte, binary bool) (eio.Incoming, error) {
	if binary {
		return parseBinary(data)
	}
	return eio.ParseText(data, base64Head)
}

// parseBinary parses one packet that came as binary data, which can only be a message.
func parseBinary(data []byte) (eio.Incoming, error) {
	if !bytes.HasPrefix(data, []byte(binaryHead)) {
		return eio.Incoming{}, errBinary
	}
	return eio.Incoming{Kind: eio.Message, Data: data[len(binaryHead):], Binary: true}, nil
}

// Packets implements eio.Link.
func (k *link) Packets(body []byte, contentType string) iter.Seq2[eio.Incoming, error] {
	next := k.nextPacket
	if kind, _, _ := strings.Cut(contentType, ";"); strings.EqualFold(strings.TrimSpace(kind), eio.ContentBinary) {
		next = nextBinaryPacket
	}
	return func(yield func(eio.Incoming, error) bool) {
		for more := true; more; more = len(body) > 0 {
			p, rest, err := next(body)
			if !yield(p, err) || err != nil {
				return
			}
			body = rest
		}
	}
}

// maxDigits is how many digits the length of a packet may have. No body is that long.
const maxDigits = 9

// nextPacket splits the first packet off a payload in the text form.
func (k *link) nextPacket(payload []byte) (first eio.Incoming, rest []byte, err error) {
	n := bytes.IndexByte(payload[:min(len(payload), maxDigits+1)], ':')
	if n < 1 || sio.LeadingDigits(payload[:n]) != n {
		return eio.Incoming{}, nil, errLength
	}
	length, _ := strconv.Atoi(string(payload[:n]))
	payload = payload[n+1:]
	end := 0
	for length > 0 && end < len(payload) {
		size, u := nextRune(payload[end:])
		end, length = end+size, length-u
	}
	if length != 0 {
		return eio.Incoming{}, nil, errLength
	}
	first, err = eio.ParseText(k.plain(payload[:end]), base64Head)
	return first, payload[end:], err
}

// nextBinaryPacket splits the first packet off a payload in the binary form.
func nextBinaryPacket(payload []byte) (first eio.Incoming, rest []byte, err error) {
	end := bytes.IndexByte(payload[:min(len(payload), maxDigits+2)], 0xff)
	if end < 2 || payload[0] > 1 {
		return eio.Incoming{}, nil, errLength
	}
	length := 0
	for _, digit := range payload[1:end] {
		if digit > 9 {
			return eio.Incoming{}, nil, errLength
		}
		length = length*10 + int(digit)
	}
	binary := payload[0] == 1
	if payload = payload[end+1:]; length > len(payload) {
		return eio.Incoming{}, nil, errLength
	}
	first, err = parseFrame(payload[:length:length], binary)
	return first, payload[length:], err
}
