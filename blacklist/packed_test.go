package blacklist

import (
	"math/rand/v2"
	"testing"
	"time"

	"github.com/z-open/socketauth/internal/id"
)

// repacked returns what a state is after it was packed.
func repacked(t *testing.T, s State, base, oldest int64) State {
	t.Helper()
	b := s.pack(nil, base, oldest)
	if len(b) > maxPacked {
		t.Fatalf("%d bytes, and %d are the most", len(b), maxPacked)
	}
	back := State{
		previous: s.previous, holder: s.holder,
		userID: s.userID, address: s.address, userAgent: s.userAgent,
	}
	if rest := back.unpack(append(b, "rest"...), base); string(rest) != "rest" {
		t.Fatalf("%q follows", rest)
	}
	return back
}

// TestPackedStateDecidesAsBefore checks that a state that is packed after every step decides as one
// that never is: on whatever clients, thieves and clocks that are set back make of its tokens.
func TestPackedStateDecidesAsBefore(t *testing.T) {
	const within = 5 * time.Second
	base := time.Now()
	verdicts := make(map[Verdict]int)
	for seed := range uint64(600) {
		random := rand.New(rand.NewPCG(seed, 1))
		now := base.Add(time.Duration(random.Int64N(int64(time.Hour)))).Truncate(time.Microsecond)
		if seed%10 == 0 {
			now = base.Add(-100 * 365 * 24 * time.Hour)
		}
		sid, began := newID(), now
		tokens := []TokenRef{{SessionID: sid, TokenID: newID(), UserID: "anna", AuthTime: now, IssuedAt: now, ExpiresAt: now.Add(time.Minute)}}
		var plain, packed State
		for range 60 {
			pauses := []time.Duration{0, time.Microsecond, time.Second, 4 * time.Second, time.Minute, 100 * time.Hour}
			now = now.Add(time.Duration(random.Float64() * float64(pauses[random.IntN(len(pauses))])))
			if random.IntN(40) == 0 {
				now = now.Add(-time.Duration(random.Int64N(int64(time.Hour))))
			}
			token := tokens[max(0, len(tokens)-1-int(random.ExpFloat64()*2))]
			if seed%3 == 0 && token.Generation == 0 {
				token.Bind = []string{"", "a key", "another key"}[min(random.IntN(8), 2)]
			}
			var got, want Result
			var gotChange, wantChange Change
			switch random.IntN(8) {
			case 0:
				got, gotChange = packed.Confirm(token, now)
				want, wantChange = plain.Confirm(token, now)
			case 1:
				grace := time.Duration(random.Int64N(int64(10 * time.Second)))
				got, want = packed.Check(token, grace, grace, now), plain.Check(token, grace, grace, now)
			case 2:
				if random.IntN(4) > 0 {
					continue
				}
				mark := NextMark(now, plain.mark)
				if random.IntN(2) == 0 {
					mark = plain.mark
				}
				packed.Raise(mark, now)
				plain.Raise(mark, now)
			case 3:
				if random.IntN(4) == 0 {
					packed.Cut(now)
					plain.Cut(now)
				}
			default:
				next := TokenRef{
					SessionID: sid, TokenID: newID(), UserID: "anna", Generation: token.Generation + 1,
					AuthTime: began, IssuedAt: now, ExpiresAt: now.Add(time.Hour), Mark: plain.mark,
				}
				p := Presentation{
					Token: token, SuccessorID: next.TokenID, SuccessorExpiresAt: next.ExpiresAt, SuccessorMark: next.Mark,
					Confirming: random.IntN(2) == 0, SupersededWithin: within, PresentedAt: now.Add(-time.Duration(random.Int64N(int64(within)))),
					SocketOpenedAt: now.Add(-time.Duration(random.Int64N(int64(time.Hour)))), EndOnReuse: random.IntN(20) == 0,
				}
				if token.Generation > 0 && random.IntN(5) == 0 {
					p.StepUp = StepUp{ID: newID(), At: now}
				}
				got, gotChange = packed.Present(p, now)
				if want, wantChange = plain.Present(p, now); want.Verdict == Accepted {
					next.Bound = plain.bound()
					tokens = append(tokens, next)
				}
			}
			if got != want || gotChange != wantChange {
				t.Fatalf("seed %d, %v, generation %d of %d: %+v, %+v, want %+v, %+v", seed, now, token.Generation, plain.generation, got, gotChange, want, wantChange)
			}
			verdicts[want.Verdict]++
			packed = repacked(t, packed, base.UnixMicro(), now.Add(-8*within).UnixMicro())
			if a, _ := packed.Session(sid, now); a != func() Session { b, _ := plain.Session(sid, now); return b }() {
				t.Fatalf("%+v, want that of %+v", a, plain)
			}
		}
	}
	for _, v := range []Verdict{Accepted, Unknown, Superseded, Replaced, ReuseDetected, SessionCompromised, Stale} {
		if verdicts[v] < 20 {
			t.Errorf("verdict %d came %d times", v, verdicts[v])
		}
	}
}

// TestPackedStateIsSmall checks that what is usual takes few bytes, and what is not has room.
func TestPackedStateIsSmall(t *testing.T) {
	base := time.Now().Add(-20 * 24 * time.Hour)
	now := time.Now()
	s := State{
		generation: 100, confirmed: true, seenAt: now.UnixMicro(), confirmedAt: now.Add(200 * time.Millisecond).UnixMicro(),
		since: base.UnixMicro(), provedAt: base.UnixMicro(), expiresAt: now.Unix() + 24*60*60, previousAt: now.Add(-10 * time.Hour).UnixMicro(),
	}
	if n := len(s.pack(nil, base.UnixMicro(), now.Add(-time.Minute).UnixMicro())); n > restSize-7 {
		t.Errorf("%d bytes: too many beside a user agent, an epoch and an address", n)
	}
	s.mark, s.provedAt, s.provedBy, s.ended = now.UnixMicro(), now.UnixMicro(), id.New(), Revoked
	s.earlier = [8]uint32{1 << 20, 1 << 21, 1 << 22, 1 << 23, 1 << 24, 1 << 25, 1 << 26, 1 << 27}
	if back := repacked(t, s, base.UnixMicro(), 0); back != s {
		t.Errorf("%+v came back as %+v", s, back)
	}
	none := s
	none.previousAt, none.expiresAt, none.since = 0, 1<<40, -1<<60
	repacked(t, none, base.UnixMicro(), 0)
}
