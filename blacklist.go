package socketauth

import (
	"context"
	"log/slog"
	"time"

	"github.com/z-open/socketauth/blacklist"
)

// This file is how the core uses its store.

// insist takes a step of the blacklist until it succeeds, for up to Timeout: where only the reply was lost, the step is
// the same when it is taken again.
func (a *Auth) insist(ctx context.Context, step func(ctx context.Context, again bool) error) error {
	ctx, cancel := context.WithTimeout(ctx, a.timeout)
	defer cancel()
	for pause := 10 * time.Millisecond; ; pause = min(2*pause, time.Second/2) {
		err := a.contain("Blacklist", func() error { return step(ctx, pause > 10*time.Millisecond) })
		if err == nil || rest(ctx, pause) != nil {
			return err
		}
	}
}

// rest waits for a while, or for the end of ctx.
func rest(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// standing asks the blacklist whether a token is alive, and records nothing.
func (a *Auth) standing(ctx context.Context, t *token, grace, branch time.Duration) *refusal {
	var verdict blacklist.Verdict
	err := a.contain("Blacklist", func() (err error) {
		verdict, err = a.blacklist.Check(ctx, t.ref(), grace, branch)
		return err
	})
	switch {
	case err != nil:
		return &refusal{code: codeUnavailable, cause: err}
	case verdict != blacklist.Accepted:
		if verdict == blacklist.Unknown {
			a.logLoss(slog.String("user", t.UserID), slog.String("session", t.SessionID))
		}
		return refuseVerdict(verdict)
	}
	return nil
}

// measured is a store whose calls are counted.
type measured struct {
	blacklist.Store
	counts *storeCounts
}

func (m measured) Present(ctx context.Context, p blacklist.Presentation) (v blacklist.Verdict, err error) {
	defer func(began time.Time) { m.counts.call(began, err) }(time.Now())
	return m.Store.Present(ctx, p)
}

func (m measured) Confirm(ctx context.Context, t blacklist.TokenRef) (v blacklist.Verdict, err error) {
	defer func(began time.Time) { m.counts.call(began, err) }(time.Now())
	return m.Store.Confirm(ctx, t)
}

func (m measured) Check(ctx context.Context, t blacklist.TokenRef, grace, branch time.Duration) (v blacklist.Verdict, err error) {
	defer func(began time.Time) { m.counts.call(began, err) }(time.Now())
	return m.Store.Check(ctx, t, grace, branch)
}

func (m measured) Revoke(ctx context.Context, r blacklist.Revocation) (c blacklist.Change, err error) {
	defer func(began time.Time) { m.counts.call(began, err) }(time.Now())
	return m.Store.Revoke(ctx, r)
}

func (m measured) Sessions(ctx context.Context, userID string) (s []blacklist.Session, err error) {
	defer func(began time.Time) { m.counts.call(began, err) }(time.Now())
	return m.Store.Sessions(ctx, userID)
}
