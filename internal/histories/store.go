package histories

import (
	"context"
	"errors"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/z-open/socketauth/blacklist"
)

var errStore = errors.New("histories: the store has failed")

// store is the Blacklist that the server is given. It wraps the store under test, reports its
// answers to the ledger, and fails at times.
type store struct {
	blacklist.Store
	w      *world
	ledger *ledger

	mu   sync.Mutex
	rand *rand.Rand // not the world's, since a real server calls from many goroutines

	// takeTime waits for the time that a call takes, before and after the step. It is nil with the
	// simulated server, which does that itself.
	takeTime func(context.Context) error
}

// before takes time before a step is applied, and after does so when it has been. Both may fail.
func (s *store) before(ctx context.Context) error {
	return s.around(ctx, s.w.weather().storeBefore)
}

func (s *store) after(ctx context.Context) error { return s.around(ctx, s.w.weather().storeAfter) }

func (s *store) around(ctx context.Context, p float64) error {
	if s.takeTime != nil {
		if err := s.takeTime(ctx); err != nil {
			return err
		}
	}
	if s.fails(p) {
		return errStore
	}
	return nil
}

func (s *store) fails(p float64) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	failed := p > 0 && s.rand.Float64() < p
	if failed {
		s.w.mu.Lock() // there may be several stores
		s.w.counts.StoreFaults++
		s.w.mu.Unlock()
	}
	return failed
}

// Present implements blacklist.Store.
func (s *store) Present(ctx context.Context, p blacklist.Presentation) (result blacklist.Result, err error) {
	s.ledger.asked(p.SuccessorID)
	if err := s.before(ctx); err != nil {
		return blacklist.Result{}, err
	}
	c := s.ledger.call(p.Token.SessionID)
	if result, err = s.Store.Present(ctx, p); err == nil {
		p.Token = s.w.byHistory(p.Token)
		p.SuccessorExpiresAt = p.SuccessorExpiresAt.Add(-s.w.offset)
		if p.StepUp.ID != "" {
			p.StepUp.At = p.StepUp.At.Add(-s.w.offset)
		}
		s.ledger.presented(c, p, result.Verdict)
	}
	if s.ledger.done(p.Token.SessionID); err != nil {
		return blacklist.Result{}, err
	}
	if err := s.after(ctx); err != nil {
		return blacklist.Result{}, err
	}
	return result, nil
}

// present is Present for the simulated server. With the fault DecideThenWrite, time passes between
// the decision and the write.
func (s *store) present(p blacklist.Presentation, reply func(blacklist.Verdict, error)) {
	m, ok := s.Store.(*Machine)
	if !ok || m.mutation != DecideThenWrite {
		reply(verdictOf(s.Present(context.Background(), p)))
		return
	}
	c := s.ledger.call(p.Token.SessionID)
	verdict, write := m.decide(p)
	s.w.after(s.w.between(time.Millisecond, 100*time.Millisecond), func() {
		write()
		s.ledger.presented(c, p, verdict)
		s.ledger.done(p.Token.SessionID)
		reply(verdict, nil)
	})
}

// verdictOf returns the verdict of a result, without its mark.
func verdictOf(r blacklist.Result, err error) (blacklist.Verdict, error) { return r.Verdict, err }

// Confirm implements blacklist.Store.
func (s *store) Confirm(ctx context.Context, t blacklist.TokenRef) (result blacklist.Result, err error) {
	if err := s.before(ctx); err != nil {
		return blacklist.Result{}, err
	}
	c := s.ledger.call(t.SessionID)
	if result, err = s.Store.Confirm(ctx, t); err == nil {
		s.ledger.confirmed(c, t, result.Verdict)
	}
	if s.ledger.done(t.SessionID); err != nil {
		return blacklist.Result{}, err
	}
	if err := s.after(ctx); err != nil {
		return blacklist.Result{}, err
	}
	return result, nil
}

// Check implements blacklist.Store.
func (s *store) Check(ctx context.Context, t blacklist.TokenRef, grace, branch time.Duration) (result blacklist.Result, err error) {
	if err := s.before(ctx); err != nil {
		return blacklist.Result{}, err
	}
	c := s.ledger.call(t.SessionID)
	if result, err = s.Store.Check(ctx, t, grace, branch); err == nil {
		s.ledger.checked(c, s.w.byHistory(t), grace, branch, result.Verdict)
	}
	if s.ledger.done(t.SessionID); err != nil {
		return blacklist.Result{}, err
	}
	return result, nil
}

// Revoke implements blacklist.Store.
func (s *store) Revoke(ctx context.Context, r blacklist.Revocation) (change blacklist.Change, err error) {
	if err := s.before(ctx); err != nil {
		return blacklist.Change{}, err
	}
	if r.Why == blacklist.Stale {
		return s.refresh(ctx, r)
	}
	s.ledger.revokes(r)
	if change, err = s.Store.Revoke(ctx, r); err != nil {
		return blacklist.Change{}, err
	}
	s.ledger.hasRevoked(r)
	if err := s.after(ctx); err != nil {
		return blacklist.Change{}, err
	}
	return change, nil
}

// refresh is Revoke for a refresh.
func (s *store) refresh(ctx context.Context, r blacklist.Revocation) (change blacklist.Change, err error) {
	c := s.ledger.refreshes(r)
	if change, err = s.Store.Revoke(ctx, r); err != nil {
		return blacklist.Change{}, err
	}
	s.ledger.hasRefreshed(c, r, change.Mark)
	if err := s.after(ctx); err != nil {
		return blacklist.Change{}, err
	}
	return change, nil
}

// twin calls two stores, and reports where their answers differ. It must be used by one goroutine
// only.
type twin struct {
	blacklist.Store
	model *Machine
	w     *world
}

func (t *twin) differ(call string, about any, real, model any) {
	if real != model {
		t.w.violate("%s %v: the store says %v, the reference machine %v", call, about, real, model)
	}
}

// forgotten reports whether the store may have forgotten a session because all its tokens have
// expired. The reference never forgets, and neither accepts an expired token.
func (t *twin) forgotten(token blacklist.TokenRef, r blacklist.Result) bool {
	return r.Verdict != blacklist.Accepted && time.Since(t.model.life(token.SessionID).lastExp) >= time.Minute
}

// Present implements blacklist.Store. It checks that a Check just before gives the same answer.
func (t *twin) Present(ctx context.Context, p blacklist.Presentation) (blacklist.Result, error) {
	before, err := t.Store.Check(ctx, p.Token, 0, 0)
	if err != nil {
		return blacklist.Result{}, err
	}
	result, err := t.Store.Present(ctx, p)
	model, _ := t.model.Present(ctx, p)
	if err == nil && !t.forgotten(p.Token, result) {
		t.differ("presenting", name(p.Token), result, model)
		repeated := result.Verdict == blacklist.Accepted && before.Verdict == blacklist.Replaced
		if (before.Verdict == blacklist.Accepted) != (result.Verdict == blacklist.Accepted) && !repeated {
			t.differ("checking, then presenting", name(p.Token), before, result)
		}
	}
	return result, err
}

// Confirm implements blacklist.Store.
func (t *twin) Confirm(ctx context.Context, token blacklist.TokenRef) (blacklist.Result, error) {
	result, err := t.Store.Confirm(ctx, token)
	model, _ := t.model.Confirm(ctx, token)
	if err == nil {
		t.differ("confirming", name(token), result, model)
	}
	return result, err
}

// Check implements blacklist.Store.
func (t *twin) Check(ctx context.Context, token blacklist.TokenRef, grace, branch time.Duration) (blacklist.Result, error) {
	result, err := t.Store.Check(ctx, token, grace, branch)
	model, _ := t.model.Check(ctx, token, grace, branch)
	if err == nil && !t.forgotten(token, result) {
		t.differ("checking", name(token), result, model)
	}
	return result, err
}

// Revoke implements blacklist.Store.
func (t *twin) Revoke(ctx context.Context, r blacklist.Revocation) (blacklist.Change, error) {
	change, err := t.Store.Revoke(ctx, r)
	model, _ := t.model.Revoke(ctx, r)
	if err == nil {
		t.differ("revoking", r, change.Sessions, model.Sessions)
		if model.Sessions > 0 { // otherwise the store may have forgotten the session
			t.differ("revoking", r, change.UserID, model.UserID)
		}
	}
	return change, err
}

// Sessions implements blacklist.Store.
func (t *twin) Sessions(ctx context.Context, userID string) ([]blacklist.Session, error) {
	sessions, err := t.Store.Sessions(ctx, userID)
	model, _ := t.model.Sessions(ctx, userID)
	if err == nil {
		t.differ("listing the sessions of", userID, len(sessions), len(model))
	}
	return sessions, err
}
