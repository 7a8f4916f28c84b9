package redisstore

import (
	"bytes"
	"encoding/binary"
	"math"
	"net/netip"
)

// pack makes the binary form of a State smaller: times are differences, what is zero is left out,
// and user agents are made of known phrases. A form that is not known, or does not come back as it
// was, is stored as it is.

// fields are what is in the binary form of a State, version 2. It says in package blacklist what
// they are.
type fields struct {
	mark                                                          int64
	flags                                                         byte
	generation                                                    uint32
	confirmed, ended                                              byte
	previous, holder                                              [16]byte
	earlier                                                       [8]uint32
	confirmedAt, previousAt, expiresAt, sinceAt, seenAt, provedAt int64
	provedBy                                                      [16]byte
	userID, address, userAgent                                    string
}

const (
	plainVersion = 2
	plainFixed   = 1 + 8 + 1 + 4 + 2 + 32 + 8*4 + 6*8 + 16
)

func parsePlain(b []byte) (f fields, ok bool) {
	if len(b) < plainFixed || b[0] != plainVersion {
		return f, false
	}
	f.mark, f.flags = int64(binary.BigEndian.Uint64(b[1:])), b[9]
	f.generation, f.confirmed, f.ended = binary.BigEndian.Uint32(b[10:]), b[14], b[15]
	f.previous, f.holder = [16]byte(b[16:]), [16]byte(b[32:])
	for n := range f.earlier {
		f.earlier[n] = binary.BigEndian.Uint32(b[48+4*n:])
	}
	for n, field := range f.times() {
		*field = int64(binary.BigEndian.Uint64(b[80+8*n:]))
	}
	f.provedBy = [16]byte(b[128:])
	b = b[plainFixed:]
	for _, field := range [...]*string{&f.userID, &f.address, &f.userAgent} {
		length, n := binary.Uvarint(b)
		if n <= 0 || length > uint64(len(b)-n) {
			return f, false
		}
		*field, b = string(b[n:n+int(length)]), b[n+int(length):]
	}
	return f, len(b) == 0
}

func (f *fields) times() [6]*int64 {
	return [...]*int64{&f.confirmedAt, &f.previousAt, &f.expiresAt, &f.sinceAt, &f.seenAt, &f.provedAt}
}

func (f *fields) plain() []byte {
	b := append(make([]byte, 0, plainFixed+len(f.userID)+len(f.address)+len(f.userAgent)+9), plainVersion)
	b = binary.BigEndian.AppendUint64(b, uint64(f.mark))
	b = append(b, f.flags)
	b = binary.BigEndian.AppendUint32(b, f.generation)
	b = append(b, f.confirmed, f.ended)
	b = append(append(b, f.previous[:]...), f.holder[:]...)
	for _, n := range f.earlier {
		b = binary.BigEndian.AppendUint32(b, n)
	}
	for _, field := range f.times() {
		b = binary.BigEndian.AppendUint64(b, uint64(*field))
	}
	b = append(b, f.provedBy[:]...)
	for _, text := range [...]string{f.userID, f.address, f.userAgent} {
		b = binary.AppendUvarint(b, uint64(len(text)))
		b = append(b, text...)
	}
	return b
}

// What a packed State begins with says what is in it.
const (
	hasConfirmed = 1 << iota
	hasMark
	hasProvedAt
	hasProvedBy
	hasHolder
	hasPrevious
	hasConfirmedAt
	hasPreviousAt
	hasSeenAt
	hasIPv4
	hasIPv6
	hasAddress
	hasUserAgent
	hasOtherAgent
	hasEarlier
)

// pack packs the binary form of a State. packed is false if that cannot be done.
func pack(plain []byte, userID string, h head) (body []byte, packed bool) {
	f, ok := parsePlain(plain)
	if !ok {
		return plain, false
	}
	body = f.pack()
	if again, ok := unpack(body, userID, h); !ok || !bytes.Equal(again, plain) {
		return plain, false
	}
	return body, true
}

func (f *fields) pack() []byte {
	var has uint16
	var rest []byte
	add := func(bit uint16, is bool, what func([]byte) []byte) {
		if is {
			has |= bit
			rest = what(rest)
		}
	}
	id := func(v [16]byte) func([]byte) []byte {
		return func(b []byte) []byte { return append(b, v[:]...) }
	}
	relative := func(v, to int64) func([]byte) []byte {
		return func(b []byte) []byte { return binary.AppendVarint(b, v-to) }
	}
	text := func(v string) func([]byte) []byte {
		return func(b []byte) []byte { return append(binary.AppendUvarint(b, uint64(len(v))), v...) }
	}
	none := [16]byte{}
	add(hasConfirmed, f.confirmed == 1, func(b []byte) []byte { return b })
	rest = binary.AppendUvarint(rest, uint64(f.generation))
	add(hasMark, f.mark != 0, relative(f.mark, f.sinceAt))
	add(hasProvedAt, f.provedAt != f.sinceAt, relative(f.provedAt, f.sinceAt))
	add(hasProvedBy, f.provedBy != none, id(f.provedBy))
	add(hasHolder, f.holder != none, id(f.holder))
	add(hasPrevious, f.previous != none, id(f.previous))
	add(hasConfirmedAt, f.confirmedAt != 0, relative(f.confirmedAt, f.sinceAt))
	add(hasPreviousAt, f.previousAt != 0, relative(f.previousAt, f.sinceAt))
	add(hasSeenAt, f.seenAt != f.seenBy(), relative(f.seenAt, f.seenBy()))
	add(hasEarlier, f.earlier != [8]uint32{}, f.appendEarlier)
	address, err := netip.ParseAddr(f.address)
	switch is := err == nil && address.String() == f.address && address.Zone() == ""; {
	case is && address.Is4():
		add(hasIPv4, true, func(b []byte) []byte { return append(b, address.AsSlice()...) })
	case is && !address.Is4In6():
		add(hasIPv6, true, func(b []byte) []byte { return append(b, address.AsSlice()...) })
	default:
		add(hasAddress, f.address != "", text(f.address))
	}
	coded, ok := packAgent(f.userAgent)
	add(hasUserAgent, ok && f.userAgent != "", func(b []byte) []byte { return append(b, coded...) })
	add(hasOtherAgent, !ok, func(b []byte) []byte { return append(b, f.userAgent...) })
	return append(binary.BigEndian.AppendUint16(make([]byte, 0, 2+len(rest)), has), rest...)
}

// seenBy is when the session was seen last, most likely.
func (f *fields) seenBy() int64 {
	if f.confirmedAt != 0 {
		return f.confirmedAt
	}
	return f.sinceAt
}

// appendEarlier appends two bits for each: 0 for zero, 1 for the most, 2 for what then follows.
func (f *fields) appendEarlier(b []byte) []byte {
	var kinds uint16
	for n, v := range f.earlier {
		switch v {
		case 0:
		case math.MaxUint32:
			kinds |= 1 << (2 * n)
		default:
			kinds |= 2 << (2 * n)
		}
	}
	b = binary.BigEndian.AppendUint16(b, kinds)
	for _, v := range f.earlier {
		if v != 0 && v != math.MaxUint32 {
			b = binary.BigEndian.AppendUint32(b, v)
		}
	}
	return b
}

// unpacker reads what pack has written.
type unpacker struct {
	rest   []byte
	failed bool
}

func (u *unpacker) take(n int) []byte {
	if n < 0 || n > len(u.rest) {
		u.failed = true
		return make([]byte, max(0, min(n, maxField)))
	}
	taken := u.rest[:n]
	u.rest = u.rest[n:]
	return taken
}

func (u *unpacker) uvarint() uint64 {
	v, n := binary.Uvarint(u.rest)
	if n <= 0 {
		u.failed = true
		return 0
	}
	u.rest = u.rest[n:]
	return v
}

func (u *unpacker) varint() int64 {
	v, n := binary.Varint(u.rest)
	if n <= 0 {
		u.failed = true
		return 0
	}
	u.rest = u.rest[n:]
	return v
}

// unpack returns the binary form of a State.
func unpack(body []byte, userID string, h head) (plain []byte, ok bool) {
	u := &unpacker{rest: body}
	has := binary.BigEndian.Uint16(u.take(2))
	f := fields{userID: userID, sinceAt: h.since, expiresAt: h.forgetAt - 60}
	if h.bound {
		f.flags = 1
	}
	if has&hasConfirmed != 0 {
		f.confirmed = 1
	}
	generation := u.uvarint()
	f.generation = uint32(generation)
	if has&hasMark != 0 {
		f.mark = f.sinceAt + u.varint()
	}
	f.provedAt = f.sinceAt
	if has&hasProvedAt != 0 {
		f.provedAt += u.varint()
	}
	if has&hasProvedBy != 0 {
		f.provedBy = [16]byte(u.take(16))
	}
	if has&hasHolder != 0 {
		f.holder = [16]byte(u.take(16))
	}
	if has&hasPrevious != 0 {
		f.previous = [16]byte(u.take(16))
	}
	if has&hasConfirmedAt != 0 {
		f.confirmedAt = f.sinceAt + u.varint()
	}
	if has&hasPreviousAt != 0 {
		f.previousAt = f.sinceAt + u.varint()
	}
	f.seenAt = f.seenBy()
	if has&hasSeenAt != 0 {
		f.seenAt += u.varint()
	}
	if has&hasEarlier != 0 {
		kinds := binary.BigEndian.Uint16(u.take(2))
		for n := range f.earlier {
			switch kinds >> (2 * n) & 3 {
			case 1:
				f.earlier[n] = math.MaxUint32
			case 2:
				f.earlier[n] = binary.BigEndian.Uint32(u.take(4))
			}
		}
	}
	switch {
	case has&hasIPv4 != 0:
		f.address = netip.AddrFrom4([4]byte(u.take(4))).String()
	case has&hasIPv6 != 0:
		f.address = netip.AddrFrom16([16]byte(u.take(16))).String()
	case has&hasAddress != 0:
		f.address = string(u.take(int(min(u.uvarint(), maxField))))
	}
	switch {
	case has&hasUserAgent != 0:
		agent, ok := unpackAgent(u.rest)
		f.userAgent, u.rest, u.failed = agent, nil, u.failed || !ok
	case has&hasOtherAgent != 0:
		f.userAgent, u.rest = string(u.rest), nil
	}
	if u.failed || len(u.rest) > 0 || generation > math.MaxUint32 {
		return nil, false
	}
	return f.plain(), true
}
