package blacklisttest_test

import (
	"context"
	"time"

	"github.com/z-open/socketauth/blacklist"
)

// broken is a store some of whose methods are another's.
type broken struct {
	blacklist.Store
	present  func(ctx context.Context, p blacklist.Presentation) (blacklist.Verdict, error)
	confirm  func(ctx context.Context, t blacklist.TokenRef) (blacklist.Verdict, error)
	check    func(ctx context.Context, t blacklist.TokenRef, grace, branch time.Duration) (blacklist.Verdict, error)
	revoke   func(ctx context.Context, r blacklist.Revocation) (blacklist.Change, error)
	sessions func(ctx context.Context, userID string) ([]blacklist.Session, error)
	watch    func(ctx context.Context, heard func(blacklist.Change)) error
	forgets  bool // on a restart
}

func (b *broken) Present(ctx context.Context, p blacklist.Presentation) (blacklist.Verdict, error) {
	if b.present != nil {
		return b.present(ctx, p)
	}
	return b.Store.Present(ctx, p)
}

func (b *broken) Confirm(ctx context.Context, t blacklist.TokenRef) (blacklist.Verdict, error) {
	if b.confirm != nil {
		return b.confirm(ctx, t)
	}
	return b.Store.Confirm(ctx, t)
}

func (b *broken) Check(ctx context.Context, t blacklist.TokenRef, grace, branch time.Duration) (blacklist.Verdict, error) {
	if b.check != nil {
		return b.check(ctx, t, grace, branch)
	}
	return b.Store.Check(ctx, t, grace, branch)
}

func (b *broken) Revoke(ctx context.Context, r blacklist.Revocation) (blacklist.Change, error) {
	if b.revoke != nil {
		return b.revoke(ctx, r)
	}
	return b.Store.Revoke(ctx, r)
}

func (b *broken) Sessions(ctx context.Context, userID string) ([]blacklist.Session, error) {
	if b.sessions != nil {
		return b.sessions(ctx, userID)
	}
	return b.Store.Sessions(ctx, userID)
}

func (b *broken) Watch(ctx context.Context, heard func(blacklist.Change)) error {
	if b.watch != nil {
		return b.watch(ctx, heard)
	}
	return b.Store.Watch(ctx, heard)
}

// presents has each presentation changed before it is decided.
func presents(change func(*blacklist.Presentation)) func(*broken) {
	return func(b *broken) {
		b.present = func(ctx context.Context, p blacklist.Presentation) (blacklist.Verdict, error) {
			change(&p)
			return b.Store.Present(ctx, p)
		}
	}
}

// tokens has each token changed before it is decided on, by whichever method.
func tokens(change func(*blacklist.TokenRef)) func(*broken) {
	return func(b *broken) {
		presents(func(p *blacklist.Presentation) { change(&p.Token) })(b)
		b.confirm = func(ctx context.Context, t blacklist.TokenRef) (blacklist.Verdict, error) {
			change(&t)
			return b.Store.Confirm(ctx, t)
		}
		b.check = func(ctx context.Context, t blacklist.TokenRef, grace, branch time.Duration) (blacklist.Verdict, error) {
			change(&t)
			return b.Store.Check(ctx, t, grace, branch)
		}
	}
}

// confirms has the verdict on each confirmation changed.
func confirms(from, to blacklist.Verdict) func(*broken) {
	return func(b *broken) {
		b.confirm = func(ctx context.Context, t blacklist.TokenRef) (blacklist.Verdict, error) {
			v, err := b.Store.Confirm(ctx, t)
			if v == from {
				v = to
			}
			return v, err
		}
	}
}

// checks has the bounds of each check changed.
func checks(change func(grace, branch *time.Duration)) func(*broken) {
	return func(b *broken) {
		b.check = func(ctx context.Context, t blacklist.TokenRef, grace, branch time.Duration) (blacklist.Verdict, error) {
			change(&grace, &branch)
			return b.Store.Check(ctx, t, grace, branch)
		}
	}
}

// revokes has each revocation changed.
func revokes(change func(*blacklist.Revocation)) func(*broken) {
	return func(b *broken) {
		b.revoke = func(ctx context.Context, r blacklist.Revocation) (blacklist.Change, error) {
			change(&r)
			return b.Store.Revoke(ctx, r)
		}
	}
}

// watches has a watcher hear otherwise.
func watches(hear func(b *broken, heard func(blacklist.Change), c blacklist.Change)) func(*broken) {
	return func(b *broken) {
		b.watch = func(ctx context.Context, heard func(blacklist.Change)) error {
			return b.Store.Watch(ctx, func(c blacklist.Change) { hear(b, heard, c) })
		}
	}
}
