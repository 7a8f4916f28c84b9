package blacklisttest_test

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"github.com/z-open/socketauth/blacklist"
)

// This file holds the faults about the users of sessions, marks, step-ups and bindings.

// owners takes the user of each session from the first token that it sees.
func owners() (of func(sessionID, userID string) string) {
	var known sync.Map
	return func(sessionID, userID string) string {
		owner, _ := known.LoadOrStore(sessionID, userID)
		return owner.(string)
	}
}

func revokesAnothers(b *broken) {
	owner := owners()
	presents(func(p *blacklist.Presentation) { owner(p.Token.SessionID, p.Token.UserID) })(b)
	revokes(func(r *blacklist.Revocation) {
		if r.SessionID != "" {
			r.UserID = owner(r.SessionID, r.UserID)
		}
	})(b)
}

func tokensOfAnyone(b *broken) {
	owner := owners()
	tokens(func(t *blacklist.TokenRef) { t.UserID = owner(t.SessionID, t.UserID) })(b)
}

// staleIs replaces the verdict Stale of one method by another.
func staleIs(method string, v blacklist.Verdict) func(string, *blacklist.Result) {
	return func(of string, r *blacklist.Result) {
		if of == method && r.Verdict == blacklist.Stale {
			*r = blacklist.Result{Verdict: v}
		}
	}
}

// staleConsumes records the successor of a stale token, and answers that the token is stale.
func staleConsumes(b *broken) {
	var last sync.Mutex
	var p blacklist.Presentation
	presents(func(now *blacklist.Presentation) { last.Lock(); p = *now; last.Unlock() })(b)
	b.result = func(method string, r *blacklist.Result) {
		if method == "Present" && r.Verdict == blacklist.Stale {
			p.SuccessorMark = r.Mark
			_, _ = b.Store.Present(context.Background(), p)
		}
	}
}

func keptIsFresh(p *blacklist.Presentation) {
	if p.SuccessorID == "" {
		p.Token.Mark = 1 << 62
	}
}

func confirmsStale(b *broken) {
	b.confirm = func(ctx context.Context, t blacklist.TokenRef) (blacklist.Verdict, error) {
		t.Mark = 1 << 62
		return b.Store.Confirm(ctx, t)
	}
}

// forgetsStale treats branches as invalid once their claims are stale.
func forgetsStale(b *broken) {
	var dead sync.Map
	tokens(func(t *blacklist.TokenRef) {
		r, _ := b.Store.Store.Check(context.Background(), *t, 0, 0)
		if r.Verdict == blacklist.Stale && t.Generation > 1 {
			dead.Store(t.TokenID, true)
		}
		if _, is := dead.Load(t.TokenID); is {
			t.Generation = 1 << 40
		}
	})(b)
}

// marksFirst checks the mark before anything else.
func marksFirst(b *broken) {
	var marks sync.Map
	b.revoke = func(ctx context.Context, r blacklist.Revocation) (blacklist.Change, error) {
		c, err := b.Store.Revoke(ctx, r)
		if c.Verdict == blacklist.Stale {
			marks.Store(c.UserID, c.Mark)
		}
		return c, err
	}
	b.present = func(ctx context.Context, p blacklist.Presentation) (blacklist.Verdict, error) {
		if mark, ok := marks.Load(p.Token.UserID); ok && p.SuccessorMark < mark.(int64) {
			return blacklist.Stale, nil
		}
		return b.Store.Present(ctx, p)
	}
}

// raisesEach raises the sessions of a user one by one.
func raisesEach(b *broken) {
	b.revoke = func(ctx context.Context, r blacklist.Revocation) (blacklist.Change, error) {
		if r.Why != blacklist.Stale || r.SessionID != "" {
			return b.Store.Revoke(ctx, r)
		}
		list, err := b.Store.Sessions(ctx, r.UserID)
		c := blacklist.Change{UserID: r.UserID, Verdict: blacklist.Stale, At: time.Now(), Sessions: len(list)}
		for _, s := range list {
			one := r
			one.SessionID = s.ID
			raised, err := b.Store.Revoke(ctx, one)
			if err != nil {
				return c, err
			}
			c.Mark = max(c.Mark+1, raised.Mark)
			pause()
		}
		return c, err
	}
}

// pause waits for one tick of the clock.
func pause() { time.Sleep(10 * time.Microsecond) }

func beginsFresh(p *blacklist.Presentation) {
	if p.Token.Generation == 0 {
		p.SuccessorMark = 1 << 62
	}
}

func raisesLater(b *broken) {
	b.revoke = func(ctx context.Context, r blacklist.Revocation) (blacklist.Change, error) {
		if r.Why != blacklist.Stale {
			return b.Store.Revoke(ctx, r)
		}
		now := time.Now()
		go func() {
			time.Sleep(5 * time.Millisecond)
			_, _ = b.Store.Revoke(context.WithoutCancel(ctx), r)
		}()
		return blacklist.Change{UserID: r.UserID, SessionID: r.SessionID, Verdict: blacklist.Stale, Mark: now.UnixMicro(), At: now}, nil
	}
}

// marksByTheClock raises no mark if the clock is behind the last mark.
func marksByTheClock(b *broken) {
	var last atomic.Int64
	b.revoke = func(ctx context.Context, r blacklist.Revocation) (blacklist.Change, error) {
		now := time.Now()
		if r.Why == blacklist.Stale && now.UnixMicro() <= last.Load() {
			return blacklist.Change{UserID: r.UserID, SessionID: r.SessionID, Verdict: r.Why, Mark: now.UnixMicro(), At: now}, nil
		}
		c, err := b.Store.Revoke(ctx, r)
		last.Store(c.Mark)
		return c, err
	}
}

func stepUpIsNew(p *blacklist.Presentation) {
	if p.StepUp.ID != "" {
		p.StepUp.At = time.Now().Add(time.Hour)
	}
}

// exceptsAll revokes the other sessions one by one, and does not change the exception.
func exceptsAll(b *broken) {
	b.revoke = func(ctx context.Context, r blacklist.Revocation) (blacklist.Change, error) {
		if r.Except == "" {
			return b.Store.Revoke(ctx, r)
		}
		list, err := b.Store.Sessions(ctx, r.UserID)
		for _, s := range list {
			if s.ID == r.Except {
				continue
			}
			if _, err := b.Store.Revoke(ctx, blacklist.Revocation{UserID: r.UserID, SessionID: s.ID, Why: r.Why, Keep: r.Keep}); err != nil {
				return blacklist.Change{}, err
			}
		}
		return blacklist.Change{UserID: r.UserID, Except: r.Except, Verdict: r.Why, At: time.Now()}, err
	}
}

func stepUpOfCode(p *blacklist.Presentation) {
	if p.Token.Generation == 0 {
		p.StepUp = blacklist.StepUp{}
	}
}

// stepUpFirst answers StepUpRefused if a step-up comes with an invalid token.
func stepUpFirst(b *broken) {
	b.present = func(ctx context.Context, p blacklist.Presentation) (blacklist.Verdict, error) {
		v, err := b.Store.Check(ctx, p.Token, 0, 0)
		if p.StepUp.ID != "" && err == nil && v != blacklist.Accepted && v != blacklist.Stale {
			return blacklist.StepUpRefused, nil
		}
		return b.Store.Present(ctx, p)
	}
}

// bindsAnytime treats a session as bound if the first token that it sees of it is bound.
func bindsAnytime(b *broken) {
	var bound sync.Map
	tokens(func(t *blacklist.TokenRef) {
		first, _ := bound.LoadOrStore(t.SessionID, t.Bound)
		t.Bound = first.(bool)
	})(b)
}

// bindsAgain treats a code that is bound when it is used as one that was bound when it was issued.
func bindsAgain(t *blacklist.TokenRef) {
	t.Bound, t.Bind = t.Bound || t.Bind != "", ""
}

// anyKey looks at whether a code comes with a key, not at which.
func anyKey(t *blacklist.TokenRef) {
	if t.Bind != "" {
		t.Bind = "a key"
	}
}

// bindsOnce accepts a code that was bound once only.
func bindsOnce(t *blacklist.TokenRef) {
	if t.Bind != "" {
		t.Bind = newID("")
	}
}

// otherKeysAreLate takes a code that comes with another key for a late message.
func otherKeysAreLate(b *broken) {
	b.present = func(ctx context.Context, p blacklist.Presentation) (blacklist.Verdict, error) {
		v, err := b.Store.Check(ctx, p.Token, 0, 0)
		if err == nil && v == blacklist.Replaced && p.Token.Generation == 0 && p.SocketOpenedAt.Before(time.Now()) {
			return blacklist.Superseded, nil
		}
		return b.Store.Present(ctx, p)
	}
}

// comparesKeysOfBound looks at the key that a code comes with although it names its own.
func comparesKeysOfBound(t *blacklist.TokenRef) {
	if t.Generation == 0 && t.Bind != "" {
		t.Bound = false
	}
}

// cutsForgetKeys forgets the key of the session that a revocation has excepted.
func cutsForgetKeys(b *broken) {
	var cut sync.Map
	revokes(func(r *blacklist.Revocation) { cut.Store(r.Except, true) })(b)
	tokens(func(t *blacklist.TokenRef) {
		if _, is := cut.Load(t.SessionID); is && t.Bind != "" {
			t.Bind = newID("")
		}
	})(b)
}
