package blacklist

import (
	"bytes"
	"strings"
	"testing"
	"time"
)

// states are some that differ in every field, with a token each that their decision turns on.
func states(t testing.TB) (all []State, tokens []TokenRef) {
	now := time.Now()
	add := func(s State, token TokenRef) { all, tokens = append(all, s), append(tokens, token) }
	token := func(gen uint64) TokenRef {
		return TokenRef{SessionID: newID(), TokenID: newID(), UserID: "anna", Generation: gen, IssuedAt: now, AuthTime: now, ExpiresAt: now.Add(time.Minute)}
	}
	add(State{}, token(0))
	var ended State
	ended.End(Revoked, now.Add(time.Hour), now)
	add(ended, token(0))
	for _, confirming := range []bool{false, true} {
		var s State
		current := token(0)
		for gen := range uint64(5) {
			next := token(gen + 1)
			p := Presentation{
				Token: current, SuccessorID: next.TokenID, SuccessorExpiresAt: now.Add(time.Hour), Confirming: confirming,
				Address: "2001:db8::1", UserAgent: strings.Repeat("agent", 40),
			}
			if v, _ := s.Present(p, now); v != Accepted {
				t.Fatalf("verdict %d", v)
			}
			add(s, current)
			current, now = next, now.Add(time.Second)
		}
		for _, why := range []Verdict{LoggedOut, Revoked, SessionCompromised} {
			over := s
			over.End(why, now, now)
			add(over, current)
		}
	}
	return all, tokens
}

func TestStateComesBackFromItsBinaryForm(t *testing.T) {
	all, tokens := states(t)
	for n := range all {
		data, err := all[n].MarshalBinary()
		if err != nil {
			t.Fatal(err)
		}
		kept := bytes.Clone(data)
		back := State{userID: "what was there before"}
		if err := back.UnmarshalBinary(data); err != nil {
			t.Fatal(err)
		}
		clear(data)
		if back != all[n] {
			t.Errorf("%d: %+v came back as %+v", n, all[n], back)
		}
		now := time.Now()
		if got, want := back.Check(tokens[n], 0, 0, now), all[n].Check(tokens[n], 0, 0, now); got != want {
			t.Errorf("%d: verdict %d, want %d", n, got, want)
		}
		for cut := range kept {
			before := back
			if err := back.UnmarshalBinary(kept[:cut]); err == nil || back != before {
				t.Fatalf("%d: its first %d bytes: %v", n, cut, err)
			}
		}
		if err := back.UnmarshalBinary(append(kept, 0)); err == nil {
			t.Errorf("%d: a byte too many is taken", n)
		}
	}
}

func TestStateInBinaryNeverAcceptsByItsEnd(t *testing.T) {
	// Guards: a byte that went bad must not make a session one whose every token is accepted.
	var s State
	s.End(Revoked, time.Now(), time.Now())
	data, _ := s.MarshalBinary()
	for b := range 256 {
		data[6] = byte(b)
		over := Verdict(b) == SessionCompromised || Verdict(b) == LoggedOut || Verdict(b) == Revoked
		if err := new(State).UnmarshalBinary(data); (err == nil) != (b == 0 || over) {
			t.Errorf("ended by %d: %v", b, err)
		}
	}
}

func TestEndOfAnUnknownSessionIsKeptForTheLongestAsked(t *testing.T) {
	// Guards: a second revocation of a session that nobody has begun asks to be remembered too.
	now := time.Now().Truncate(time.Second)
	var s State
	s.End(LoggedOut, now.Add(time.Minute), now)
	s.End(Revoked, now.Add(time.Hour), now)
	if got, want := s.ForgetAt(), now.Add(time.Hour+time.Minute); !got.Equal(want) {
		t.Errorf("kept until %v, want %v", got, want)
	}
	s.End(Revoked, now, now)
	if got, want := s.ForgetAt(), now.Add(time.Hour+time.Minute); !got.Equal(want) {
		t.Errorf("kept until %v after a shorter one, want %v", got, want)
	}
}

func TestRevocationsSayOneTargetAndWhy(t *testing.T) {
	// Guards: a session that ended for the reason Accepted would accept every token.
	for _, good := range []Revocation{
		{SessionID: "s", Why: LoggedOut}, {UserID: "u", Why: Revoked}, {All: true, Why: Revoked},
	} {
		if err := good.Check(); err != nil {
			t.Errorf("%+v: %v", good, err)
		}
		for why := range Verdict(20) {
			if why != LoggedOut && why != Revoked {
				bad := good
				if bad.Why = why; bad.Check() == nil {
					t.Errorf("%+v is taken", bad)
				}
			}
		}
	}
	for _, bad := range []Revocation{{}, {SessionID: "s", UserID: "u"}, {UserID: "u", All: true}} {
		if bad.Why = Revoked; bad.Check() == nil {
			t.Errorf("%+v is taken", bad)
		}
	}
}

func FuzzState(f *testing.F) {
	all, _ := states(f)
	for n := range all {
		data, _ := all[n].MarshalBinary()
		f.Add(data)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		var s State
		if s.UnmarshalBinary(data) != nil {
			return
		}
		if again, err := s.MarshalBinary(); err != nil || !bytes.Equal(again, data) {
			t.Errorf("%x came back as %x, %v", data, again, err)
		}
		now := time.Now()
		token := TokenRef{SessionID: newID(), TokenID: newID(), Generation: uint64(s.generation)}
		s.Check(token, time.Minute, time.Minute, now)
		s.Confirm(token, now)
		s.Present(Presentation{Token: token, SuccessorID: newID(), EndOnReuse: true}, now)
		s.Session(token.SessionID, now)
		s.ForgetAt()
	})
}
