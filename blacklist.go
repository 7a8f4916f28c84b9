package socketauth

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"github.com/z-open/socketauth/blacklist"
	"github.com/z-open/socketauth/internal/id"
	"github.com/z-open/socketauth/internal/lazyctx"
)

// This file holds how the core uses its store.

// retryStore calls the store until it succeeds, for up to Timeout: if only a reply was lost, the
// same step has the same result again.
func (a *Auth) retryStore(ctx context.Context, step func(ctx context.Context, again bool) error) error {
	ctx, cancel := lazyctx.WithTimeout(ctx, a.timeout)
	defer cancel()
	for pause := 10 * time.Millisecond; ; pause = min(2*pause, time.Second/2) {
		err := a.contain("Blacklist", func() error { return step(ctx, pause > 10*time.Millisecond) })
		if err == nil || sleep(ctx, pause) != nil {
			return err
		}
	}
}

// sleep waits for the duration or for the end of ctx, and returns the error of ctx.
func sleep(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// present has the store decide on a presentation. It goes on when the client leaves, because other
// sockets may have to hear of the result. But once hasLeft reports that the client has left, a
// failed step is not repeated and only its result is looked up. If nothing has been decided, the
// client's token is then not used up. Only if the token turns out to be reused, the step is
// repeated all the same.
func (a *Auth) present(ctx context.Context, p blacklist.Presentation, hasLeft func() bool) (result blacklist.Result, err error) {
	err = a.retryStore(ctx, func(ctx context.Context, again bool) (err error) {
		left := again && hasLeft()
		if left {
			result, err = a.blacklist.Check(ctx, p.Token, 0, 0)
		}
		if !left || result.Verdict == blacklist.Replaced && p.EndOnReuse { // the token is dead, so this cannot harm the client
			result, err = a.blacklist.Present(ctx, p)
		}
		if again && result.Verdict == blacklist.SessionCompromised && p.EndOnReuse {
			result.Verdict = blacklist.ReuseDetected // by the call whose reply was lost
		}
		return err
	})
	return result, err
}

// judge has the store decide on a token that is presented without a successor. Nothing is recorded
// of a living token. One that was replaced is presented, in a second call: what Check calls
// Replaced is dead for good, so nothing can come between the two.
func (a *Auth) judge(ctx context.Context, p blacklist.Presentation) (verdict blacklist.Verdict, err error) {
	if p.Token.Generation == 0 { // a code has to have a successor; nobody is given this one
		p.SuccessorID, p.SuccessorExpiresAt, p.Confirming = id.New().String(), p.Token.ExpiresAt, true
	}
	presented := false // Present was called, and its reply may have been lost
	err = a.retryStore(ctx, func(ctx context.Context, _ bool) (err error) {
		result, err := a.blacklist.Check(ctx, p.Token, 0, 0)
		if verdict = result.Verdict; err != nil {
			return err
		}
		switch {
		case verdict == blacklist.Replaced:
			result, err = a.blacklist.Present(ctx, p)
			verdict, presented = result.Verdict, true
		case presented && verdict == blacklist.SessionCompromised && p.EndOnReuse:
			verdict = blacklist.ReuseDetected
		}
		return err
	})
	return verdict, err
}

// confirm has the store record that a client has stored a token.
func (a *Auth) confirm(ctx context.Context, t blacklist.TokenRef) (result blacklist.Result, err error) {
	err = a.retryStore(ctx, func(ctx context.Context, _ bool) (err error) {
		result, err = a.blacklist.Confirm(ctx, t)
		return err
	})
	return result, err
}

// confirmOnce has the store record that the client has stored a token, unless that is being done.
func (a *Auth) confirmOnce(ctx context.Context, t *token) *refusal {
	result, err := a.confirming.Do(ctx, t.ID, func() (blacklist.Result, error) {
		return a.confirm(context.WithoutCancel(ctx), t.ref())
	})
	switch v := result.Verdict; {
	case err != nil:
		return &refusal{code: codeUnavailable, cause: err}
	case v == blacklist.Accepted:
		return nil
	case v == blacklist.Superseded, v == blacklist.Replaced:
		return &refusal{code: codeNoLongerValid, retryable: true}
	default:
		return refuseVerdict(v)
	}
}

// logOut has the store end the session of a token for its user.
func (a *Auth) logOut(ctx context.Context, t *token) error {
	_, err := a.revokeInStore(ctx, blacklist.Revocation{UserID: t.UserID, SessionID: t.SessionID, Why: blacklist.LoggedOut})
	return err
}

// revokeInStore has the store end sessions.
func (a *Auth) revokeInStore(ctx context.Context, r blacklist.Revocation) (change blacklist.Change, err error) {
	r.Keep = a.tokens.codeWithin()
	err = a.retryStore(ctx, func(ctx context.Context, _ bool) (err error) {
		change, err = a.blacklist.Revoke(ctx, r)
		return err
	})
	return change, err
}

// checkToken asks the store whether a token is alive. It records nothing.
func (a *Auth) checkToken(ctx context.Context, t *token) *refusal {
	_, refused := a.checkWithin(ctx, t, 0)
	return refused
}

// checkWithin is checkToken for a token that may have been replaced for as long as grace.
// unconfirmed reports whether its client has not confirmed it yet.
func (a *Auth) checkWithin(ctx context.Context, t *token, grace time.Duration) (unconfirmed bool, refused *refusal) {
	var result blacklist.Result
	err := a.contain("Blacklist", func() (err error) {
		result, err = a.blacklist.Check(ctx, t.ref(), grace, 0)
		return err
	})
	switch {
	case err != nil:
		return false, &refusal{code: codeUnavailable, cause: err}
	case result.Verdict != blacklist.Accepted:
		if result.Verdict == blacklist.Unknown {
			a.logLoss(slog.String("user", t.UserID), slog.String("session", t.SessionID))
		}
		return false, refuseVerdict(result.Verdict)
	}
	return result.Unconfirmed, nil
}

// byWallClock converts a time that this process has read earlier to what the wall clock would have
// shown if it had been set then as it is now. The clock may have been set since, and the store
// compares the time with its own clock.
func byWallClock(t time.Time) time.Time {
	now := time.Now()
	return now.Add(-now.Sub(t))
}

// timeBy returns the Time of a store's clock, whose panics are contained and which takes at most
// Timeout. It is not counted: a store seldom has to ask for the time.
func (a *Auth) timeBy(clock blacklist.Clock) func(context.Context, string, time.Time) (time.Time, error) {
	return func(ctx context.Context, userID string, at time.Time) (t time.Time, err error) {
		ctx, cancel := lazyctx.WithTimeout(ctx, a.timeout)
		defer cancel()
		err = a.contain("Blacklist", func() error {
			t, err = clock.Time(ctx, userID, at)
			return err
		})
		return t, err
	}
}

// checkAll has the store answer several Checks with both grace and branch zero at once. It needs a
// BatchChecker.
func (a *Auth) checkAll(ctx context.Context, tokens []blacklist.TokenRef) (results []blacklist.Result, err error) {
	defer func(began time.Time) { a.counts.store.call(began, err) }(time.Now())
	err = a.contain("Blacklist", func() error {
		results, err = a.batch.CheckAll(ctx, tokens)
		return err
	})
	if err == nil && len(results) != len(tokens) {
		err = fmt.Errorf("socketauth: the blacklist returned %d results for %d tokens", len(results), len(tokens))
	}
	return results, err
}

// measured is a store whose calls are counted. Beside Store it has no method: what else the store
// can do is looked up before it is wrapped.
type measured struct {
	blacklist.Store
	*recorder
}

// begin begins a call. end is called with its error.
func (m measured) begin(ctx context.Context, op string) (traced context.Context, end func(err error), began time.Time) {
	traced, end = m.span(ctx, op)
	return traced, end, time.Now()
}

// ended ends what begin began.
func (m measured) ended(began time.Time, end func(err error), err error) {
	m.counts.store.call(began, err)
	end(err)
}

func (m measured) Present(ctx context.Context, p blacklist.Presentation) (r blacklist.Result, err error) {
	ctx, end, began := m.begin(ctx, "store Present")
	defer func() { m.ended(began, end, err) }()
	return m.Store.Present(ctx, p)
}

func (m measured) Confirm(ctx context.Context, t blacklist.TokenRef) (r blacklist.Result, err error) {
	ctx, end, began := m.begin(ctx, "store Confirm")
	defer func() { m.ended(began, end, err) }()
	return m.Store.Confirm(ctx, t)
}

func (m measured) Check(ctx context.Context, t blacklist.TokenRef, grace, branch time.Duration) (r blacklist.Result, err error) {
	ctx, end, began := m.begin(ctx, "store Check")
	defer func() { m.ended(began, end, err) }()
	return m.Store.Check(ctx, t, grace, branch)
}

func (m measured) Revoke(ctx context.Context, r blacklist.Revocation) (c blacklist.Change, err error) {
	ctx, end, began := m.begin(ctx, "store Revoke")
	defer func() { m.ended(began, end, err) }()
	return m.Store.Revoke(ctx, r)
}

func (m measured) Sessions(ctx context.Context, userID string) (s []blacklist.Session, err error) {
	ctx, end, began := m.begin(ctx, "store Sessions")
	defer func() { m.ended(began, end, err) }()
	return m.Store.Sessions(ctx, userID)
}

// askStore asks the store about a token that nobody has, and returns its error.
func (a *Auth) askStore(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, a.timeout)
	defer cancel()
	now := time.Now()
	return a.contain("Blacklist", func() error {
		_, err := a.blacklist.Check(ctx, blacklist.TokenRef{
			SessionID: id.New().String(), TokenID: id.New().String(), UserID: "-", Generation: 1,
			IssuedAt: now, AuthTime: now, ExpiresAt: now.Add(time.Minute),
		}, 0, 0)
		return err
	})
}
