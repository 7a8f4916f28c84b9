package socketauth_test

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/z-open/socketauth/blacklist"
)

// faultyStore is a real store whose calls can be made to fail.
type faultyStore struct {
	blacklist.Store
	mu     sync.Mutex
	before func(call string) error    // fails a call before it has an effect
	after  func(call string) error    // fails a call after it had its effect
	seen   func(t blacklist.TokenRef) // is called with what is presented
}

func (f *faultyStore) call(name string, real func() error) error {
	f.mu.Lock()
	before, after := f.before, f.after
	f.mu.Unlock()
	if before != nil {
		if err := before(name); err != nil {
			return err
		}
	}
	if err := real(); err != nil || after == nil {
		return err
	}
	return after(name)
}

func (f *faultyStore) Present(ctx context.Context, p blacklist.Presentation) (r blacklist.Result, err error) {
	if f.seen != nil {
		f.seen(p.Token)
	}
	err = f.call("Present", func() error { r, err = f.Store.Present(ctx, p); return err })
	return r, err
}

func (f *faultyStore) Check(ctx context.Context, t blacklist.TokenRef, grace, branch time.Duration) (r blacklist.Result, err error) {
	err = f.call("Check", func() error { r, err = f.Store.Check(ctx, t, grace, branch); return err })
	return r, err
}

func (f *faultyStore) Confirm(ctx context.Context, t blacklist.TokenRef) (r blacklist.Result, err error) {
	err = f.call("Confirm", func() error { r, err = f.Store.Confirm(ctx, t); return err })
	return r, err
}

func (f *faultyStore) Revoke(ctx context.Context, r blacklist.Revocation) (c blacklist.Change, err error) {
	err = f.call("Revoke", func() error { c, err = f.Store.Revoke(ctx, r); return err })
	return c, err
}

func (f *faultyStore) Sessions(ctx context.Context, userID string) (s []blacklist.Session, err error) {
	err = f.call("Sessions", func() error { s, err = f.Store.Sessions(ctx, userID); return err })
	return s, err
}

// fail sets what fails calls from now on. nil is nothing.
func (f *faultyStore) fail(before, after func(call string) error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.before, f.after = before, after
}

var errStoreDown = errors.New("store down")

func storeDown(string) error { return errStoreDown }

// sharedStore is a store with a Watch, as one that several processes share has it.
type sharedStore struct {
	blacklist.Store
	mu     sync.Mutex
	notify func(blacklist.Change)
	watch  func(ctx context.Context) error
}

func (o *sharedStore) Watch(ctx context.Context, fn func(blacklist.Change)) error {
	o.mu.Lock()
	o.notify = fn
	o.mu.Unlock()
	return o.watch(ctx)
}
