package blacklist

import (
	"encoding/binary"
	"net/netip"

	"github.com/z-open/socketauth/internal/id"
	"github.com/z-open/socketauth/internal/texts"
)

// record is what the store in memory keeps of a session. It has no pointers: other records are
// known by their numbers in the slab, and texts by theirs.
type record struct {
	sid  id.ID
	next uint32 // in the chain of the table by session; beside sid, since a chain is read by both
	due  uint32 // the next in the slot of the wheel

	previous, holder id.ID

	// While the session is on the list of its user's sessions: the record before it there, or, of
	// the first, the next in the chain of the table by user; and the record after it. From then on:
	// the hash of the user.
	before, after uint32

	user texts.Ref // while it is on the list, which owns the text

	flags byte
	rest  [restSize]byte // what shard.write packs
}

const (
	restSize  = 27
	spillSize = 4 // of the number of the text that has what is too long for rest
)

// The flags of a record.
const (
	recordListed  = 1 << iota // it is on the list of its user's sessions
	recordFirst               // it is the first there
	recordSpilled             // rest ends with the number of a text, which has what follows
	recordIPv4                // rest has the 4 bytes of the client's address
	recordAddress             // rest has the number of the text that the address is
)

// Link implements slab.Record.
func (r *record) Link() *uint32 { return &r.next }

func (r *record) is(flag byte) bool { return r.flags&flag != 0 }

func (r *record) set(flag byte, on bool) {
	if r.flags &^= flag; on {
		r.flags |= flag
	}
}

// content is what is packed in a record.
type content struct {
	agent  uint32    // the client's user agent, in memory.agents
	ipv4   [4]byte   // the client's address, if the record says so
	origin texts.Ref // the same, if the record says so
	epoch  uint64    // in which the session began; see memory.epochs
	State            // without its address and user agent
}

const maxContent = 2*binary.MaxVarintLen64 + 4 + maxPacked

// read returns what is packed in a record.
func (sh *shard) read(r *record) (c content) {
	var room [maxContent]byte
	b := r.rest[:]
	if r.is(recordSpilled) {
		b = append(room[:0], r.rest[:restSize-spillSize]...)
		b = sh.texts.Append(b, r.spill())
	}
	agent, n := binary.Uvarint(b)
	epoch, m := binary.Uvarint(b[n:])
	b = b[n+m:]
	c.agent, c.epoch = uint32(agent), epoch
	switch {
	case r.is(recordIPv4):
		b = b[copy(c.ipv4[:], b):]
	case r.is(recordAddress):
		c.origin = texts.Ref(binary.LittleEndian.Uint32(b))
		b = b[4:]
	}
	c.unpack(b, sh.m.base)
	c.previous, c.holder = r.previous, r.holder
	return c
}

func (r *record) spill() texts.Ref {
	return texts.Ref(binary.LittleEndian.Uint32(r.rest[restSize-spillSize:]))
}

// write packs c in a record.
func (sh *shard) write(r *record, c *content, oldest int64) {
	var room [maxContent]byte
	b := binary.AppendUvarint(room[:0], uint64(c.agent))
	b = binary.AppendUvarint(b, c.epoch)
	switch {
	case r.is(recordIPv4):
		b = append(b, c.ipv4[:]...)
	case r.is(recordAddress):
		b = binary.LittleEndian.AppendUint32(b, uint32(c.origin))
	}
	b = c.pack(b, sh.m.base, oldest)
	if r.is(recordSpilled) {
		sh.texts.Free(r.spill())
	}
	r.set(recordSpilled, len(b) > restSize)
	if n := copy(r.rest[:], b); n < len(b) {
		ref := sh.texts.PutBytes(b[restSize-spillSize:])
		binary.LittleEndian.PutUint32(r.rest[restSize-spillSize:], uint32(ref))
	}
	r.previous, r.holder = c.previous, c.holder
}

// setClient sets the client of a record, which is to be written.
func (sh *shard) setClient(r *record, c *content, address, agent string) {
	address, agent = address[:min(len(address), maxAddress)], agent[:min(len(agent), maxUserAgent)]
	c.agent = sh.m.agents.Replace(c.agent, agent)
	if r.is(recordAddress) {
		if sh.texts.Equal(c.origin, address) {
			return
		}
		sh.texts.Free(c.origin)
	}
	ipv4, ok := parseIPv4(address)
	r.set(recordIPv4, ok)
	r.set(recordAddress, !ok && address != "")
	if c.ipv4 = ipv4; r.is(recordAddress) {
		c.origin = sh.texts.Put(address)
	}
}

// address returns the address of a record's client.
func (sh *shard) address(r *record, c *content) string {
	switch {
	case r.is(recordIPv4):
		return netip.AddrFrom4(c.ipv4).String()
	case r.is(recordAddress):
		return sh.texts.Get(c.origin)
	}
	return ""
}

// parseIPv4 returns the bytes of an address, if it is one in the usual form.
func parseIPv4(s string) (b [4]byte, ok bool) {
	dots := 0
	for n := range len(s) { // since an error takes memory
		switch {
		case s[n] == '.':
			dots++
		case s[n] < '0' || s[n] > '9':
			return b, false
		}
	}
	if dots != 3 {
		return b, false
	}
	a, err := netip.ParseAddr(s) // which takes no other form
	if err != nil {
		return b, false
	}
	return a.As4(), true
}
