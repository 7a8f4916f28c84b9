package blacklist

import (
	"context"
	"errors"
	"runtime"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// actor makes the store calls that the clients of one session cause.
type actor struct {
	t     *testing.T
	store Store
	sid   string
	birth time.Time

	user, address, agent string
}

func newActor(t *testing.T, store Store) *actor {
	return &actor{t: t, store: store, sid: newID(), birth: time.Now(), user: "anna"}
}

// code returns the token that starts the session.
func (a *actor) code() TokenRef {
	return TokenRef{SessionID: a.sid, TokenID: newID(), UserID: a.user, IssuedAt: a.birth, AuthTime: a.birth, ExpiresAt: a.birth.Add(30 * time.Second)}
}

// next returns a new successor of t.
func (a *actor) next(t TokenRef) TokenRef {
	now := time.Now()
	return TokenRef{SessionID: a.sid, TokenID: newID(), UserID: a.user, Generation: t.Generation + 1, IssuedAt: now, AuthTime: a.birth, ExpiresAt: now.Add(time.Hour)}
}

type how struct {
	confirming, rejectOnly bool
	opened                 time.Time // if zero, the socket was opened just now
}

// presents presents t, and returns the successor and the verdict.
func (a *actor) presents(t TokenRef, h how) (TokenRef, Verdict) {
	a.t.Helper()
	next := a.next(t)
	return next, a.presentsFor(t, next, h)
}

func (a *actor) presentsFor(t, next TokenRef, h how) Verdict {
	a.t.Helper()
	if h.opened.IsZero() {
		h.opened = time.Now()
	}
	v, err := a.store.Present(a.t.Context(), Presentation{
		Token: t, SuccessorID: next.TokenID, SuccessorExpiresAt: next.ExpiresAt, Confirming: h.confirming,
		SocketOpenedAt: h.opened, PresentedAt: time.Now(), SupersededWithin: 5 * time.Second, EndOnReuse: !h.rejectOnly,
		Address: a.address, UserAgent: a.agent,
	})
	if err != nil {
		a.t.Fatal(err)
	}
	return v.Verdict
}

func (a *actor) revokes(r Revocation) Change {
	a.t.Helper()
	c, err := a.store.Revoke(a.t.Context(), r)
	if err != nil {
		a.t.Fatal(err)
	}
	return c
}

func (a *actor) must(t TokenRef, h how) TokenRef {
	a.t.Helper()
	next, v := a.presents(t, h)
	if v != Accepted {
		a.t.Fatalf("generation %d: verdict %d", t.Generation, v)
	}
	return next
}

func (a *actor) confirms(t TokenRef, want Verdict) {
	a.t.Helper()
	if v, err := a.store.Confirm(a.t.Context(), t); err != nil || v.Verdict != want {
		a.t.Errorf("confirming generation %d: verdict %d, %v, want %d", t.Generation, v.Verdict, err, want)
	}
}

func (a *actor) checks(t TokenRef, grace, branch time.Duration, want Verdict) {
	a.t.Helper()
	if v, err := a.store.Check(a.t.Context(), t, grace, branch); err != nil || v.Verdict != want {
		a.t.Errorf("checking generation %d: verdict %d, %v, want %d", t.Generation, v.Verdict, err, want)
	}
}

func (a *actor) refused(t TokenRef, h how, want Verdict) {
	a.t.Helper()
	if _, v := a.presents(t, h); v != want {
		a.t.Errorf("generation %d: verdict %d, want %d", t.Generation, v, want)
	}
}

func TestPlainRotation(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := newActor(t, newMemory())
		code := a.code()
		first := a.must(code, how{})
		time.Sleep(time.Second)
		second := a.must(first, how{})
		time.Sleep(time.Second)
		a.refused(code, how{rejectOnly: true}, Replaced)
		a.refused(first, how{rejectOnly: true}, Replaced)
		third := a.must(second, how{}) // under RejectOnly the session stays alive
		time.Sleep(time.Second)
		a.refused(second, how{}, ReuseDetected)
		a.refused(third, how{}, SessionCompromised)
		a.checks(third, 0, 0, SessionCompromised)
	})
}

func TestSupersededIsToldFromReuse(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := newActor(t, newMemory())
		code := a.code()
		opened := time.Now()
		time.Sleep(time.Second)
		first := a.must(code, how{opened: opened})
		time.Sleep(5 * time.Second)
		a.refused(code, how{opened: opened}, Superseded) // the socket was open at the confirmation, at most Timeout ago
		time.Sleep(time.Microsecond)
		a.checks(first, 0, 0, Accepted)
		a.refused(code, how{opened: opened}, ReuseDetected) // the confirmation was too long ago
		a.refused(first, how{}, SessionCompromised)

		b := newActor(t, newMemory())
		code = b.code()
		b.must(code, how{})
		time.Sleep(time.Second)
		b.refused(code, how{}, ReuseDetected) // the socket was opened after the confirmation
	})
}

func TestSupersededByPresentedToken(t *testing.T) {
	// Guards: a thief that rotates repeatedly must not make the owner's presentation look like a
	// late frame each time, neither by rotating between the owner's connect and presentation, nor
	// by presenting a token that already holds its generation.
	synctest.Test(t, func(t *testing.T) {
		for _, confirming := range []bool{false, true} {
			a := newActor(t, newMemory())
			h := how{confirming: confirming}
			stolen := a.must(a.code(), h)
			token := stolen
			for range 5 {
				token = a.must(token, h)
				time.Sleep(10 * time.Millisecond)
			}
			opened := time.Now()
			time.Sleep(time.Millisecond)
			a.must(token, h) // between the owner's connect and presentation
			time.Sleep(time.Millisecond)
			a.refused(stolen, how{opened: opened}, ReuseDetected)

			b := newActor(t, newMemory())
			code := b.code()
			first := b.must(code, how{confirming: true})
			b.confirms(first, Accepted)
			time.Sleep(time.Second)
			opened = time.Now()
			time.Sleep(time.Second)
			b.must(first, how{confirming: true}) // this confirms nothing, since it held its generation before
			b.refused(code, how{opened: opened}, ReuseDetected)
		}
	})
}

func TestLateFramesOfTwoRotations(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, confirming := range []bool{false, true} {
			a := newActor(t, newMemory())
			h := how{confirming: confirming}
			code := a.code()
			opened := time.Now()
			time.Sleep(time.Second)
			first := a.must(code, h)
			second := a.must(first, h)
			a.must(second, h)
			time.Sleep(time.Second)
			a.refused(code, how{opened: opened}, Superseded)
			a.refused(first, how{opened: opened}, Superseded)
		}
	})
}

func TestStepIsIdempotent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, confirming := range []bool{false, true} {
			a := newActor(t, newMemory())
			code := a.code()
			next := a.next(code)
			for range 3 {
				if v := a.presentsFor(code, next, how{confirming: confirming}); v != Accepted {
					t.Errorf("confirming %v: the same step again: verdict %d", confirming, v)
				}
				time.Sleep(time.Second)
			}
			a.must(next, how{})
		}
	})
}

func TestConfirmingClientKeepsToken(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := newActor(t, newMemory())
		code := a.code()
		lost := a.must(code, how{confirming: true})
		time.Sleep(time.Second)
		got := a.must(code, how{confirming: true}) // another branch
		a.checks(code, 0, 0, Accepted)
		a.checks(lost, 0, 5*time.Second, Accepted) // the middleware accepts a branch for a short time
		time.Sleep(5*time.Second + time.Millisecond)
		a.checks(lost, 0, 5*time.Second, Replaced)
		a.confirms(got, Accepted)
		a.confirms(got, Accepted)
		a.confirms(lost, Superseded)
		a.checks(lost, 0, 5*time.Second, Replaced)
		time.Sleep(time.Millisecond)
		a.refused(lost, how{rejectOnly: true}, Replaced)
		a.checks(code, 10*time.Second, 0, Accepted) // the middleware's grace
		a.checks(code, 0, 0, Replaced)
		time.Sleep(10*time.Second - time.Millisecond)
		a.checks(code, 10*time.Second, 0, Replaced)

		next := a.must(got, how{confirming: true}) // presenting a branch confirms it
		a.confirms(got, Accepted)                  // it was confirmed before
		a.confirms(lost, Replaced)                 // it is of an older generation, so nothing changes
		time.Sleep(time.Second)
		a.must(next, how{confirming: true})
		time.Sleep(time.Second)
		a.refused(got, how{}, ReuseDetected)
		a.confirms(next, SessionCompromised)
	})
}

func TestPresentingBranchConfirmsIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := newActor(t, newMemory())
		code := a.code()
		one, two := a.must(code, how{confirming: true}), a.must(code, how{confirming: true})
		a.must(one, how{confirming: true})
		time.Sleep(time.Second)
		a.refused(two, how{}, ReuseDetected)
	})
}

func TestPlainClientTakesGeneration(t *testing.T) {
	a := newActor(t, newMemory())
	code := a.code()
	branch := a.must(code, how{confirming: true})
	holder := a.must(code, how{})
	a.confirms(branch, Superseded)
	a.must(holder, how{})
}

func TestUnknownIsHarmless(t *testing.T) {
	store := newMemory()
	a := newActor(t, store)
	unknownToken := a.next(a.code())
	a.refused(unknownToken, how{}, Unknown)
	a.checks(unknownToken, time.Minute, time.Minute, Unknown)
	a.confirms(unknownToken, Unknown)
	if _, err := store.Revoke(t.Context(), Revocation{UserID: "anna", SessionID: "no id", Why: LoggedOut}); err != nil {
		t.Error(err)
	}
	if n := store.size(); n != 0 {
		t.Errorf("unknown tokens left %d sessions behind", n)
	}
	code := a.code()
	first := a.must(code, how{})
	ahead := first
	ahead.Generation = 7
	a.refused(ahead, how{}, Unknown)
	a.must(first, how{}) // the forged generation has used up no token
}

func TestCodeOfEarlierProcess(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := newActor(t, nil)
		code := a.code()
		time.Sleep(time.Second)
		a.store = newMemory() // after this restart the store cannot know whether the code was used
		a.refused(code, how{}, Unknown)
		a.checks(code, 0, 0, Unknown)
	})
}

func TestFirstReasonStays(t *testing.T) {
	a := newActor(t, newMemory())
	code := a.code()
	first := a.must(code, how{})
	for _, why := range []Verdict{LoggedOut, Revoked} {
		if _, err := a.store.Revoke(t.Context(), Revocation{UserID: "anna", SessionID: a.sid, Why: why}); err != nil {
			t.Fatal(err)
		}
	}
	a.refused(first, how{}, LoggedOut)
	a.refused(code, how{}, LoggedOut)
	a.checks(first, time.Hour, time.Hour, LoggedOut)
	a.confirms(first, LoggedOut)
}

func TestMemoryForgetsUsers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := newMemory()
		for n := range 1000 {
			if _, err := store.Revoke(t.Context(), Revocation{UserID: strconv.Itoa(n), Why: Revoked, Keep: time.Hour}); err != nil {
				t.Fatal(err)
			}
		}
		time.Sleep(2 * time.Hour)
		for range 200 {
			unknownToken := newActor(t, store)
			unknownToken.checks(unknownToken.next(unknownToken.code()), 0, 0, Unknown)
		}
		if users, sessionsDue, usersDue := store.remembered(); users+sessionsDue+usersDue+store.owners() != 0 {
			t.Errorf("%d entries are left, %d of users, and %d and %d to look at", users, store.owners(), sessionsDue, usersDue)
		}
	})
}

func TestMemoryForgetsSessions(t *testing.T) {
	// Guards: a session is kept until the latest exp of its tokens, also if a later token expires
	// earlier.
	synctest.Test(t, func(t *testing.T) {
		store := newMemory()
		for range 500 {
			a := newActor(t, store)
			a.must(a.code(), how{}) // valid for an hour
			b := newActor(t, store)
			first := b.must(b.code(), how{})
			later := b.next(first)
			later.ExpiresAt = time.Now().Add(3 * time.Hour)
			b.presentsFor(first, later, how{})
			sooner := b.next(later)
			sooner.ExpiresAt = time.Now().Add(time.Minute)
			b.presentsFor(later, sooner, how{})
		}
		pass := func(d time.Duration) int {
			time.Sleep(d)
			for range 2000 {
				_, _ = store.Check(context.Background(), TokenRef{SessionID: newID(), TokenID: newID(), Generation: 1}, 0, 0)
			}
			return store.size()
		}
		if n := pass(time.Hour); n != 1000 {
			t.Errorf("%d of 1000 sessions left while all tokens live", n)
		}
		if n := pass(2*time.Minute + time.Second); n != 500 {
			t.Errorf("%d sessions left, want the 500 of long life", n)
		}
		if n := pass(2 * time.Hour); n != 0 {
			t.Errorf("%d sessions left after the end", n)
		}
		if _, due, _ := store.remembered(); due != 0 {
			t.Errorf("%d sessions are still to be looked at", due)
		}
	})
}

func TestOneOfManyPresentationsWins(t *testing.T) {
	store := newMemory()
	for range 200 {
		a := newActor(t, store)
		code := a.code()
		opened := time.Now()
		var wins, superseded atomic.Int32
		var wg sync.WaitGroup
		for range 20 {
			wg.Go(func() {
				switch _, v := a.presents(code, how{opened: opened}); v {
				case Accepted:
					wins.Add(1)
				case Superseded:
					superseded.Add(1)
				}
			})
		}
		wg.Wait()
		if wins.Load() != 1 || superseded.Load() != 19 {
			t.Fatalf("%d won, %d were superseded", wins.Load(), superseded.Load())
		}
	}
}

func TestMemoryContextAndIDs(t *testing.T) {
	store := newMemory()
	a := newActor(t, store)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if v, err := store.Present(ctx, Presentation{Token: a.code(), SuccessorID: newID()}); !errors.Is(err, context.Canceled) || v.Verdict == Accepted {
		t.Errorf("verdict %d, %v", v.Verdict, err)
	}
	for _, id := range []string{"", "abc", newID() + "A", "!!!!!!!!!!!!!!!!!!!!!!", newID()[:21] + "B"} {
		code := a.code()
		code.TokenID = id
		a.refused(code, how{}, Unknown)
		code = a.code()
		if v := a.presentsFor(code, TokenRef{TokenID: id}, how{}); v == Accepted {
			t.Errorf("successor %q accepted", id)
		}
	}
}

func TestMemoryPerSessionIsConstant(t *testing.T) {
	store := newMemory()
	const sessions = 2000
	actors := make([]*actor, sessions)
	tokens := make([]TokenRef, sessions)
	for n := range actors {
		actors[n] = newActor(t, store)
		tokens[n] = actors[n].must(actors[n].code(), how{})
	}
	before := heap()
	for range 50 {
		for n, a := range actors {
			tokens[n] = a.must(tokens[n], how{})
		}
	}
	if after := heap(); after > before+before/4 {
		t.Errorf("heap grew from %d to %d bytes over 50 rotations of %d sessions", before, after, sessions)
	}
	runtime.KeepAlive(tokens)
}

func heap() uint64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

func BenchmarkMemoryPresent(b *testing.B) {
	store := newMemory()
	b.RunParallel(func(pb *testing.PB) {
		now := time.Now()
		t := TokenRef{SessionID: newID(), TokenID: newID(), IssuedAt: now, AuthTime: now, ExpiresAt: now.Add(time.Hour)}
		for pb.Next() {
			next := newID()
			if v, _ := store.Present(context.Background(), Presentation{Token: t, SuccessorID: next, SuccessorExpiresAt: t.ExpiresAt, SupersededWithin: 5 * time.Second, SocketOpenedAt: now}); v.Verdict != Accepted {
				b.Errorf("verdict %d", v.Verdict)
				return
			}
			t.TokenID, t.Generation = next, t.Generation+1
		}
	})
}
