package blacklisttest_test

import (
	"context"
	"time"

	"github.com/z-open/socketauth/blacklist"
)

// plain is a store whose results have no mark.
type plain struct{ blacklist.Store }

func (p plain) Present(ctx context.Context, of blacklist.Presentation) (blacklist.Verdict, error) {
	r, err := p.Store.Present(ctx, of)
	return r.Verdict, err
}

func (p plain) Confirm(ctx context.Context, t blacklist.TokenRef) (blacklist.Verdict, error) {
	r, err := p.Store.Confirm(ctx, t)
	return r.Verdict, err
}

func (p plain) Check(ctx context.Context, t blacklist.TokenRef, grace, branch time.Duration) (blacklist.Verdict, error) {
	r, err := p.Store.Check(ctx, t, grace, branch)
	return r.Verdict, err
}

// broken is a store with some methods of another store.
type broken struct {
	Store    plain
	present  func(ctx context.Context, p blacklist.Presentation) (blacklist.Verdict, error)
	confirm  func(ctx context.Context, t blacklist.TokenRef) (blacklist.Verdict, error)
	check    func(ctx context.Context, t blacklist.TokenRef, grace, branch time.Duration) (blacklist.Verdict, error)
	revoke   func(ctx context.Context, r blacklist.Revocation) (blacklist.Change, error)
	sessions func(ctx context.Context, userID string) ([]blacklist.Session, error)
	watch    func(ctx context.Context, heard func(blacklist.Change)) error
	forgets  bool // whether it forgets on a restart

	// These change arguments and results of each call, whichever store it goes to.
	presentation []func(*blacklist.Presentation)
	token        []func(*blacklist.TokenRef)
	result       func(method string, r *blacklist.Result)
}

// changed returns a token with the change that is made to all tokens.
func (b *broken) changed(t blacklist.TokenRef) blacklist.TokenRef {
	for _, change := range b.token {
		change(&t)
	}
	return t
}

// decided returns a changed result.
func (b *broken) decided(method string, r blacklist.Result, err error) (blacklist.Result, error) {
	if b.result != nil && err == nil {
		b.result(method, &r)
	}
	return r, err
}

func (b *broken) Present(ctx context.Context, p blacklist.Presentation) (blacklist.Result, error) {
	p.Token = b.changed(p.Token)
	for _, change := range b.presentation {
		change(&p)
	}
	if b.present != nil {
		v, err := b.present(ctx, p)
		return b.decided("Present", blacklist.Result{Verdict: v}, err)
	}
	r, err := b.Store.Store.Present(ctx, p)
	return b.decided("Present", r, err)
}

func (b *broken) Confirm(ctx context.Context, t blacklist.TokenRef) (blacklist.Result, error) {
	t = b.changed(t)
	if b.confirm != nil {
		v, err := b.confirm(ctx, t)
		return b.decided("Confirm", blacklist.Result{Verdict: v}, err)
	}
	r, err := b.Store.Store.Confirm(ctx, t)
	return b.decided("Confirm", r, err)
}

func (b *broken) Check(ctx context.Context, t blacklist.TokenRef, grace, branch time.Duration) (blacklist.Result, error) {
	t = b.changed(t)
	if b.check != nil {
		v, err := b.check(ctx, t, grace, branch)
		return b.decided("Check", blacklist.Result{Verdict: v}, err)
	}
	r, err := b.Store.Store.Check(ctx, t, grace, branch)
	return b.decided("Check", r, err)
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

// presents changes each presentation before the store decides on it.
func presents(change func(*blacklist.Presentation)) func(*broken) {
	return func(b *broken) { b.presentation = append(b.presentation, change) }
}

// tokens changes each token before the store decides on it, in every method.
func tokens(change func(*blacklist.TokenRef)) func(*broken) {
	return func(b *broken) { b.token = append(b.token, change) }
}

// confirms changes the verdict of each confirmation.
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

// checks changes the bounds of each check.
func checks(change func(grace, branch *time.Duration)) func(*broken) {
	return func(b *broken) {
		b.check = func(ctx context.Context, t blacklist.TokenRef, grace, branch time.Duration) (blacklist.Verdict, error) {
			change(&grace, &branch)
			return b.Store.Check(ctx, t, grace, branch)
		}
	}
}

// revokes changes each revocation.
func revokes(change func(*blacklist.Revocation)) func(*broken) {
	return func(b *broken) {
		b.revoke = func(ctx context.Context, r blacklist.Revocation) (blacklist.Change, error) {
			change(&r)
			return b.Store.Revoke(ctx, r)
		}
	}
}

// watches changes what a watcher receives.
func watches(hear func(b *broken, heard func(blacklist.Change), c blacklist.Change)) func(*broken) {
	return func(b *broken) {
		b.watch = func(ctx context.Context, heard func(blacklist.Change)) error {
			return b.Store.Watch(ctx, func(c blacklist.Change) { hear(b, heard, c) })
		}
	}
}
