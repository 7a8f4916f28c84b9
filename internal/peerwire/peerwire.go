// Package peerwire has the form of what the processes of an app tell and ask each other. Its
// readers do not trust what they read: they return false for anything that the writers do not
// produce.
//
// Numbers are unsigned varints, strings have their length before them, and lists their number of
// elements.
package peerwire

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"time"

	"github.com/z-open/socketauth/internal/engine"
	"github.com/z-open/socketauth/internal/hub"
)

// Target says which sockets something is about: those of one server of the app, by its number, that
// are in at least one of the groups.
type Target struct {
	Server int
	Groups []hub.Group
}

// Append appends the target to b.
func (t Target) Append(b []byte) []byte {
	b = binary.AppendUvarint(b, uint64(t.Server))
	b = binary.AppendUvarint(b, uint64(len(t.Groups)))
	for _, g := range t.Groups {
		b = appendString(append(b, g.Kind), g.Name)
	}
	return b
}

// ParseTarget reads a target.
func ParseTarget(b []byte) (Target, bool) {
	r := reader{rest: b}
	t := r.target()
	return t, r.done()
}

// AppendEmit appends a message for the target to b.
func AppendEmit(b []byte, t Target, m *engine.Message) []byte {
	b = appendString(t.Append(b), m.Text)
	b = binary.AppendUvarint(b, uint64(len(m.Attachments)))
	for _, data := range m.Attachments {
		b = appendString(b, data)
	}
	return b
}

// ParseEmit reads what AppendEmit has written. The message has no copy of b.
func ParseEmit(b []byte) (Target, *engine.Message, bool) {
	r := reader{rest: b}
	t := r.target()
	m := &engine.Message{Text: r.bytes()}
	for range r.count(1) {
		m.Attachments = append(m.Attachments, r.bytes())
	}
	return t, m, r.done() && bytes.HasPrefix(m.Text, []byte(`["`)) && json.Valid(m.Text)
}

// Revocation says which sessions have ended: one of a user, all of a user except one, or all.
type Revocation struct {
	UserID, SessionID, Except string
	All                       bool
}

// Append appends the revocation to b.
func (r Revocation) Append(b []byte) []byte {
	b = appendString(appendString(appendString(b, r.UserID), r.SessionID), r.Except)
	if r.All {
		return append(b, 1)
	}
	return append(b, 0)
}

// ParseRevocation reads a revocation.
func ParseRevocation(b []byte) (Revocation, bool) {
	r := reader{rest: b}
	v := Revocation{UserID: string(r.bytes()), SessionID: string(r.bytes()), Except: string(r.bytes())}
	all := r.byte()
	v.All = all == 1
	return v, r.done() && all <= 1 && v.All == (v.UserID == "")
}

// Refresh says that the claims of the sessions of a user, or of one of them, are out of date if
// their mark is lower.
type Refresh struct {
	UserID, SessionID string
	Mark              int64 // never negative
}

// Append appends the refresh to b.
func (r Refresh) Append(b []byte) []byte {
	return binary.BigEndian.AppendUint64(appendString(appendString(b, r.UserID), r.SessionID), uint64(r.Mark))
}

// ParseRefresh reads a refresh.
func ParseRefresh(b []byte) (Refresh, bool) {
	r := reader{rest: b}
	v := Refresh{UserID: string(r.bytes()), SessionID: string(r.bytes())}
	if mark := r.next(8); len(mark) == 8 {
		v.Mark = int64(binary.BigEndian.Uint64(mark))
	}
	return v, r.done() && v.UserID != "" && v.Mark >= 0
}

// Socket is an authenticated socket.
type Socket struct {
	UserID, SessionID string
	Since             time.Time
}

// AppendSockets appends a list of sockets to b.
func AppendSockets(b []byte, sockets []Socket) []byte {
	b = binary.AppendUvarint(b, uint64(len(sockets)))
	for _, s := range sockets {
		b = appendString(appendString(b, s.UserID), s.SessionID)
		b = binary.BigEndian.AppendUint64(b, uint64(s.Since.UnixNano()))
	}
	return b
}

// ParseSockets reads a list of sockets.
func ParseSockets(b []byte) ([]Socket, bool) {
	const least = 1 + 1 + 8
	r := reader{rest: b}
	sockets := make([]Socket, 0, r.count(least))
	for range cap(sockets) {
		s := Socket{UserID: string(r.bytes()), SessionID: string(r.bytes())}
		if at := r.next(8); len(at) == 8 {
			s.Since = time.Unix(0, int64(binary.BigEndian.Uint64(at)))
		}
		sockets = append(sockets, s)
	}
	return sockets, r.done()
}

// AppendNames appends a list of strings to b.
func AppendNames(b []byte, names []string) []byte {
	b = binary.AppendUvarint(b, uint64(len(names)))
	for _, name := range names {
		b = appendString(b, name)
	}
	return b
}

// ParseNames reads a list of strings.
func ParseNames(b []byte) ([]string, bool) {
	r := reader{rest: b}
	names := make([]string, 0, r.count(1))
	for range cap(names) {
		names = append(names, string(r.bytes()))
	}
	return names, r.done()
}

// AppendCounts appends a list of numbers to b.
func AppendCounts(b []byte, counts ...int) []byte {
	b = binary.AppendUvarint(b, uint64(len(counts)))
	for _, n := range counts {
		b = binary.AppendUvarint(b, uint64(n))
	}
	return b
}

// ParseCounts reads a list of so many numbers.
func ParseCounts(b []byte, many int) ([]int, bool) {
	r := reader{rest: b}
	if r.count(1) != many {
		return nil, false
	}
	counts := make([]int, 0, many)
	for range many {
		counts = append(counts, r.number())
	}
	return counts, r.done()
}

func appendString[S string | []byte](b []byte, s S) []byte {
	return append(binary.AppendUvarint(b, uint64(len(s))), s...)
}

// reader reads what is left. After a fault it has nothing left, and done returns false.
type reader struct {
	rest   []byte
	failed bool
}

// done reports whether everything was read, without a fault.
func (r *reader) done() bool { return !r.failed && len(r.rest) == 0 }

func (r *reader) fail() {
	r.rest, r.failed = nil, true
}

// next returns the next n bytes, or nil.
func (r *reader) next(n int) []byte {
	if n > len(r.rest) {
		r.fail()
		return nil
	}
	b := r.rest[:n:n]
	r.rest = r.rest[n:]
	return b
}

func (r *reader) byte() byte {
	if b := r.next(1); b != nil {
		return b[0]
	}
	return 0
}

// number reads a number that an int32 can hold.
func (r *reader) number() int {
	n, size := binary.Uvarint(r.rest)
	if size <= 0 || n > 1<<31-1 {
		r.fail()
		return 0
	}
	r.rest = r.rest[size:]
	return int(n)
}

// count reads how many elements follow, of at least so many bytes each.
func (r *reader) count(least int) int {
	n := r.number()
	if n > len(r.rest)/least {
		r.fail()
		return 0
	}
	return n
}

func (r *reader) bytes() []byte { return r.next(r.number()) }

func (r *reader) target() Target {
	t := Target{Server: r.number()}
	for range r.count(2) {
		t.Groups = append(t.Groups, hub.Group{Kind: r.byte(), Name: string(r.bytes())})
	}
	return t
}
