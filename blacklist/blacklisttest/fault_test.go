package blacklisttest_test

import (
	"cmp"
	"context"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/z-open/socketauth/blacklist"
)

// This file holds the faults that need more than a line.

// newID returns a new id, whatever id is given.
func newID(string) string {
	var id [16]byte
	rand.Read(id[:])
	return base64.RawURLEncoding.EncodeToString(id[:])
}

func or(id, other string) string { return cmp.Or(id, other) }

// or2 returns the other id if there is one.
func or2(id, other string) string {
	if id == "" {
		return ""
	}
	return other
}

func oneCode(t *blacklist.TokenRef) string {
	if t.Generation == 0 {
		return otherID
	}
	return t.TokenID
}

// second replaces a verdict by another after it was given that often, which is once by default.
func second(from, to blacklist.Verdict, after ...int32) func(*broken) {
	limit := int32(1)
	if len(after) > 0 {
		limit = after[0]
	}
	return func(b *broken) {
		var n atomic.Int32
		b.present = func(ctx context.Context, p blacklist.Presentation) (blacklist.Verdict, error) {
			v, err := b.Store.Present(ctx, p)
			if v == from && n.Add(1) > limit {
				v = to
			}
			return v, err
		}
	}
}

func confirmedOnce(b *broken) {
	var seen sync.Map
	b.confirm = func(ctx context.Context, t blacklist.TokenRef) (blacklist.Verdict, error) {
		v, err := b.Store.Confirm(ctx, t)
		if _, again := seen.LoadOrStore(t.TokenID, true); again && v == blacklist.Accepted {
			v = blacklist.Superseded
		}
		return v, err
	}
}

func checkConfirms(b *broken) {
	b.check = func(ctx context.Context, t blacklist.TokenRef, grace, branch time.Duration) (blacklist.Verdict, error) {
		_, _ = b.Store.Confirm(ctx, t)
		return b.Store.Check(ctx, t, grace, branch)
	}
}

func revokesMore(b *broken) {
	b.revoke = func(ctx context.Context, r blacklist.Revocation) (blacklist.Change, error) {
		c, err := b.Store.Revoke(ctx, r)
		if err == nil && c.SessionID != "" && c.UserID != "" {
			_, err = b.Store.Revoke(ctx, blacklist.Revocation{UserID: c.UserID, Why: r.Why, Keep: r.Keep})
		}
		return c, err
	}
}

func revokesKnown(b *broken) {
	var known sync.Map
	presents(func(p *blacklist.Presentation) { known.Store(p.Token.SessionID, true) })(b)
	b.revoke = func(ctx context.Context, r blacklist.Revocation) (blacklist.Change, error) {
		if _, is := known.Load(r.SessionID); !is && r.SessionID != "" {
			return blacklist.Change{UserID: r.UserID, SessionID: r.SessionID, Verdict: r.Why, At: time.Now()}, nil
		}
		return b.Store.Revoke(ctx, r)
	}
}

func revokesSessions(b *broken) {
	b.revoke = func(ctx context.Context, r blacklist.Revocation) (blacklist.Change, error) {
		if r.UserID == "" || r.SessionID != "" {
			return b.Store.Revoke(ctx, r)
		}
		c := blacklist.Change{UserID: r.UserID, Verdict: r.Why, At: time.Now()}
		list, err := b.Store.Sessions(ctx, r.UserID)
		for _, s := range list {
			_, err := b.Store.Revoke(ctx, blacklist.Revocation{UserID: r.UserID, SessionID: s.ID, Why: r.Why, Keep: r.Keep})
			if err != nil {
				return c, err
			}
			c.Sessions++
		}
		return c, err
	}
}

// exceptsAny spares the excepted session even if the store does not know it yet.
func exceptsAny(b *broken) {
	var spared atomic.Value
	spared.Store("")
	b.revoke = func(ctx context.Context, r blacklist.Revocation) (blacklist.Change, error) {
		if r.Except != "" {
			spared.Store(r.Except)
		}
		return b.Store.Revoke(ctx, r)
	}
	b.check = func(ctx context.Context, t blacklist.TokenRef, grace, branch time.Duration) (blacklist.Verdict, error) {
		v, err := b.Store.Check(ctx, t, grace, branch)
		if v == blacklist.Revoked && t.Generation == 0 && spared.Load() == t.SessionID {
			v = blacklist.Accepted
		}
		return v, err
	}
}

// revokesForKeep treats a revoked session as alive again once its revocation need not be remembered
// any more.
func revokesForKeep(b *broken) {
	var until atomic.Int64
	b.revoke = func(ctx context.Context, r blacklist.Revocation) (blacklist.Change, error) {
		until.Store(time.Now().Add(r.Keep).UnixNano())
		return b.Store.Revoke(ctx, r)
	}
	b.check = func(ctx context.Context, t blacklist.TokenRef, grace, branch time.Duration) (blacklist.Verdict, error) {
		v, err := b.Store.Check(ctx, t, grace, branch)
		if v >= blacklist.SessionCompromised && time.Now().UnixNano() > until.Load() {
			v = blacklist.Accepted
		}
		return v, err
	}
}

func lastReason(b *broken) {
	var last atomic.Uint32
	b.revoke = func(ctx context.Context, r blacklist.Revocation) (blacklist.Change, error) {
		last.Store(uint32(r.Why))
		return b.Store.Revoke(ctx, r)
	}
	b.check = func(ctx context.Context, t blacklist.TokenRef, grace, branch time.Duration) (blacklist.Verdict, error) {
		v, err := b.Store.Check(ctx, t, grace, branch)
		if v >= blacklist.SessionCompromised {
			v = blacklist.Verdict(last.Load())
		}
		return v, err
	}
}

func revokesUserOnce(b *broken) {
	var first sync.Map
	b.revoke = func(ctx context.Context, r blacklist.Revocation) (blacklist.Change, error) {
		if c, again := first.Load(r.UserID); again && r.UserID != "" && r.SessionID == "" {
			return c.(blacklist.Change), nil
		}
		c, err := b.Store.Revoke(ctx, r)
		if r.SessionID == "" {
			first.Store(r.UserID, c)
		}
		return c, err
	}
}

func takesAll(b *broken) {
	b.revoke = func(ctx context.Context, r blacklist.Revocation) (blacklist.Change, error) {
		if r.Why == 0 {
			return blacklist.Change{}, nil
		}
		return b.Store.Revoke(ctx, r)
	}
}

func sessions(change func([]blacklist.Session) []blacklist.Session) func(*broken) {
	return func(b *broken) {
		b.sessions = func(ctx context.Context, userID string) ([]blacklist.Session, error) {
			list, err := b.Store.Sessions(ctx, userID)
			return change(list), err
		}
	}
}

func lowerUsers(b *broken) {
	tokens(func(t *blacklist.TokenRef) { t.UserID = strings.ToLower(t.UserID) })(b)
	revokes(func(r *blacklist.Revocation) { r.UserID = strings.ToLower(r.UserID) })(b)
	b.sessions = func(ctx context.Context, userID string) ([]blacklist.Session, error) {
		list, err := b.Store.Sessions(ctx, strings.ToLower(userID))
		for n := range list {
			list[n].UserID = userID
		}
		return list, err
	}
}

func watchesOn(b *broken) {
	b.watch = func(ctx context.Context, heard func(blacklist.Change)) error {
		go func() { _ = b.Store.Watch(context.WithoutCancel(ctx), heard) }()
		<-ctx.Done()
		return nil
	}
}

// tellsLocked holds a lock while it revokes, and so while it calls a watcher.
func tellsLocked(b *broken) {
	var mu sync.Mutex
	b.revoke = func(ctx context.Context, r blacklist.Revocation) (blacklist.Change, error) {
		mu.Lock()
		defer mu.Unlock()
		return b.Store.Revoke(ctx, r)
	}
	b.check = func(ctx context.Context, t blacklist.TokenRef, grace, branch time.Duration) (blacklist.Verdict, error) {
		if !mu.TryLock() { // otherwise the call would wait until ctx ends
			return 0, errors.New("locked")
		}
		defer mu.Unlock()
		return b.Store.Check(ctx, t, grace, branch)
	}
}

// presentsInTwo decides first, and stores a moment later what it decided.
func presentsInTwo(b *broken) {
	b.present = func(ctx context.Context, p blacklist.Presentation) (blacklist.Verdict, error) {
		v, err := b.Store.Check(ctx, p.Token, 0, 0)
		if err != nil || v != blacklist.Accepted {
			return b.Store.Present(ctx, p)
		}
		time.Sleep(time.Millisecond)
		_, err = b.Store.Present(ctx, p)
		return v, err
	}
}

func confirmsInTwo(b *broken) {
	b.confirm = func(ctx context.Context, t blacklist.TokenRef) (blacklist.Verdict, error) {
		v, err := b.Store.Check(ctx, t, 0, 0)
		if err != nil || v != blacklist.Accepted {
			return b.Store.Confirm(ctx, t)
		}
		time.Sleep(time.Millisecond)
		_, err = b.Store.Confirm(ctx, t)
		return v, err
	}
}

// revokesLater misses a presentation that has begun but not ended.
func revokesLater(b *broken) {
	var under atomic.Int32
	b.present = func(ctx context.Context, p blacklist.Presentation) (blacklist.Verdict, error) {
		under.Add(1)
		defer under.Add(-1)
		time.Sleep(time.Millisecond)
		return b.Store.Present(ctx, p)
	}
	b.revoke = func(ctx context.Context, r blacklist.Revocation) (blacklist.Change, error) {
		if under.Load() > 0 {
			return blacklist.Change{SessionID: r.SessionID, UserID: r.UserID, All: r.All, Verdict: r.Why, At: time.Now()}, nil
		}
		return b.Store.Revoke(ctx, r)
	}
}

func countsOne(b *broken) {
	b.revoke = func(ctx context.Context, r blacklist.Revocation) (blacklist.Change, error) {
		c, err := b.Store.Revoke(ctx, r)
		c.Sessions = max(1, c.Sessions)
		return c, err
	}
}

// oneAtATime refuses a call while another one runs.
func oneAtATime(b *broken) {
	var mu sync.Mutex
	b.present = func(ctx context.Context, p blacklist.Presentation) (blacklist.Verdict, error) {
		if !mu.TryLock() {
			return blacklist.Unknown, nil
		}
		defer mu.Unlock()
		time.Sleep(time.Millisecond)
		return b.Store.Present(ctx, p)
	}
}

// readsAll reads all sessions, including ended ones, to find those that are alive.
func readsAll(b *broken) {
	var mu sync.Mutex
	var all, read []string
	presents(func(p *blacklist.Presentation) {
		mu.Lock()
		defer mu.Unlock()
		all = append(all, p.Token.SessionID)
	})(b)
	b.sessions = func(ctx context.Context, userID string) ([]blacklist.Session, error) {
		mu.Lock()
		read = slices.Clone(all)
		mu.Unlock()
		list, err := b.Store.Sessions(ctx, userID)
		return list[:min(len(list), len(read))], err
	}
}

// latest is the latest time that a store has seen.
type latest struct{ at atomic.Int64 }

// ahead records the time, and reports whether an earlier call saw a later time.
func (l *latest) ahead() bool {
	now := time.Now().UnixNano()
	if l.at.Load() > now {
		return true
	}
	l.at.Store(now)
	return false
}

// loginsWait lets no session begin before the clock has reached the latest time again.
func loginsWait(b *broken) {
	var seen latest
	b.present = func(ctx context.Context, p blacklist.Presentation) (blacklist.Verdict, error) {
		if seen.ahead() && p.Token.Generation == 0 {
			return blacklist.Unknown, nil
		}
		return b.Store.Present(ctx, p)
	}
}

// negativeIsYoung accepts a token that was replaced in the future.
func negativeIsYoung(b *broken) {
	var seen latest
	presents(func(*blacklist.Presentation) { seen.ahead() })(b)
	b.check = func(ctx context.Context, t blacklist.TokenRef, grace, branch time.Duration) (blacklist.Verdict, error) {
		v, err := b.Store.Check(ctx, t, grace, branch)
		if v == blacklist.Replaced && grace > 0 && seen.ahead() {
			v = blacklist.Accepted
		}
		return v, err
	}
}

// negativeIsLate treats a token that was replaced in the future as a late frame.
func negativeIsLate(b *broken) {
	var seen latest
	b.present = func(ctx context.Context, p blacklist.Presentation) (blacklist.Verdict, error) {
		ahead := seen.ahead()
		p.EndOnReuse = p.EndOnReuse && !ahead
		v, err := b.Store.Present(ctx, p)
		if v == blacklist.Replaced && ahead {
			v = blacklist.Superseded
		}
		return v, err
	}
}

// revokedUntilSetBack ignores a revocation that was in the future.
func revokedUntilSetBack(b *broken) {
	var seen latest
	revokes(func(*blacklist.Revocation) { seen.ahead() })(b)
	b.check = func(ctx context.Context, t blacklist.TokenRef, grace, branch time.Duration) (blacklist.Verdict, error) {
		v, err := b.Store.Check(ctx, t, grace, branch)
		if v >= blacklist.SessionCompromised && seen.at.Load() > time.Now().UnixNano() {
			v = blacklist.Accepted
		}
		return v, err
	}
}
