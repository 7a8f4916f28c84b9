package blacklist

import (
	"bytes"
	"encoding/binary"
	"strings"
	"testing"
	"time"
)

// states returns states that differ in every field, each with a token whose verdict depends on it.
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
	for _, key := range []string{"a key", "another key"} {
		var traded State
		code := token(0)
		code.Bind = key
		if v, _ := traded.Present(Presentation{Token: code, SuccessorID: newID(), Confirming: true}, now); v.Verdict != Accepted {
			t.Fatalf("verdict %d", v.Verdict)
		}
		add(traded, code)
	}
	for _, confirming := range []bool{false, true} {
		var s State
		current := token(0)
		current.Bound = confirming
		for gen := range uint64(5) {
			next := token(gen + 1)
			next.Bound = confirming
			p := Presentation{
				Token: current, SuccessorID: next.TokenID, SuccessorExpiresAt: now.Add(time.Hour), Confirming: confirming,
				Address: "2001:db8::1", UserAgent: strings.Repeat("agent", 40),
			}
			if v, _ := s.Present(p, now); v.Verdict != Accepted {
				t.Fatalf("verdict %d", v.Verdict)
			}
			add(s, current)
			current, now = next, now.Add(time.Second)
		}
		raised := s
		raised.Raise(NextMark(now), now)
		add(raised, current)
		proof := StepUp{ID: newID(), At: now}
		p := Presentation{Token: current, SuccessorID: newID(), Confirming: true, StepUp: proof, SuccessorExpiresAt: now.Add(time.Hour)}
		if v, _ := s.Present(p, now); v.Verdict != Accepted {
			t.Fatalf("step-up: verdict %d", v.Verdict)
		}
		add(s, current)
		for _, why := range []Verdict{LoggedOut, Revoked, SessionCompromised} {
			over := s
			over.End(why, now, now)
			add(over, current)
		}
	}
	return all, tokens
}

func TestStateBinary(t *testing.T) {
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
			t.Errorf("%d: %v, want %v", n, got, want)
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

func TestStateRefusesWrongEnds(t *testing.T) {
	// Guards: a damaged byte must not make a session accept every token.
	var s State
	s.End(Revoked, time.Now(), time.Now())
	data, _ := s.MarshalBinary()
	for b := range 256 {
		data[1+extra2+5] = byte(b)
		over := Verdict(b) == SessionCompromised || Verdict(b) == LoggedOut || Verdict(b) == Revoked
		if err := new(State).UnmarshalBinary(data); (err == nil) != (b == 0 || over) {
			t.Errorf("ended by %d: %v", b, err)
		}
	}
}

func TestUnknownSessionKeptLongest(t *testing.T) {
	// Guards: a second revocation of a session that has not begun has to be remembered too.
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

func TestRevocationCheck(t *testing.T) {
	// Guards: a session that ended with the verdict Accepted would accept every token.
	for _, target := range []Revocation{{UserID: "u", SessionID: "s"}, {UserID: "u"}, {UserID: "u", Except: "s"}, {All: true}} {
		for why := range Verdict(20) {
			r := target
			r.Why = why
			good := why == LoggedOut || why == Revoked || why == Stale && !r.All && r.Except == ""
			if err := r.Check(); (err == nil) != good {
				t.Errorf("%+v: %v", r, err)
			}
		}
	}
	for _, bad := range []Revocation{
		{}, {SessionID: "s"}, {SessionID: "s", All: true}, {UserID: "u", All: true}, {Except: "s"}, {All: true, Except: "s"},
		{UserID: "u", SessionID: "s", Except: "s"}, {UserID: "u", SessionID: "s", All: true},
	} {
		if bad.Why = Revoked; bad.Check() == nil {
			t.Errorf("%+v is taken", bad)
		}
	}
}

// inVersion1 returns the binary form from before marks, flags and step-ups existed.
func inVersion1(data []byte) []byte {
	b := append([]byte{version1}, data[1+extra2:1+extra2+common]...)
	return append(b, data[1+extra2+common+proof2:]...)
}

// TestBoundCodeOfEarlierVersion guards that a record of a session which an earlier version bound by
// its code's trade, and which has no digest of the key, does not accept the code with any key.
func TestBoundCodeOfEarlierVersion(t *testing.T) {
	now := time.Now()
	code := TokenRef{SessionID: newID(), TokenID: newID(), UserID: "anna", AuthTime: now, ExpiresAt: now.Add(time.Minute), Bind: "a key"}
	var s State
	first := code
	first.TokenID, first.Generation, first.Bound, first.Bind = newID(), 1, true, ""
	s.Present(Presentation{Token: code, SuccessorID: first.TokenID, Confirming: true}, now)
	s.provedBy = [16]byte{}
	data, _ := s.MarshalBinary()
	for _, key := range []string{"", "a key", "another key"} {
		again := code
		again.Bind = key
		var back State
		if err := back.UnmarshalBinary(data); err != nil {
			t.Fatal(err)
		}
		if r := back.Check(again, 0, 0, now); r.Verdict != Replaced {
			t.Errorf("with %q, checked: verdict %d", key, r.Verdict)
		}
		if r, _ := back.Present(Presentation{Token: again, SuccessorID: newID(), Confirming: true}, now); r.Verdict != Replaced {
			t.Errorf("with %q: verdict %d", key, r.Verdict)
		}
		if r, _ := back.Confirm(first, now); r.Verdict != Accepted {
			t.Errorf("its successor: verdict %d", r.Verdict)
		}
	}
}

// TestKeyIsNoStepUp guards that the digest of a code's key is not taken for the last step-up, nor a
// step-up for a key.
func TestKeyIsNoStepUp(t *testing.T) {
	now := time.Now()
	code := TokenRef{SessionID: newID(), TokenID: newID(), UserID: "anna", AuthTime: now, ExpiresAt: now.Add(time.Minute), Bind: "a key"}
	first := code
	first.TokenID, first.Generation, first.Bound, first.Bind = newID(), 1, true, ""
	var s State
	s.Present(Presentation{Token: code, SuccessorID: first.TokenID, Confirming: true}, now)
	key := code.key()
	p := Presentation{Token: first, SuccessorID: newID(), Confirming: true, StepUp: StepUp{ID: key.String(), At: now.Add(-time.Hour)}}
	if r, _ := s.Present(p, now); r.Verdict != StepUpRefused {
		t.Errorf("a step-up with the digest of the key: verdict %d", r.Verdict)
	}
	p.StepUp = StepUp{ID: newID(), At: now.Add(time.Second)}
	if r, _ := s.Present(p, now); r.Verdict != Accepted || s.boundTo() != [16]byte{} {
		t.Errorf("a step-up: verdict %d, and the code is bound to %v", r.Verdict, s.boundTo())
	}
}

func TestStateReadsVersion1(t *testing.T) {
	// Guards: a store that an earlier version wrote can still be used, and its logins count as the
	// last proofs.
	all, tokens := states(t)
	for n := range all {
		want := all[n]
		if want.mark, want.flags, want.provedBy, want.provedAt = 0, 0, [16]byte{}, want.since; want != all[n] {
			continue // version 1 cannot express that
		}
		data, _ := all[n].MarshalBinary()
		data = inVersion1(data)
		var back State
		if err := back.UnmarshalBinary(data); err != nil || back != all[n] {
			t.Errorf("%d: %+v came back as %+v, %v", n, all[n], back, err)
		}
		now := time.Now()
		if got, want := back.Check(tokens[n], 0, 0, now), all[n].Check(tokens[n], 0, 0, now); got != want {
			t.Errorf("%d: %+v, want %+v", n, got, want)
		}
		for cut := range data {
			if back.UnmarshalBinary(data[:cut]) == nil {
				t.Fatalf("%d: its first %d bytes are taken", n, cut)
			}
		}
	}
}

func TestStateRefusesWhatItDoesNotKnow(t *testing.T) {
	// Guards: a flag of a later version, a mark below zero or another version is an error, not
	// ignored.
	var s State
	data, _ := s.MarshalBinary()
	for at, bytes := range map[int][]byte{0: {0, 3, 255}, MarkOffset: {0x80, 0xff}, MarkOffset + 8: {2, 3, 4, 128, 255}} {
		for _, b := range bytes {
			bad := append([]byte{}, data...)
			bad[at] = b
			if new(State).UnmarshalBinary(bad) == nil {
				t.Errorf("byte %d is %d, and that is taken", at, b)
			}
		}
	}
}

func TestRaiseNeverLowers(t *testing.T) {
	// Guards: a mark that a store read some time ago does not replace a later one.
	var s State
	for _, mark := range []int64{5, 3, 5, 4} {
		if s.Raise(mark, time.Now()); s.Mark() != 5 {
			t.Errorf("the mark is %d after %d", s.Mark(), mark)
		}
	}
	now := time.UnixMicro(10)
	for want, known := range map[int64][]int64{10: nil, 12: {3, 11, 4}, 11: {10}} {
		if got := NextMark(now, known...); got != want {
			t.Errorf("after %v: %d, want %d", known, got, want)
		}
	}
}

func TestMarkOffset(t *testing.T) {
	// Guards: a script changes the mark at its place in the binary form.
	s := State{mark: 0x0102030405060708}
	data, _ := s.MarshalBinary()
	if got := binary.BigEndian.Uint64(data[MarkOffset:]); got != uint64(s.mark) {
		t.Fatalf("%x is at the offset", got)
	}
	binary.BigEndian.PutUint64(data[MarkOffset:], 1<<62)
	if err := s.UnmarshalBinary(data); err != nil || s.Mark() != 1<<62 {
		t.Errorf("the mark is %x, %v", s.Mark(), err)
	}
}

func FuzzState(f *testing.F) {
	all, _ := states(f)
	for n := range all {
		data, _ := all[n].MarshalBinary()
		f.Add(data)
		f.Add(inVersion1(data))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		var s State
		if s.UnmarshalBinary(data) != nil {
			return
		}
		again, err := s.MarshalBinary()
		var back State
		if err != nil || data[0] == version2 && !bytes.Equal(again, data) || back.UnmarshalBinary(again) != nil || back != s {
			t.Errorf("%x came back as %x, %v", data, again, err)
		}
		now := time.Now()
		token := TokenRef{SessionID: newID(), TokenID: newID(), UserID: s.userID, Generation: uint64(s.generation), Bound: s.bound()}
		s.Check(token, time.Minute, time.Minute, now)
		s.Confirm(token, now)
		s.Raise(NextMark(now, s.Mark()), now)
		s.Cut(now)
		s.Present(Presentation{Token: token, SuccessorID: newID(), EndOnReuse: true}, now)
		step := StepUp{ID: newID(), At: now.Add(time.Second)}
		s.Present(Presentation{Token: token, SuccessorID: newID(), SuccessorMark: s.Mark(), StepUp: step, Confirming: true}, now)
		code := TokenRef{SessionID: newID(), TokenID: s.previous.String(), UserID: s.userID, Bind: "a key"}
		s.Check(code, 0, 0, now)
		s.Present(Presentation{Token: code, SuccessorID: newID(), Confirming: true, EndOnReuse: true}, now)
		s.Session(token.SessionID, now)
		s.ForgetAt()
	})
}
