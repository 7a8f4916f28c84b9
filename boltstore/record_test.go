package boltstore

import (
	"bytes"
	"encoding/binary"
	"testing"
	"time"

	bolt "go.etcd.io/bbolt"

	"github.com/z-open/socketauth/blacklist"
)

func TestReasonIsThatOfTheNextEpoch(t *testing.T) {
	var m meta
	whys := []blacklist.Verdict{blacklist.Revoked, blacklist.Revoked, blacklist.LoggedOut, blacklist.LoggedOut, blacklist.Revoked, blacklist.LoggedOut}
	for n, why := range whys {
		m.end(why, time.UnixMicro(int64(n)))
	}
	back, err := parseMeta(m.append(nil))
	if err != nil {
		t.Fatal(err)
	}
	for epoch, why := range whys {
		if got := back.reason(uint32(epoch)); got != why {
			t.Errorf("of epoch %d: %d, want %d", epoch, got, why)
		}
	}
	if len(m.why) != 4 {
		t.Errorf("%d reasons kept, want one for each change", len(m.why))
	}
}

func TestRevokeAllCountsOnce(t *testing.T) {
	s := fresh(t)
	const living, part = 10_500, 500 // more than one part of the count
	for n := 0; n < living+part; n += part {
		err := s.db.Update(func(tx *bolt.Tx) error {
			now := time.Now()
			for range part {
				p := presentation(newCode("anna"), now)
				if n >= living { // this session is over
					p.SuccessorExpiresAt = now.Add(-time.Minute)
					p.Token.ExpiresAt = p.SuccessorExpiresAt
				}
				if _, _, _, err := decide(tx, p.Token, now, func(st *blacklist.State, now time.Time) (blacklist.Result, blacklist.Change) {
					return st.Present(p, now)
				}); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	for _, want := range []int{living, 0} {
		c, err := s.Revoke(t.Context(), blacklist.Revocation{All: true, Why: blacklist.Revoked})
		if err != nil || c.Sessions != want {
			t.Errorf("%d ended, want %d, %v", c.Sessions, want, err)
		}
	}
	if list, err := s.Sessions(t.Context(), "anna"); len(list) != 0 || err != nil {
		t.Errorf("%d sessions, %v", len(list), err)
	}
}

func FuzzRecords(f *testing.F) {
	m := meta{birth: 1, forgotten: 2}
	f.Add(m.append(nil))
	m.end(blacklist.Revoked, time.Now())
	m.end(blacklist.LoggedOut, time.Now())
	f.Add(m.append(nil))
	f.Add(entry{1, 2, 3}.append(nil))
	r := record{epoch: 7}
	code := newCode("anna")
	r.state.Present(presentation(code, time.Now()), time.Now())
	b, _ := r.append(nil)
	f.Add(b)
	r = record{epoch: 7}
	code = newCode("anna")
	code.Bind = "a key"
	p := presentation(code, time.Now())
	p.Confirming = true
	r.state.Present(p, time.Now())
	b, _ = r.append(nil)
	f.Add(b)
	f.Fuzz(func(t *testing.T, data []byte) {
		same := func(again []byte) {
			t.Helper()
			if !bytes.Equal(again, data) {
				t.Errorf("%x came back as %x", data, again)
			}
		}
		if m, err := parseMeta(data); err == nil {
			same(m.append(nil))
			for _, epoch := range []uint32{0, m.epoch / 2, m.epoch - min(1, m.epoch)} {
				if why := m.reason(epoch); epoch < m.epoch && why != blacklist.Revoked && why != blacklist.LoggedOut {
					t.Errorf("epoch %d of %d ended for %d", epoch, m.epoch, why)
				}
			}
		}
		// Entries and records of earlier versions are read, and written as those of today.
		if e, err := parseEntry(data); err == nil {
			if back, err := parseEntry(e.append(nil)); err != nil || back != e {
				t.Errorf("%+v came back as %+v, %v", e, back, err)
			}
		}
		if r, err := parseRecord(data); err == nil {
			again, _ := r.append(nil)
			if back, err := parseRecord(again); err != nil || back != r {
				t.Errorf("%+v came back as %+v, %v", r, back, err)
			}
		}
	})
}

func TestEntryWithoutMark(t *testing.T) {
	// Guards: users' records in files from before marks existed can be read.
	old := binary.BigEndian.AppendUint64(binary.BigEndian.AppendUint64(nil, 7), 8)
	if e, err := parseEntry(old); err != nil || e != (entry{revokedAt: 7, until: 8}) {
		t.Errorf("%+v, %v", e, err)
	}
	for n := range 30 {
		if _, err := parseEntry(make([]byte, n)); (err == nil) != (n == 16 || n == 24) {
			t.Errorf("%d bytes: %v", n, err)
		}
	}
}
