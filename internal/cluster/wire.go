package cluster

import (
	"crypto/hkdf"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"hash"
	"sync"
)

// form is what a message is to the bus itself.
type form byte

const (
	beat     form = iota + 1 // a heartbeat, on the control topic
	goodbye                  // the node stops, on the control topic
	question                 // on the control topic
	answer                   // on the inbox of the node that asked
	news                     // what Send was called with, on the topics of the caller
)

// nodeID names one start of a node.
type nodeID struct {
	name [NameLength]byte
	run  [16]byte
}

// header is what precedes the body of a message.
type header struct {
	form     form
	kind     Kind
	from     nodeID
	number   uint64 // rises with each message of the node
	previous uint64 // the number of the node's message before this one on the topic; 0: not known
	copied   uint64 // the same in the copies of a message on several topics; 0: there is one copy
	sent     int64  // by the sender's clock, in milliseconds since 1970
}

const (
	version    = 1
	headerSize = 3 + NameLength + 16 + 4*8
	macSize    = sha256.Size
	overhead   = headerSize + macSize
)

// MaxData is how many bytes one message carries. NATS takes messages of 1 MiB.
const MaxData = 1 << 20 * 15 / 16

// tag stands for a topic on the bus.
type tag [16]byte

// codec writes and reads messages. It is safe for concurrent use.
type codec struct {
	topics []byte    // the key of tags
	macs   sync.Pool // of *mac
}

// mac computes the MACs of messages.
type mac struct {
	hash hash.Hash
	sum  [macSize]byte
}

func newCodec(key []byte) (*codec, error) {
	if len(key) != 32 {
		return nil, fmt.Errorf("cluster: the key has %d bytes, not 32", len(key))
	}
	topics, err := hkdf.Expand(sha256.New, key, "socketauth cluster topics v1", 32)
	if err != nil {
		return nil, err
	}
	messages, err := hkdf.Expand(sha256.New, key, "socketauth cluster messages v1", 32)
	if err != nil {
		return nil, err
	}
	return &codec{topics: topics, macs: sync.Pool{New: func() any { return newMAC(messages) }}}, nil
}

func newMAC(key []byte) *mac { return &mac{hash: hmac.New(sha256.New, key)} }

// tag returns what stands for a topic on the bus. Nobody can tell from it which topic that is, or
// make it up, without the key.
func (c *codec) tag(t Topic) (tg tag) {
	h := hmac.New(sha256.New, c.topics)
	h.Write([]byte{t.Kind})
	h.Write([]byte(t.Name))
	copy(tg[:], h.Sum(nil))
	return tg
}

// String returns the topic of the broker.
func (t tag) String() string { return base64.RawURLEncoding.EncodeToString(t[:]) }

// of computes the MAC of a message on a topic. It is valid until the mac is used again.
func (m *mac) of(t tag, message []byte) []byte {
	m.hash.Reset()
	copy(m.sum[:], t[:]) // a copy on the stack would escape
	m.hash.Write(m.sum[:len(t)])
	m.hash.Write(message)
	return m.hash.Sum(m.sum[:0])
}

// seal returns a message for the topic.
func (c *codec) seal(t tag, h *header, body []byte) []byte {
	b := make([]byte, 0, overhead+len(body))
	b = append(b, version, byte(h.form), byte(h.kind))
	b = append(b, h.from.name[:]...)
	b = append(b, h.from.run[:]...)
	for _, n := range [...]uint64{h.number, h.previous, h.copied, uint64(h.sent)} {
		b = binary.BigEndian.AppendUint64(b, n)
	}
	b = append(b, body...)
	m := c.macs.Get().(*mac)
	b = append(b, m.of(t, b)...)
	c.macs.Put(m)
	return b
}

// open verifies and reads a message that came on the topic. The body is part of data.
func (c *codec) open(t tag, data []byte) (h header, body []byte, v verdict) {
	if len(data) < overhead || len(data) > overhead+MaxData {
		return h, nil, malformed
	}
	if data[0] != version {
		return h, nil, foreign
	}
	signed := len(data) - macSize
	m := c.macs.Get().(*mac)
	genuine := hmac.Equal(m.of(t, data[:signed]), data[signed:])
	c.macs.Put(m)
	if !genuine {
		return h, nil, forged
	}
	h.form, h.kind = form(data[1]), Kind(data[2])
	b := data[3:]
	b = b[copy(h.from.name[:], b):]
	b = b[copy(h.from.run[:], b):]
	h.number = binary.BigEndian.Uint64(b)
	h.previous = binary.BigEndian.Uint64(b[8:])
	h.copied = binary.BigEndian.Uint64(b[16:])
	h.sent = int64(binary.BigEndian.Uint64(b[24:]))
	if h.form < beat || h.form > news || h.number <= h.previous || !validName(h.from.name) {
		return h, nil, malformed
	}
	return h, data[headerSize:signed:signed], accepted
}

// validName reports whether all characters of a name are of base64url, so that it is safe in URLs
// and logs.
func validName(name [NameLength]byte) bool {
	for _, c := range name {
		if !('a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || c == '-' || c == '_') {
			return false
		}
	}
	return true
}

// heartbeat is the body of a beat. Where it does not fit into one message, only the first part has
// the nodes and the address.
type heartbeat struct {
	last     bool // of the parts
	first    bool
	hello    bool // the sender has only just begun to listen: who is not named answers at once
	address  []byte
	nodes    []byte // the runs of those that the sender knows, 16 bytes each
	counters []byte // the topics used since the last heartbeat, counterSize bytes each
}

const (
	counterSize    = len(tag{}) + 8
	countersInPart = 1024
	maxAddress     = 300
)

func (b *heartbeat) append(to []byte) []byte {
	flags := byte(0)
	if b.last {
		flags |= 1
	}
	if b.first {
		flags |= 2
	}
	if b.hello {
		flags |= 4
	}
	to = append(to, flags)
	to = binary.BigEndian.AppendUint16(to, uint16(len(b.address)))
	to = append(to, b.address...)
	to = binary.BigEndian.AppendUint16(to, uint16(len(b.nodes)/16))
	to = append(to, b.nodes...)
	return append(to, b.counters...)
}

// readHeartbeat reads the body of a beat, without a copy.
func readHeartbeat(body []byte) (b heartbeat, ok bool) {
	if len(body) < 1 || body[0] > 7 {
		return b, false
	}
	b.last, b.first, b.hello = body[0]&1 != 0, body[0]&2 != 0, body[0]&4 != 0
	if b.address, body, ok = cut(body[1:], 1); !ok || len(b.address) > maxAddress {
		return b, false
	}
	if b.nodes, body, ok = cut(body, 16); !ok {
		return b, false
	}
	b.counters = body
	return b, len(body)%counterSize == 0
}

// cut splits b after a number of elements that its first two bytes tell.
func cut(b []byte, size int) (elements, rest []byte, ok bool) {
	if len(b) < 2 {
		return nil, nil, false
	}
	n := int(binary.BigEndian.Uint16(b)) * size
	if b = b[2:]; len(b) < n {
		return nil, nil, false
	}
	return b[:n], b[n:], true
}

// A question's body is its number, the milliseconds for the answer, and the caller's data. An
// answer's body is the number of the question, the number of this part, whether it is the last, and
// data.
const (
	questionSize = 8 + 4
	answerSize   = 8 + 2 + 1
)

func appendQuestion(b []byte, id uint64, milliseconds uint32) []byte {
	return binary.BigEndian.AppendUint32(binary.BigEndian.AppendUint64(b, id), milliseconds)
}

func readQuestion(body []byte) (id uint64, milliseconds uint32, data []byte, ok bool) {
	if len(body) < questionSize {
		return 0, 0, nil, false
	}
	return binary.BigEndian.Uint64(body), binary.BigEndian.Uint32(body[8:]), body[questionSize:], true
}

// part is the body of one message of an answer.
type part struct {
	question uint64
	index    uint16
	state    partState
	data     []byte
}

type partState byte

const (
	partMore    partState = iota // others follow
	partLast                     // the answer is complete
	partRefused                  // there will be no answer
)

func (p *part) append(b []byte) []byte {
	b = binary.BigEndian.AppendUint64(b, p.question)
	b = binary.BigEndian.AppendUint16(b, p.index)
	return append(append(b, byte(p.state)), p.data...)
}

func readPart(body []byte) (p part, ok bool) {
	if len(body) < answerSize || body[10] > byte(partRefused) {
		return p, false
	}
	return part{
		binary.BigEndian.Uint64(body), binary.BigEndian.Uint16(body[8:]),
		partState(body[10]), body[answerSize:],
	}, true
}
