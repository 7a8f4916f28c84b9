package boltstore

import (
	"errors"
	"testing"
	"testing/synctest"
	"time"

	bolt "go.etcd.io/bbolt"

	"github.com/z-open/socketauth/blacklist"
)

// damages flips a bit of a value.
func damages(t *testing.T, s *Store, bucket string, key []byte) {
	t.Helper()
	err := s.db.Update(func(tx *bolt.Tx) error {
		b := tx.Bucket([]byte(bucket))
		value := append([]byte(nil), b.Get(key)...)
		value[len(value)/2] ^= 1
		return b.Put(key, value)
	})
	if err != nil {
		t.Fatal(err)
	}
}

// starts begins a session, and returns its code and its token.
func starts(t *testing.T, s *Store, user string) (code, token blacklist.TokenRef) {
	t.Helper()
	code = newCode(user)
	p := presentation(code, time.Now())
	if v, err := verdict(s.Present(t.Context(), p)); v != blacklist.Accepted {
		t.Fatalf("verdict %d, %v", v, err)
	}
	token = code
	token.TokenID, token.Generation = p.SuccessorID, 1
	return code, token
}

func revokes(t *testing.T, s *Store, r blacklist.Revocation) blacklist.Change {
	t.Helper()
	r.Why, r.Keep = blacklist.Revoked, aCode
	c, err := s.Revoke(t.Context(), r)
	if err != nil {
		t.Fatalf("Revoke: %v", err)
	}
	return c
}

// aCode is how long a code can be valid, with the time of a hook and the difference of clocks.
const aCode = 91 * time.Second

// refused expects that neither Check nor Present accepts a token, and no error if it says so.
func refused(t *testing.T, s *Store, want blacklist.Verdict, tokens ...blacklist.TokenRef) {
	t.Helper()
	for _, token := range tokens {
		check, err := verdict(s.Check(t.Context(), token, time.Hour, time.Hour))
		if check != want || err != nil {
			t.Errorf("Check of generation %d: verdict %d, want %d, %v", token.Generation, check, want, err)
		}
		if present, err := begins(s, token); present != want || err != nil {
			t.Errorf("Present of generation %d: verdict %d, want %d, %v", token.Generation, present, want, err)
		}
	}
}

func TestRevokeUserDespiteDamage(t *testing.T) {
	// Guards: RevokeUser failed because of an unreadable record, and the user's other sessions were
	// not ended.
	synctest.Test(t, func(t *testing.T) {
		s := fresh(t)
		code, token := starts(t, s, "anna")
		otherCode, other := starts(t, s, "anna")
		sid, _ := sessionKey(code.SessionID)
		damages(t, s, sessionsBucket, sid)
		if v, err := begins(s, token); v != 0 || !errors.Is(err, ErrCorrupt) {
			t.Errorf("before: verdict %d, %v", v, err)
		}
		if list, err := s.Sessions(t.Context(), "anna"); len(list) != 1 || err != nil || list[0].ID != other.SessionID {
			t.Errorf("before: %v, %v", list, err)
		}
		time.Sleep(time.Second)
		if c := revokes(t, s, blacklist.Revocation{UserID: "anna"}); c.Sessions != 1 {
			t.Errorf("%d that lived are said to be ended", c.Sessions)
		}
		refused(t, s, blacklist.Revoked, code, token, otherCode, other)
		time.Sleep(4 * time.Minute) // the other one is valid for an hour
		stir(s, 1)
		if k := kept(t, s); k[sessionsBucket] != 1 || k[ownedBucket] != 0 || k[entriesBucket] != 0 {
			t.Errorf("kept %v", k)
		}
		refused(t, s, blacklist.Unknown, token)
		time.Sleep(time.Hour)
		stir(s, 2)
		wantKept(t, s, 0, 0, 0)
	})
}

func TestADamagedSessionCanBeRevoked(t *testing.T) {
	// Guards: RevokeSession, and so logout, failed if the record could not be read.
	synctest.Test(t, func(t *testing.T) {
		s := fresh(t)
		code, token := starts(t, s, "anna")
		sid, _ := sessionKey(code.SessionID)
		damages(t, s, sessionsBucket, sid)
		revokes(t, s, blacklist.Revocation{UserID: code.UserID, SessionID: code.SessionID})
		refused(t, s, blacklist.Revoked, code, token)
		revokes(t, s, blacklist.Revocation{UserID: "anna"})
		time.Sleep(2 * time.Hour)
		stir(s, 2)
		wantKept(t, s, 0, 0, 0)
	})
}

func TestDamagedEntryIsWrittenAnew(t *testing.T) {
	// Guards: if the user's last revocation could not be read, RevokeUser failed, and all later
	// logins of the user failed too.
	synctest.Test(t, func(t *testing.T) {
		s := fresh(t)
		_, token := starts(t, s, "anna")
		early := newCode("anna")
		time.Sleep(time.Second)
		revokes(t, s, blacklist.Revocation{UserID: "anna"})
		damages(t, s, entriesBucket, userKey("anna"))
		if v, err := begins(s, early); v != 0 || !errors.Is(err, ErrCorrupt) {
			t.Errorf("before: verdict %d, %v", v, err)
		}
		revokes(t, s, blacklist.Revocation{UserID: "anna"})
		refused(t, s, blacklist.Revoked, early, token)
		time.Sleep(time.Second)
		starts(t, s, "anna")
		time.Sleep(4 * time.Minute)
		stir(s, 1)
		wantKept(t, s, 2, 1, 0)
	})
}

func TestWhatIsDamagedIsNotCounted(t *testing.T) {
	// Guards: records after an unreadable record were not counted.
	s := fresh(t)
	for range 10 {
		code, _ := starts(t, s, "anna")
		sid, _ := sessionKey(code.SessionID)
		damages(t, s, sessionsBucket, sid)
		starts(t, s, "anna")
	}
	if c := revokes(t, s, blacklist.Revocation{All: true}); c.Sessions != 10 {
		t.Errorf("%d sessions ended, want 10", c.Sessions)
	}
}

func TestRevokeUserEndsLostSession(t *testing.T) {
	// Guards: a user's revocation marks each session of the user, and so missed the sessions that
	// damage hid from it.
	s := fresh(t)
	code, token := starts(t, s, "anna")
	_, kept := starts(t, s, "anna")
	sid, _ := sessionKey(code.SessionID)
	if err := s.db.Update(func(tx *bolt.Tx) error { return disown(tx, userKey("anna"), sid) }); err != nil {
		t.Fatal(err)
	}
	revokes(t, s, blacklist.Revocation{UserID: "anna", Except: kept.SessionID})
	refused(t, s, blacklist.Revoked, token)
	if v, err := verdict(s.Check(t.Context(), kept, 0, 0)); v != blacklist.Accepted || err != nil {
		t.Errorf("the exception: verdict %d, %v", v, err)
	}
}
