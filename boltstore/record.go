package boltstore

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"time"

	bolt "go.etcd.io/bbolt"

	"github.com/z-open/socketauth/blacklist"
)

// The buckets. Each value begins with a checksum of its key and of what follows.
const (
	metaBucket     = "meta"     // "state" -> meta
	sessionsBucket = "sessions" // session id -> record
	ownedBucket    = "owned"    // user key and session id -> nothing
	entriesBucket  = "cutoffs"  // user key -> entry
	dueBucket      = "due"      // minute in which to look whether it is over, kind and key -> nothing

	metaKey = "state"
)

// meta is what the store knows of itself. Times are Unix microseconds.
type meta struct {
	birth     int64 // codes issued before are unknown
	forgotten int64 // when something was forgotten last
	allAt     int64 // when all were revoked last
	epoch     uint32
	// why says for what reason all were revoked: from each epoch on until the next entry.
	why []epochReason
}

type epochReason struct {
	epoch uint32
	why   blacklist.Verdict
}

// record is a session. If its epoch is over, the session was ended when all were revoked, so that
// nothing has to be written to end it.
type record struct {
	epoch uint32
	state blacklist.State
}

// entry is what is remembered of a user beside their sessions. Times are Unix microseconds.
type entry struct {
	revokedAt int64 // when the user was revoked last
	until     int64 // until when a code of before can live
	mark      int64 // claims with a lower mark begin no session
}

// leeway is how long sessions are remembered after they are over, since clocks differ;
// State.ForgetAt adds as much.
const leeway = time.Minute

const (
	format    = 1
	metaFixed = 1 + 3*8 + 4
	reasonLen = 4 + 1
)

func (m *meta) append(b []byte) []byte {
	b = append(b, format)
	for _, n := range [...]int64{m.birth, m.forgotten, m.allAt} {
		b = binary.BigEndian.AppendUint64(b, uint64(n))
	}
	b = binary.BigEndian.AppendUint32(b, m.epoch)
	for _, r := range m.why {
		b = append(binary.BigEndian.AppendUint32(b, r.epoch), byte(r.why))
	}
	return b
}

func parseMeta(b []byte) (m meta, err error) {
	if len(b) < metaFixed || (len(b)-metaFixed)%reasonLen != 0 {
		return meta{}, fmt.Errorf("%w: its state", ErrCorrupt)
	}
	if b[0] != format {
		return meta{}, fmt.Errorf("%w: format %d, want %d", ErrCorrupt, b[0], format)
	}
	for n, field := range [...]*int64{&m.birth, &m.forgotten, &m.allAt} {
		*field = int64(binary.BigEndian.Uint64(b[1+8*n:]))
	}
	m.epoch = binary.BigEndian.Uint32(b[1+3*8:])
	for rest, last := b[metaFixed:], uint32(0); len(rest) > 0; rest = rest[reasonLen:] {
		r := epochReason{binary.BigEndian.Uint32(rest), blacklist.Verdict(rest[4])}
		if r.epoch <= last || r.epoch > m.epoch || r.why != blacklist.LoggedOut && r.why != blacklist.Revoked {
			return meta{}, fmt.Errorf("%w: its state", ErrCorrupt)
		}
		m.why, last = append(m.why, r), r.epoch
	}
	if m.epoch > 0 && (len(m.why) == 0 || m.why[0].epoch != 1) {
		return meta{}, fmt.Errorf("%w: its state", ErrCorrupt)
	}
	return m, nil
}

// rewind reports whether the clock was set back so far that a code whose session is forgotten may
// be in time again. If so, codes issued before now are unknown, as in a new store.
func (m *meta) rewind(now time.Time) bool {
	if now.Add(leeway).UnixMicro() >= m.forgotten {
		return false
	}
	m.birth, m.forgotten = now.UnixMicro(), now.UnixMicro()
	return true
}

// end begins a new epoch: all sessions of earlier ones are over.
func (m *meta) end(why blacklist.Verdict, now time.Time) {
	m.epoch++
	m.allAt = max(m.allAt, now.UnixMicro())
	if n := len(m.why); n == 0 || m.why[n-1].why != why {
		m.why = append(m.why, epochReason{m.epoch, why})
	}
}

// reason returns why a session of an earlier epoch is over: the reason for which the next one
// began.
func (m *meta) reason(epoch uint32) (why blacklist.Verdict) {
	for _, r := range m.why {
		if r.epoch <= epoch+1 {
			why = r.why
		}
	}
	return why
}

func (r *record) append(b []byte) ([]byte, error) {
	return r.state.AppendBinary(binary.BigEndian.AppendUint32(b, r.epoch))
}

func parseRecord(b []byte) (r record, err error) {
	if len(b) < 4 {
		return record{}, fmt.Errorf("%w: a session", ErrCorrupt)
	}
	if err := r.state.UnmarshalBinary(b[4:]); err != nil {
		return record{}, fmt.Errorf("%w: a session: %w", ErrCorrupt, err)
	}
	r.epoch = binary.BigEndian.Uint32(b)
	return r, nil
}

func (e entry) append(b []byte) []byte {
	for _, n := range [...]int64{e.revokedAt, e.until, e.mark} {
		b = binary.BigEndian.AppendUint64(b, uint64(n))
	}
	return b
}

// parseEntry reads entries without a mark too, as they were before there were any.
func parseEntry(b []byte) (e entry, err error) {
	if len(b) != 16 && len(b) != 24 {
		return entry{}, fmt.Errorf("%w: a user's entry", ErrCorrupt)
	}
	for n, field := range [...]*int64{&e.revokedAt, &e.until, &e.mark} {
		if rest := b[min(8*n, len(b)):]; len(rest) > 0 {
			*field = int64(binary.BigEndian.Uint64(rest))
		}
	}
	return e, nil
}

// userKey returns the key of a user. It has one length, whatever the user's id is.
func userKey(userID string) []byte {
	key := sha256.Sum256([]byte(userID))
	return key[:]
}

// sessionKey returns the 128 bits of a session's id, and reports whether the id is well-formed.
func sessionKey(id string) (key []byte, ok bool) {
	if len(id) != 22 {
		return nil, false
	}
	key, err := base64.RawURLEncoding.Strict().DecodeString(id)
	return key, err == nil && len(key) == 16
}

func sessionID(key []byte) string { return base64.RawURLEncoding.EncodeToString(key) }

func bucket(tx *bolt.Tx, name string) (*bolt.Bucket, error) {
	b := tx.Bucket([]byte(name))
	if b == nil {
		return nil, fmt.Errorf("%w: it has no %q", ErrCorrupt, name)
	}
	return b, nil
}

func checksum(key, value []byte) uint32 {
	table := crc32.MakeTable(crc32.Castagnoli)
	return crc32.Update(crc32.Checksum(key, table), table, value)
}

// get returns a value without its checksum, or nil if there is none. It is valid during the
// transaction.
func get(tx *bolt.Tx, in string, key []byte) ([]byte, error) {
	b, err := bucket(tx, in)
	if err != nil {
		return nil, err
	}
	value := b.Get(key)
	if value == nil {
		return nil, nil
	}
	if len(value) < 4 || binary.BigEndian.Uint32(value) != checksum(key, value[4:]) {
		return nil, fmt.Errorf("%w: a wrong checksum in %q", ErrCorrupt, in)
	}
	return value[4:], nil
}

// put writes a value, and its checksum into the first 4 bytes.
func put(tx *bolt.Tx, in string, key, value []byte) error {
	b, err := bucket(tx, in)
	if err != nil {
		return err
	}
	binary.BigEndian.PutUint32(value, checksum(key, value[4:]))
	return b.Put(key, value)
}

func loadMeta(tx *bolt.Tx) (meta, error) {
	value, err := get(tx, metaBucket, []byte(metaKey))
	if err != nil {
		return meta{}, err
	}
	return parseMeta(value)
}

func (m *meta) save(tx *bolt.Tx) error {
	return put(tx, metaBucket, []byte(metaKey), m.append(make([]byte, 4)))
}

func loadEntry(tx *bolt.Tx, user []byte) (e entry, known bool, err error) {
	value, err := get(tx, entriesBucket, user)
	if value == nil || err != nil {
		return entry{}, false, err
	}
	e, err = parseEntry(value)
	return e, err == nil, err
}

// loadRecord returns a session as it was stored.
func loadRecord(tx *bolt.Tx, sid []byte) (r record, known bool, err error) {
	value, err := get(tx, sessionsBucket, sid)
	if value == nil || err != nil {
		return record{}, false, err
	}
	r, err = parseRecord(value)
	return r, err == nil, err
}

// load returns a session, ended if all were revoked since it was stored.
func (m *meta) load(tx *bolt.Tx, sid []byte) (r record, known bool, err error) {
	r, known, err = loadRecord(tx, sid)
	if !known || err != nil {
		return record{epoch: m.epoch}, false, err
	}
	if r.epoch < m.epoch {
		r.state.End(m.reason(r.epoch), time.Time{}, time.Time{})
	}
	return r, true, nil
}

// fits returns an error if a bucket is missing, and reports whether the file is empty.
func fits(tx *bolt.Tx) (empty bool, err error) {
	if first, _ := tx.Cursor().First(); first == nil {
		return true, nil
	}
	for _, name := range [...]string{metaBucket, sessionsBucket, ownedBucket, entriesBucket, dueBucket} {
		if _, err := bucket(tx, name); err != nil {
			return false, err
		}
	}
	_, err = loadMeta(tx)
	return false, err
}

// begin makes the buckets of a new file.
func begin(tx *bolt.Tx, now time.Time) error {
	for _, name := range [...]string{metaBucket, sessionsBucket, ownedBucket, entriesBucket, dueBucket} {
		if _, err := tx.CreateBucket([]byte(name)); err != nil {
			return err
		}
	}
	return (&meta{birth: now.UnixMicro(), forgotten: now.UnixMicro()}).save(tx)
}
