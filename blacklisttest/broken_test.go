package blacklisttest_test

import (
	"context"
	"time"

	"github.com/z-open/socketauth"
)

// broken is a store some of whose methods are another's.
type broken struct {
	socketauth.Blacklist
	present  func(ctx context.Context, p socketauth.Presentation) (socketauth.Verdict, error)
	confirm  func(ctx context.Context, t socketauth.TokenRef) (socketauth.Verdict, error)
	check    func(ctx context.Context, t socketauth.TokenRef, grace, branch time.Duration) (socketauth.Verdict, error)
	revoke   func(ctx context.Context, r socketauth.Revocation) (socketauth.Change, error)
	sessions func(ctx context.Context, userID string) ([]socketauth.Session, error)
	watch    func(ctx context.Context, heard func(socketauth.Change)) error
	forgets  bool // on a restart
}

func (b *broken) Present(ctx context.Context, p socketauth.Presentation) (socketauth.Verdict, error) {
	if b.present != nil {
		return b.present(ctx, p)
	}
	return b.Blacklist.Present(ctx, p)
}

func (b *broken) Confirm(ctx context.Context, t socketauth.TokenRef) (socketauth.Verdict, error) {
	if b.confirm != nil {
		return b.confirm(ctx, t)
	}
	return b.Blacklist.Confirm(ctx, t)
}

func (b *broken) Check(ctx context.Context, t socketauth.TokenRef, grace, branch time.Duration) (socketauth.Verdict, error) {
	if b.check != nil {
		return b.check(ctx, t, grace, branch)
	}
	return b.Blacklist.Check(ctx, t, grace, branch)
}

func (b *broken) Revoke(ctx context.Context, r socketauth.Revocation) (socketauth.Change, error) {
	if b.revoke != nil {
		return b.revoke(ctx, r)
	}
	return b.Blacklist.Revoke(ctx, r)
}

func (b *broken) Sessions(ctx context.Context, userID string) ([]socketauth.Session, error) {
	if b.sessions != nil {
		return b.sessions(ctx, userID)
	}
	return b.Blacklist.Sessions(ctx, userID)
}

func (b *broken) Watch(ctx context.Context, heard func(socketauth.Change)) error {
	if b.watch != nil {
		return b.watch(ctx, heard)
	}
	return b.Blacklist.Watch(ctx, heard)
}

// presents has each presentation changed before it is decided.
func presents(change func(*socketauth.Presentation)) func(*broken) {
	return func(b *broken) {
		b.present = func(ctx context.Context, p socketauth.Presentation) (socketauth.Verdict, error) {
			change(&p)
			return b.Blacklist.Present(ctx, p)
		}
	}
}

// tokens has each token changed before it is decided on, by whichever method.
func tokens(change func(*socketauth.TokenRef)) func(*broken) {
	return func(b *broken) {
		presents(func(p *socketauth.Presentation) { change(&p.Token) })(b)
		b.confirm = func(ctx context.Context, t socketauth.TokenRef) (socketauth.Verdict, error) {
			change(&t)
			return b.Blacklist.Confirm(ctx, t)
		}
		b.check = func(ctx context.Context, t socketauth.TokenRef, grace, branch time.Duration) (socketauth.Verdict, error) {
			change(&t)
			return b.Blacklist.Check(ctx, t, grace, branch)
		}
	}
}

// confirms has the verdict on each confirmation changed.
func confirms(from, to socketauth.Verdict) func(*broken) {
	return func(b *broken) {
		b.confirm = func(ctx context.Context, t socketauth.TokenRef) (socketauth.Verdict, error) {
			v, err := b.Blacklist.Confirm(ctx, t)
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
		b.check = func(ctx context.Context, t socketauth.TokenRef, grace, branch time.Duration) (socketauth.Verdict, error) {
			change(&grace, &branch)
			return b.Blacklist.Check(ctx, t, grace, branch)
		}
	}
}

// revokes has each revocation changed.
func revokes(change func(*socketauth.Revocation)) func(*broken) {
	return func(b *broken) {
		b.revoke = func(ctx context.Context, r socketauth.Revocation) (socketauth.Change, error) {
			change(&r)
			return b.Blacklist.Revoke(ctx, r)
		}
	}
}

// watches has a watcher hear otherwise.
func watches(hear func(b *broken, heard func(socketauth.Change), c socketauth.Change)) func(*broken) {
	return func(b *broken) {
		b.watch = func(ctx context.Context, heard func(socketauth.Change)) error {
			return b.Blacklist.Watch(ctx, func(c socketauth.Change) { hear(b, heard, c) })
		}
	}
}
