package boltstore

import (
	"testing"
	"time"

	bolt "go.etcd.io/bbolt"

	"github.com/z-open/socketauth/blacklist"
)

// at makes steps at times that the test chooses.
type at struct {
	t *testing.T
	s *Store
}

func (a at) present(now time.Time, p blacklist.Presentation) blacklist.Verdict {
	a.t.Helper()
	var r blacklist.Result
	err := a.s.db.Update(func(tx *bolt.Tx) (err error) {
		r, _, _, err = decide(tx, p.Token, now, func(st *blacklist.State, now time.Time) (blacklist.Result, blacklist.Change) {
			return st.Present(p, now)
		})
		return err
	})
	if err != nil {
		a.t.Fatal(err)
	}
	return r.Verdict
}

func (a at) sweep(now time.Time) {
	a.t.Helper()
	if err := a.s.db.Update(func(tx *bolt.Tx) error { _, err := sweep(tx, now, 1000); return err }); err != nil {
		a.t.Fatal(err)
	}
}

func (a at) wants(want, got blacklist.Verdict) {
	a.t.Helper()
	if got != want {
		a.t.Errorf("verdict %d, want %d", got, want)
	}
}

func TestClockSetBackRevivesNoCode(t *testing.T) {
	// Guards: when the clock was set back, a used code whose session was forgotten could start a
	// second session.
	a := at{t, fresh(t)}
	start := time.Now().Add(time.Second)
	codeAt := func(now time.Time) blacklist.TokenRef {
		code := newCode("anna")
		code.IssuedAt, code.AuthTime, code.ExpiresAt = now, now, now.Add(30*time.Second)
		return code
	}
	used, unused := codeAt(start), codeAt(start)
	p := presentation(used, start)
	a.wants(blacklist.Accepted, a.present(start, p))
	a.sweep(start.Add(3 * time.Hour)) // the clock has run ahead
	wantKept(t, a.s, 0, 0, 0)

	a.wants(blacklist.Unknown, a.present(start.Add(time.Second), p))
	a.wants(blacklist.Unknown, a.present(start.Add(time.Second), presentation(unused, start)))
	later := codeAt(start.Add(2 * time.Second))
	a.wants(blacklist.Accepted, a.present(start.Add(2*time.Second), presentation(later, start))) // logins work
	a.wants(blacklist.Unknown, a.present(start.Add(2*time.Second), p))
	ahead := codeAt(start.Add(3 * time.Hour)) // issued by the clock that ran ahead
	a.wants(blacklist.Unknown, a.present(start.Add(3*time.Second), presentation(ahead, start)))
}

func TestCheckSeesAClockSetBackToo(t *testing.T) {
	s := fresh(t)
	code := newCode("anna")
	if v, err := verdict(s.Check(t.Context(), code, 0, 0)); v != blacklist.Accepted {
		t.Errorf("verdict %d, %v", v, err)
	}
	err := s.db.Update(func(tx *bolt.Tx) error {
		m, err := loadMeta(tx)
		m.forgotten = time.Now().Add(time.Hour).UnixMicro()
		if err == nil {
			err = m.save(tx)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	if v, err := verdict(s.Check(t.Context(), code, 0, 0)); v != blacklist.Unknown {
		t.Errorf("verdict %d, %v", v, err)
	}
}

func TestSetBackShortensNoRevocation(t *testing.T) {
	a := at{t, fresh(t)}
	start := time.Now().Add(time.Hour)
	revoke := func(now time.Time, r blacklist.Revocation) {
		t.Helper()
		err := a.s.db.Update(func(tx *bolt.Tx) error {
			m, err := loadMeta(tx)
			if err != nil {
				return err
			}
			if r.All {
				m.end(blacklist.Revoked, now)
				return m.save(tx)
			}
			_, err = m.endUser(tx, r, now)
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	for _, r := range []blacklist.Revocation{{UserID: "anna", Keep: time.Hour, Why: blacklist.Revoked}, {All: true, Why: blacklist.Revoked}} {
		code := newCode("anna")
		code.IssuedAt, code.AuthTime = start.Add(-time.Second), start.Add(-time.Second)
		revoke(start, r)
		revoke(start.Add(-time.Minute), r)
		a.wants(blacklist.Revoked, a.present(start.Add(-time.Second), presentation(code, start)))
	}
}
