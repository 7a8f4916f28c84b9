package blacklist

import (
	"encoding/binary"
	"errors"

	"github.com/z-open/socketauth/internal/id"
)

// The binary form of a State: a version, fixed fields in big-endian order, then three strings, each
// with its length before it. Version 1, which is still read, had neither the mark nor the flags nor
// the last proof.
const (
	version1 = 1
	version2 = 2

	extra1 = 0     // bytes between the version and the common fields
	extra2 = 8 + 1 // the mark and the flags
	common = 4 + 1 + 1 + 16 + 16 + 8*4 + 5*8
	proof2 = 8 + 16 // after the common fields: provedAt and provedBy
)

// MarkOffset is where the mark is in the binary form: 8 bytes, big-endian, never negative. A store
// may raise it there.
const MarkOffset = 1

var errState = errors.New("blacklist: not a State in binary")

// AppendBinary implements encoding.BinaryAppender.
func (s *State) AppendBinary(b []byte) ([]byte, error) {
	b = append(b, version2)
	b = binary.BigEndian.AppendUint64(b, uint64(s.mark))
	b = append(b, s.flags)
	b = binary.BigEndian.AppendUint32(b, s.generation)
	confirmed := byte(0)
	if s.confirmed {
		confirmed = 1
	}
	b = append(b, confirmed, byte(s.ended))
	b = append(append(b, s.previous[:]...), s.holder[:]...)
	for _, n := range s.earlier {
		b = binary.BigEndian.AppendUint32(b, n)
	}
	for _, n := range [...]int64{s.confirmedAt, s.previousAt, s.expiresAt, s.since, s.seenAt, s.provedAt} {
		b = binary.BigEndian.AppendUint64(b, uint64(n))
	}
	b = append(b, s.provedBy[:]...)
	for _, text := range [...]string{s.userID, s.address, s.userAgent} {
		b = binary.AppendUvarint(b, uint64(len(text)))
		b = append(b, text...)
	}
	return b, nil
}

// MarshalBinary implements encoding.BinaryMarshaler.
func (s *State) MarshalBinary() ([]byte, error) { return s.AppendBinary(nil) }

// UnmarshalBinary implements encoding.BinaryUnmarshaler. It keeps nothing of data.
func (s *State) UnmarshalBinary(data []byte) error {
	if len(data) == 0 {
		return errState
	}
	var r State
	var b []byte // the common fields and what follows them
	switch version := data[0]; {
	case version == version1 && len(data) >= 1+extra1+common:
		b = data[1+extra1:]
	case version == version2 && len(data) >= 1+extra2+common+proof2:
		r.mark, r.flags = int64(binary.BigEndian.Uint64(data[MarkOffset:])), data[MarkOffset+8]
		b = data[1+extra2:]
	default:
		return errState
	}
	if r.mark < 0 || r.flags&^flagBound != 0 || b[4] > 1 {
		return errState
	}
	r.generation, r.confirmed, r.ended = binary.BigEndian.Uint32(b), b[4] == 1, Verdict(b[5])
	switch r.ended {
	case 0, SessionCompromised, LoggedOut, Revoked:
	default: // Accepted, say, would accept every token
		return errState
	}
	copy(r.previous[:], b[6:])
	copy(r.holder[:], b[22:])
	for n := range r.earlier {
		r.earlier[n] = binary.BigEndian.Uint32(b[38+4*n:])
	}
	for n, field := range [...]*int64{&r.confirmedAt, &r.previousAt, &r.expiresAt, &r.since, &r.seenAt} {
		*field = int64(binary.BigEndian.Uint64(b[70+8*n:]))
	}
	b = b[common:]
	if r.provedAt = r.since; data[0] != version1 {
		r.provedAt, r.provedBy = int64(binary.BigEndian.Uint64(b)), id.ID(b[8:proof2])
		b = b[proof2:]
	}
	for _, field := range [...]*string{&r.userID, &r.address, &r.userAgent} {
		length, n := binary.Uvarint(b)
		if n <= 0 || n > 1 && b[n-1] == 0 || length > uint64(len(b)-n) { // a last byte of 0: not the shortest form
			return errState
		}
		*field, b = string(b[n:n+int(length)]), b[n+int(length):]
	}
	if len(b) > 0 {
		return errState
	}
	*s = r
	return nil
}
