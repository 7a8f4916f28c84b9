package redisstore

import (
	"encoding/binary"
	"fmt"
	"time"

	"github.com/z-open/socketauth/blacklist"
)

// The head of a session's record, which the scripts read too; common.lua says what is in it. After
// it comes the State, packed or in its own binary form.
const (
	headLen  = 1 + 4 + 4 + 7
	partLen  = 63
	maxParts = 15
	rawBit   = 0x40
	boundBit = 0x80

	maxSeconds = 1<<32 - 1
	maxMicros  = 1<<53 - 1 // what Lua can hold
)

var errRecord = fmt.Errorf("%w: a session", ErrCorrupt)

// encodeRecord returns the record of a session that has begun and has not ended.
func encodeRecord(state *blacklist.State, userID string, epoch int64) (string, error) {
	plain, err := state.AppendBinary(make([]byte, 0, 512))
	if err != nil {
		return "", fmt.Errorf("redisstore: %w", err)
	}
	session, _ := state.Session("", time.Time{})
	h := head{
		forgetAt: clamp(state.ForgetAt().Unix(), maxSeconds),
		epoch:    epoch,
		since:    clamp(session.Since.UnixMicro(), maxMicros),
		bound:    session.Bound,
	}
	body, packed := pack(plain, userID, h)
	h.raw = !packed
	return string(append(h.append(make([]byte, 0, headLen+len(body)), headLen+len(body)), body...)), nil
}

func clamp(n, most int64) int64 { return max(0, min(n, most)) }

// decodeRecord returns the session that a record is of, and its epoch.
func decodeRecord(text, userID string) (state blacklist.State, epoch int64, err error) {
	h, ok := parseHead(text)
	if !ok {
		return state, 0, errRecord
	}
	plain := []byte(text[headLen:])
	if !h.raw {
		if plain, ok = unpack(plain, userID, h); !ok {
			return state, 0, errRecord
		}
	}
	if err := state.UnmarshalBinary(plain); err != nil || state.UserID() != userID || state.Ended() != 0 {
		return blacklist.State{}, 0, errRecord
	}
	return state, h.epoch, nil
}

// head is what the scripts read of a record.
type head struct {
	raw, bound bool
	forgetAt   int64 // seconds
	epoch      int64
	since      int64 // microseconds
}

// append appends the head of a record of so many bytes.
func (h head) append(b []byte, length int) []byte {
	first := byte(min(max(1, (length+partLen-1)/partLen), maxParts))
	if h.raw {
		first |= rawBit
	}
	if h.bound {
		first |= boundBit
	}
	b = append(b, first)
	b = binary.BigEndian.AppendUint32(b, uint32(h.forgetAt))
	b = binary.BigEndian.AppendUint32(b, uint32(h.epoch))
	since := binary.BigEndian.AppendUint64(nil, uint64(h.since))
	return append(b, since[1:]...)
}

func parseHead(text string) (h head, ok bool) {
	if len(text) < headLen {
		return h, false
	}
	b := []byte(text[:headLen])
	h.raw, h.bound = b[0]&rawBit != 0, b[0]&boundBit != 0
	h.forgetAt, h.epoch = int64(binary.BigEndian.Uint32(b[1:])), int64(binary.BigEndian.Uint32(b[5:]))
	h.since = int64(binary.BigEndian.Uint64(b[8:]) & (1<<56 - 1))
	want := h.append(nil, len(text))
	return h, h.since <= maxMicros && want[0] == b[0]
}

// remains is what is left of a session that has ended.
type remains struct {
	why          blacklist.Verdict // 0: its epoch is over
	began, bound bool
	forgetAt     int64
	epoch        int64
}

func (r remains) encode() string {
	b := []byte{byte(r.why), 0}
	if r.began {
		b[1] |= 1
	}
	if r.bound {
		b[1] |= 2
	}
	b = binary.BigEndian.AppendUint32(b, uint32(r.forgetAt))
	return string(binary.BigEndian.AppendUint32(b, uint32(r.epoch)))
}

func parseRemains(text string) (r remains, err error) {
	if len(text) != 10 || text[1] > 3 || text[1] == 2 {
		return r, errRecord
	}
	switch r.why = blacklist.Verdict(text[0]); r.why {
	case 0, blacklist.LoggedOut, blacklist.Revoked, blacklist.SessionCompromised:
	default:
		return remains{}, errRecord
	}
	r.began, r.bound = text[1]&1 != 0, text[1]&2 != 0
	if !r.began && r.why == 0 {
		return remains{}, errRecord
	}
	b := []byte(text[2:])
	r.forgetAt, r.epoch = int64(binary.BigEndian.Uint32(b)), int64(binary.BigEndian.Uint32(b[4:]))
	return r, nil
}

// override is a mark and a cut that a revocation has left beside a record.
type override struct{ mark, cut int64 }

func parseOverride(text string) (o override, err error) {
	if text == "" {
		return o, nil
	}
	if len(text) != 16 {
		return o, errRecord
	}
	b := []byte(text)
	o.mark, o.cut = int64(binary.BigEndian.Uint64(b)), int64(binary.BigEndian.Uint64(b[8:]))
	if o.mark < 0 || o.cut < 0 {
		return override{}, errRecord
	}
	return o, nil
}

// entry is what is remembered of a user beside the sessions.
type entry struct {
	cutoff int64 // when the user was revoked last, microseconds
	mark   int64 // claims with a lower mark begin no session
}

func parseEntry(text string) (e entry, err error) {
	if text == "" {
		return e, nil
	}
	if len(text) != 24 {
		return e, fmt.Errorf("%w: a user", ErrCorrupt)
	}
	b := []byte(text)
	e.cutoff, e.mark = int64(binary.BigEndian.Uint64(b)), int64(binary.BigEndian.Uint64(b[8:]))
	if e.cutoff < 0 || e.mark < 0 {
		return entry{}, fmt.Errorf("%w: a user", ErrCorrupt)
	}
	return e, nil
}
