package blacklist

import (
	"encoding/binary"
	"math"

	"github.com/z-open/socketauth/internal/id"
)

// This file is the form in which the store in memory keeps a State. What is usual takes a few
// bytes, and what is not takes none where it is absent. It is not for storing: a State has
// AppendBinary for that.

// What a packed State has, beside the numbers that each one has.
const (
	packedConfirmed  = 1 << iota
	packedBound      //
	packedEndedOne   // two bits
	packedEndedTwo   //
	packedPreviousAt // if not, n-1 was replaced too long ago to matter
	packedMark       //
	packedProof      // if not, the last proof is the log-in
	packedRare       // another byte
)

// The other byte has how many of the earlier generations matter, and this flag.
const packedProvedBy = 1 << 7

// maxPacked is the most that pack appends.
const maxPacked = 2 + 9*binary.MaxVarintLen64 + 8*binary.MaxVarintLen32 + 16

var endedVerdicts = [4]Verdict{0, SessionCompromised, LoggedOut, Revoked}

// pack appends what State keeps apart from the two ids, the user, the address and the user agent.
// Times are kept as differences, from base if from nothing else. What was replaced before oldest is
// kept as replaced too long ago. Both are Unix microseconds.
func (s *State) pack(b []byte, base, oldest int64) []byte {
	var flags, rare byte
	set := func(flag byte, on bool) {
		if on {
			flags |= flag
		}
	}
	set(packedConfirmed, s.confirmed)
	set(packedBound, s.bound())
	for n, v := range endedVerdicts {
		set(byte(n)*packedEndedOne, s.ended == v)
	}
	set(packedPreviousAt, s.previousAt >= oldest && s.previousAt != 0)
	set(packedMark, s.mark != 0)
	set(packedProof, s.provedAt != s.since || s.provedBy != id.ID{})
	if flags&packedPreviousAt != 0 {
		rare = s.earlierSince(oldest)
	}
	if (s.provedBy != id.ID{}) {
		rare |= packedProvedBy
	}
	set(packedRare, rare != 0)

	b = append(b, flags)
	b = binary.AppendUvarint(b, uint64(s.generation))
	b = binary.AppendVarint(b, s.seenAt-base)
	b = binary.AppendVarint(b, s.seenAt-s.since)
	b = binary.AppendVarint(b, s.expiresAt-s.seenAt/1e6)
	if s.confirmed {
		b = binary.AppendVarint(b, s.confirmedAt-s.seenAt)
	}
	if flags&packedPreviousAt != 0 {
		b = binary.AppendVarint(b, s.seenAt-s.previousAt)
	}
	if flags&packedMark != 0 {
		b = binary.AppendVarint(b, s.mark-base)
	}
	if flags&packedProof != 0 {
		b = binary.AppendVarint(b, s.provedAt-s.since)
	}
	if rare == 0 {
		return b
	}
	b = append(b, rare)
	for n, last := byte(0), uint32(0); n < rare&^packedProvedBy; n++ {
		b = binary.AppendUvarint(b, uint64(s.earlier[n]-last))
		last = s.earlier[n]
	}
	if rare&packedProvedBy != 0 {
		b = append(b, s.provedBy[:]...)
	}
	return b
}

// earlierSince returns how many generations before n-1 there were that were replaced since oldest.
func (s *State) earlierSince(oldest int64) (n byte) {
	for int(n) < len(s.earlier) && int64(n)+3 <= int64(s.generation) &&
		s.earlier[n] < math.MaxUint32 && s.previousAt-int64(s.earlier[n]) >= oldest {
		n++
	}
	return n
}

// unpack sets what pack has kept, and returns what follows it.
func (s *State) unpack(b []byte, base int64) (rest []byte) {
	varint := func() int64 {
		v, n := binary.Varint(b)
		b = b[n:]
		return v
	}
	uvarint := func() uint32 {
		v, n := binary.Uvarint(b)
		b = b[n:]
		return uint32(v)
	}
	flags := b[0]
	b = b[1:]
	s.confirmed = flags&packedConfirmed != 0
	if flags&packedBound != 0 {
		s.flags = flagBound
	}
	s.ended = endedVerdicts[flags/packedEndedOne%4]
	s.generation = uvarint()
	s.seenAt = base + varint()
	s.since = s.seenAt - varint()
	s.expiresAt = s.seenAt/1e6 + varint()
	if s.confirmed {
		s.confirmedAt = s.seenAt + varint()
	}
	if flags&packedPreviousAt != 0 {
		s.previousAt = s.seenAt - varint()
	}
	if flags&packedMark != 0 {
		s.mark = base + varint()
	}
	if s.provedAt = s.since; flags&packedProof != 0 {
		s.provedAt += varint()
	}
	rare := byte(0)
	if flags&packedRare != 0 {
		rare = b[0]
		b = b[1:]
	}
	last := uint32(0)
	for n := range s.earlier {
		s.earlier[n] = math.MaxUint32 // too long ago
		if byte(n) < rare&^packedProvedBy {
			last += uvarint()
			s.earlier[n] = last
		}
	}
	if rare&packedProvedBy != 0 {
		b = b[copy(s.provedBy[:], b):]
	}
	return b
}
