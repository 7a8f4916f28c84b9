package socketauth

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"

	"github.com/z-open/socketauth/blacklist"
)

// This file holds how a token is replaced by one whose claims are up to date, for whoever presents
// it: a socket or a request.

// renewal is one presentation, after all was checked that needs no store.
type renewal struct {
	token        *token
	stepUp       *token                 // nil for none
	confirm      bool                   // the client confirms what it is given
	presentation blacklist.Presentation // without what depends on the successor

	offered  func() *token                             // returns what the client was offered for token before, or nil
	updating func()                                    // called before UpdateClaims is; may be nil
	ready    func(next *token, tenant string) *refusal // called before the store decides on the first successor
	again    func(next *token, tenant string)          // called before it decides on a later one
	hasLeft  func() bool                               // reports whether the client has left
	judge    func() (blacklist.Verdict, error)         // decides on token without a successor
}

// renewed is what came of a renewal.
type renewed struct {
	verdict blacklist.Verdict
	next    *token // the token itself if it is kept
	tenant  string
}

// renewals is how many successors are minted at most for one presentation. A second one is needed
// if the claims were found to be out of date.
const renewals = 3

var errRenewals = errors.New("the claims were brought up to date again and again meanwhile")

// renew has the store decide on a presentation. If the claims of the successor are out of date,
// they are fetched and it is tried again.
func (a *Auth) renew(ctx context.Context, r *renewal) (renewed, *refusal) {
	t := r.token
	known, checked := t.Mark, false // known is the mark that the claims have to have at least
	for n := range renewals {
		next := a.reuse(r, known)
		if next == nil {
			if n == 0 && a.updates != nil && r.updating != nil { // later, ready was called
				r.updating()
			}
			var verdict blacklist.Verdict
			var refused *refusal
			next, verdict, refused = a.replacement(ctx, r, known, !checked)
			switch checked = true; {
			case refused != nil:
				return renewed{}, refused
			case verdict != blacklist.Accepted:
				return r.rejected(verdict)
			}
		}
		tenant, refused := a.tenant(ctx, next)
		switch {
		case refused != nil:
			return renewed{}, refused
		case n > 0:
			r.again(next, tenant)
		default:
			if refused := r.ready(next, tenant); refused != nil {
				return renewed{}, refused
			}
		}
		p := r.presentation
		p.Confirming, p.StepUp = r.confirm && next != t, stepUpOf(r.stepUp)
		if next != t {
			p.SuccessorID, p.SuccessorExpiresAt, p.SuccessorMark = next.ID, next.ExpiresAt, next.Mark
		}
		result, err := a.present(context.WithoutCancel(ctx), p, r.hasLeft)
		switch {
		case err != nil:
			return renewed{}, &refusal{code: codeUnavailable, cause: err}
		case result.Verdict != blacklist.Stale:
			return renewed{result.Verdict, next, tenant}, nil
		}
		known = result.Mark
		a.outdate(t, known)
	}
	return renewed{}, &refusal{code: codeUnavailable, cause: errRenewals}
}

// outdate tells the other sockets of a token's session which mark the store has named. They have
// been told, unless this process could not hear of it.
func (a *Auth) outdate(t *token, mark int64) {
	for _, server := range a.allServers() {
		server.outdate(blacklist.Change{UserID: t.UserID, SessionID: t.SessionID, Verdict: blacklist.Stale, Mark: mark})
	}
}

// replacement mints the token that is to replace that of r, with claims that were fetched after the
// mark known was seen. Before UpdateClaims is called, the store is asked, if check is set. If it
// does not accept the token, its verdict is returned.
func (a *Auth) replacement(ctx context.Context, r *renewal, known int64, check bool) (*token, blacklist.Verdict, *refusal) {
	if check && a.updates != nil {
		result, err := a.checkInStore(ctx, r.token)
		switch {
		case err != nil:
			return nil, 0, &refusal{code: codeUnavailable, cause: err}
		case result.Verdict == blacklist.Stale:
			known = result.Mark
			a.outdate(r.token, known)
		case result.Verdict != blacklist.Accepted:
			return nil, result.Verdict, nil
		}
	}
	next, refused := a.successor(ctx, r.token, known, r.stepUp)
	return next, blacklist.Accepted, refused
}

// reuse returns the token itself if it is young enough to be kept, or what was offered for it
// before, if the claims of that are new enough. Otherwise it returns nil.
func (a *Auth) reuse(r *renewal, known int64) *token {
	switch {
	case r.stepUp != nil:
		return nil
	case a.tokens.isFresh(r.token) && r.token.Mark >= known:
		return r.token
	}
	if offered := r.offered(); offered != nil && offered.Mark >= known && offered.Thumbprint == r.token.Thumbprint {
		return offered
	}
	return nil
}

// rejected returns what comes of a token that Check does not accept. If it was replaced, the store
// decides whether that is reuse.
func (r *renewal) rejected(v blacklist.Verdict) (renewed, *refusal) {
	if v == blacklist.Replaced {
		var err error
		if v, err = r.judge(); err != nil {
			return renewed{}, &refusal{code: codeUnavailable, cause: err}
		}
	}
	if v == blacklist.Accepted || v == blacklist.Stale {
		return renewed{}, &refusal{code: codeUnavailable, cause: errors.New("the blacklist has rejected and then accepted a token")}
	}
	return renewed{verdict: v}, nil
}

// checkInStore asks the store whether it would accept a token, and records nothing.
func (a *Auth) checkInStore(ctx context.Context, t *token) (result blacklist.Result, err error) {
	err = a.retryStore(context.WithoutCancel(ctx), func(ctx context.Context, _ bool) (err error) {
		result, err = a.blacklist.Check(ctx, t.ref(), 0, 0)
		return err
	})
	return result, err
}

// successor mints the token that is to replace t, with claims that were fetched after the mark
// known was seen, and with what a step-up code proves, unless that is nil.
func (a *Auth) successor(ctx context.Context, t *token, known int64, stepUp *token) (next *token, refused *refusal) {
	from := *t
	from.Mark = known
	if a.updates != nil {
		var err error
		switch from.App, err = a.updates.fetch(ctx, t, known); {
		case errors.Is(err, ErrInvalidCredentials): // the user is gone
			if _, err := a.RevokeSession(context.WithoutCancel(ctx), t.UserID, t.SessionID); err != nil {
				return nil, &refusal{code: codeUnavailable, cause: err}
			}
			return nil, &refusal{code: codeSessionRevoked, cause: err}
		case errors.Is(err, errLeft):
			return nil, &refusal{code: codeTimeout, cause: err}
		case err != nil:
			return nil, refuseError("UpdateClaims", err)
		}
	}
	if stepUp != nil {
		from.prove(stepUp)
	}
	err := a.contain("Refresh", func() (err error) {
		next, err = a.tokens.successor(ctx, &from)
		return err
	})
	switch {
	case err == nil && !bytes.Equal(from.App, t.App) && a.tokens.refresh == nil:
		if _, err = a.tokens.verify(ctx, next.Text); err != nil { // for its "nbf", for example
			return nil, refuseError("UpdateClaims", fmt.Errorf("its claims make a token that is not accepted: %w", err))
		}
		return next, nil
	case err == nil:
		return next, nil
	case errors.Is(err, errExpired):
		return nil, &refusal{code: codeTokenExpired}
	}
	return nil, refuseError("minting", err)
}

// verifyStepUp checks a step-up code that was presented with the token t. It returns nil for no
// code. Whatever is wrong with a code, it says nothing about the token.
func (a *Auth) verifyStepUp(ctx context.Context, text string, t *token) (*token, *refusal) {
	if text == "" {
		return nil, nil
	}
	code, refused := a.verifyAny(ctx, text)
	switch {
	case refused == nil && code.Use == useStepUp && code.SessionID == t.SessionID && code.UserID == t.UserID &&
		t.Use == useSession && !code.AuthTime.Before(t.AuthTime):
		return code, nil
	case refused == nil, refused.code == codeInvalidToken, refused.code == codeTokenExpired:
		return nil, &refusal{code: codeStepUpRefused, cause: errNotStepUp, token: t}
	}
	return nil, refused.withToken(t)
}

var errNotStepUp = errors.New("not a step-up code of this session")

// reject does what follows from a token that the store has rejected, and returns the refusal that
// the client is told. e says where the token came from.
func (a *Auth) reject(ctx context.Context, t *token, v blacklist.Verdict, e AuditEvent) *refusal {
	refused := refuseVerdict(v).withToken(t)
	switch v {
	case blacklist.Unknown:
		a.logLoss(slog.String("user", t.UserID), slog.String("session", t.SessionID),
			slog.Uint64("generation", t.Generation), slog.String("address", e.Address))
	case blacklist.ReuseDetected:
		e.Code = refused.code
		a.record(ctx, slog.LevelWarn, "socketauth: a token was presented that had been replaced; its session was ended everywhere, because two clients have had the token",
			e, slog.Uint64("generation", t.Generation),
			slog.String("fix", "if this is not theft: clients give the handshake's auth as a function that reads the storage, store each new token at once, confirm it only then, and let tabs take turns; a page that is reloaded while it presents without confirming causes this too"))
		a.endSession(t.SessionID, causeOf(blacklist.SessionCompromised))
	}
	return refused
}

// unlessReuse is for a token that was refused before the store was asked, to authenticate or to log
// out: it returns that refusal, unless the token had been replaced, which is reuse. Then it returns
// that verdict. A client that is refused for good does not come again, so the theft would never be
// noticed: the owner's device may have been asleep until its token expired, while a thief went on.
// An expired code is never reuse, because URLs with codes stay in the history of browsers. A bad
// step-up code refuses nobody for good, but is included: otherwise a thief could add one to try
// tokens without an alarm.
func (a *Auth) unlessReuse(refused *refusal, judge func() (blacklist.Verdict, error)) (*refusal, blacklist.Verdict) {
	goesOn := !refused.terminal() && refused.code != codeStepUpRefused
	if goesOn || refused.token.Use != useSession || a.reusePolicy != EndSession {
		return refused, 0 // the client will try again, or reuse would have no consequence
	}
	switch verdict, err := judge(); {
	case err != nil:
		return &refusal{code: codeUnavailable, cause: err}, 0
	case verdict == blacklist.ReuseDetected:
		return nil, verdict
	}
	return refused, 0
}

// outcome is what a presentation comes to.
type outcome struct {
	refused *refusal          // by anything but the store
	verdict blacklist.Verdict // of the store, if it was asked

	presented, next *token
	tenant          string
	confirming      bool   // the client must confirm next before it is let in with it
	acknowledges    bool   // the client acknowledges "authenticated"
	done            func() // ends what beginStep began; nil if the store was not asked
}
