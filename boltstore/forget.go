package boltstore

import (
	"bytes"
	"encoding/binary"
	"errors"
	"time"

	bolt "go.etcd.io/bbolt"
)

// sweepsPerStep is how many records that may be over each step looks at. It is more than a step can
// add, so that they become fewer.
const sweepsPerStep = 8

// The kinds of records that are looked at when their time has come.
const (
	dueSession = 1
	dueEntry   = 2
)

// save stores a session. If it is new, save also notes when to look whether it is over.
func (r *record) save(tx *bolt.Tx, sid []byte, known bool) error {
	value, err := r.append(make([]byte, 4, 256))
	if err != nil {
		return err
	}
	if err := put(tx, sessionsBucket, sid, value); err != nil || known {
		return err
	}
	return awaitEnd(tx, dueSession, sid, r.state.ForgetAt())
}

func (e entry) save(tx *bolt.Tx, user []byte, known bool) error {
	if err := put(tx, entriesBucket, user, e.append(make([]byte, 4))); err != nil || known {
		return err
	}
	return awaitEnd(tx, dueEntry, user, e.forgetAt())
}

func (e entry) forgetAt() time.Time { return time.UnixMicro(e.until).Add(leeway) }

// awaitEnd notes when to look whether a record is over. If the record was prolonged meanwhile, it
// is put off then.
func awaitEnd(tx *bolt.Tx, kind byte, key []byte, at time.Time) error {
	b, err := bucket(tx, dueBucket)
	if err != nil {
		return err
	}
	due := binary.BigEndian.AppendUint64(make([]byte, 0, 9+len(key)), uint64(max(0, at.Unix()/60)+1))
	return b.Put(append(append(due, kind), key...), nil)
}

func damagedDue(k []byte) bool { return len(k) <= 9 }

// sweep removes a few of the records that are over.
func sweep(tx *bolt.Tx, now time.Time, budget int) (swept bool, err error) {
	b, err := bucket(tx, dueBucket)
	if err != nil {
		return false, err
	}
	minute := binary.BigEndian.AppendUint64(nil, uint64(max(0, now.Unix()/60)))
	var due [][]byte
	c := b.Cursor()
	for k, _ := c.First(); k != nil && len(due) < budget && (damagedDue(k) || bytes.Compare(k[:8], minute) <= 0); k, _ = c.Next() {
		due = append(due, bytes.Clone(k))
	}
	if len(due) == 0 {
		return false, nil
	}
	forgotten := false
	for _, k := range due {
		if err := b.Delete(k); err != nil {
			return false, err
		}
		if damagedDue(k) { // which must not block the others
			continue
		}
		kind, key := k[8], k[9:]
		look := forgetSession
		if kind == dueEntry {
			look = forgetEntry
		}
		over, err := look(tx, key, now)
		if errors.Is(err, ErrCorrupt) {
			continue // whoever asks for it is told; it stays
		}
		if err != nil {
			return false, err
		}
		forgotten = forgotten || over
	}
	if !forgotten {
		return true, nil
	}
	m, err := loadMeta(tx)
	if err != nil {
		return false, err
	}
	m.forgotten = max(m.forgotten, now.UnixMicro())
	return true, m.save(tx)
}

func forgetSession(tx *bolt.Tx, sid []byte, now time.Time) (over bool, err error) {
	r, known, err := loadRecord(tx, sid)
	if !known || err != nil {
		return false, err
	}
	if at := r.state.ForgetAt(); at.After(now) {
		return false, awaitEnd(tx, dueSession, sid, at)
	}
	if err := disown(tx, userKey(r.state.UserID()), sid); err != nil {
		return false, err
	}
	sessions, err := bucket(tx, sessionsBucket)
	if err != nil {
		return false, err
	}
	return true, sessions.Delete(sid)
}

func forgetEntry(tx *bolt.Tx, user []byte, now time.Time) (over bool, err error) {
	e, known, err := loadEntry(tx, user)
	if !known || err != nil {
		return false, err
	}
	if at := e.forgetAt(); at.After(now) {
		return false, awaitEnd(tx, dueEntry, user, at)
	}
	entries, err := bucket(tx, entriesBucket)
	if err != nil {
		return false, err
	}
	return true, entries.Delete(user)
}
