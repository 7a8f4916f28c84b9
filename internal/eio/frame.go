package eio

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"math/bits"
	"slices"
	"unicode/utf8"
)

// The opcodes of websocket frames (RFC 6455 section 5.2).
const (
	opContinuation = 0x0
	opText         = 0x1
	opBinary       = 0x2
	opClose        = 0x8
	opPing         = 0x9
	opPong         = 0xA
)

// The status codes of close frames that the server begins (RFC 6455 section 7.4.1).
const (
	statusProtocolError = 1002
	statusTooBig        = 1009
)

const (
	finalBit   = 0x80 // of the first byte of a frame
	maskBit    = 0x80 // of the second byte
	maxControl = 125  // how long the payload of a control frame may be
)

// frameError says what is wrong with a frame of the client.
type frameError string

func (e frameError) Error() string { return "websocket: " + string(e) }

var errLimit = errors.New("longer than MaxPayload")

// header is the header of one frame.
type header struct {
	opcode byte
	final  bool
	length uint64 // of the payload
	mask   [4]byte
}

func (h header) control() bool { return h.opcode >= opClose }

// parseHeader parses the header of a client's frame at the beginning of b. The size of a header
// that b has not all of is 0. Within a message, between its fragments, the frame has to be a
// continuation or a control frame.
func parseHeader(b []byte, within bool) (h header, size int, err error) {
	if len(b) < 2 {
		return header{}, 0, nil
	}
	h = header{opcode: b[0] & 0xF, final: b[0]&finalBit != 0, length: uint64(b[1] &^ maskBit)}
	switch {
	case b[0]&0x70 != 0:
		return header{}, 0, frameError("reserved bits are set")
	case h.opcode > opBinary && h.opcode < opClose || h.opcode > opPong:
		return header{}, 0, frameError(fmt.Sprintf("bad opcode %d", h.opcode))
	case h.control() && (!h.final || h.length > maxControl):
		return header{}, 0, frameError("a control frame is too long or fragmented")
	case b[1]&maskBit == 0:
		return header{}, 0, frameError("a frame is not masked")
	case h.opcode == opContinuation && !within:
		return header{}, 0, frameError("a continuation of no message")
	case h.opcode != opContinuation && !h.control() && within:
		return header{}, 0, frameError("a message within a message")
	}
	size = 2
	switch h.length {
	case 126:
		if size = 4; len(b) < size {
			return header{}, 0, nil
		}
		h.length = uint64(binary.BigEndian.Uint16(b[2:]))
	case 127:
		if size = 10; len(b) < size {
			return header{}, 0, nil
		}
		if h.length = binary.BigEndian.Uint64(b[2:]); h.length > math.MaxInt64 {
			return header{}, 0, errLimit
		}
	}
	if len(b) < size+len(h.mask) {
		return header{}, 0, nil
	}
	return h, size + copy(h.mask[:], b[size:]), nil
}

// decoder makes messages of the bytes that a client sends over a websocket.
type decoder struct {
	in      []byte   // what has not been decoded
	partial *partial // the message that has begun; nil between messages
}

// partial is a message of which a part has arrived.
type partial struct {
	data   []byte
	opcode byte
	frame  header // the one that is arriving, or the last one
	left   int    // how much of its payload has not arrived
}

// next returns the next message or control frame, with a payload of its own. If it has not arrived
// yet, kind is opContinuation, and in is empty or shorter than a control frame can be. Messages may
// have limit bytes.
func (d *decoder) next(limit int) (kind byte, payload []byte, err error) {
	for {
		if p := d.partial; p != nil && p.left > 0 {
			n := min(len(d.in), p.left)
			unmask(p.space(n), d.in[:n], p.frame.mask, p.arrived())
			d.in = d.in[n:]
			p.add(n)
			if p.left > 0 {
				return opContinuation, nil, nil
			}
		}
		if p := d.partial; p != nil && p.frame.final {
			d.partial = nil
			return p.opcode, p.whole(), nil
		}
		h, size, err := parseHeader(d.in, d.partial != nil)
		if size == 0 {
			return opContinuation, nil, err
		}
		whole := h.length <= uint64(len(d.in)-size)
		switch {
		case h.control() && !whole:
			return opContinuation, nil, nil
		case h.control():
			return h.opcode, d.take(h, size), nil
		case h.length > uint64(max(limit-d.partial.length(), 0)):
			return 0, nil, errLimit
		case d.partial == nil && h.final && whole:
			return h.opcode, d.take(h, size), nil
		case d.partial == nil:
			d.partial = &partial{opcode: h.opcode}
		}
		d.partial.frame, d.partial.left = h, int(h.length)
		d.in = d.in[size:]
	}
}

// take removes a frame, all of which has arrived, and returns its payload.
func (d *decoder) take(h header, size int) []byte {
	payload := make([]byte, h.length)
	unmask(payload, d.in[size:], h.mask, 0)
	d.in = d.in[size+len(payload):]
	return payload
}

func (p *partial) length() int {
	if p == nil {
		return 0
	}
	return len(p.data)
}

// arrived returns how much of the payload of the frame has arrived.
func (p *partial) arrived() int { return int(p.frame.length) - p.left }

// space returns room for the next n bytes, of at most left. It allocates no more than twice what
// has arrived, whatever length the client has announced. It doubles the room, since a message may
// come in fragments of one byte.
func (p *partial) space(n int) []byte {
	have := len(p.data)
	if cap(p.data)-have < n {
		size := max(2*cap(p.data), have+n)
		if p.frame.final {
			size = min(size, have+p.left)
		}
		grown := make([]byte, have, size)
		copy(grown, p.data)
		p.data = grown
	}
	return p.data[have : have+n]
}

// add counts n bytes that were written to space.
func (p *partial) add(n int) {
	p.data = p.data[:len(p.data)+n]
	p.left -= n
}

// whole returns the message, without much room behind it, because the receiver may keep it.
func (p *partial) whole() []byte {
	if cap(p.data)-len(p.data) > len(p.data)/4 {
		return bytes.Clone(p.data)
	}
	return slices.Clip(p.data)
}

// unmask writes src, a part of a payload that begins at pos, to dst without its mask. They are of
// the same length, and may be the same.
func unmask(dst, src []byte, mask [4]byte, pos int) {
	half := bits.RotateLeft32(binary.LittleEndian.Uint32(mask[:]), -8*(pos&3))
	key := uint64(half)<<32 | uint64(half)
	for len(dst) >= 8 && len(src) >= 8 {
		binary.LittleEndian.PutUint64(dst, binary.LittleEndian.Uint64(src)^key)
		dst, src = dst[8:], src[8:]
	}
	for i := range dst {
		dst[i] = src[i] ^ byte(key)
		key >>= 8
	}
}

// checkClose returns what is wrong with the payload of the client's close frame, if anything.
func checkClose(payload []byte) error {
	if len(payload) < 2 {
		return nil
	}
	switch code := binary.BigEndian.Uint16(payload); {
	case code < 1000, code == 1004, code == 1005, code == 1006, code > 1013 && code < 3000, code > 4999:
		return frameError(fmt.Sprintf("bad close code %d", code))
	case !utf8.Valid(payload[2:]):
		return frameError("the text of a close frame is not UTF-8")
	}
	return nil
}

// appendFrame encodes a packet as one unmasked, unfragmented frame.
func appendFrame(dst []byte, p Packet) []byte {
	opcode := byte(opText)
	switch {
	case p.Binary:
		opcode = opBinary
	case p.pong:
		opcode = opPong
	}
	dst = append(dst, finalBit|opcode)
	switch n := len(p.Head) + len(p.Data); {
	case n <= 125:
		dst = append(dst, byte(n))
	case n <= math.MaxUint16:
		dst = binary.BigEndian.AppendUint16(append(dst, 126), uint16(n))
	default:
		dst = binary.BigEndian.AppendUint64(append(dst, 127), uint64(n))
	}
	return append(append(dst, p.Head...), p.Data...)
}

// closeFrame encodes a close frame. A status of 0 is none.
func closeFrame(status uint16) []byte {
	if status == 0 {
		return []byte{finalBit | opClose, 0}
	}
	return binary.BigEndian.AppendUint16([]byte{finalBit | opClose, 2}, status)
}
