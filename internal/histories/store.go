package histories

import (
	"context"
	"errors"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/z-open/socketauth"
)

var errStore = errors.New("histories: the store has failed")

// store is the Blacklist that a server is given: the one under test, which the ledger watches, and which fails at times.
type store struct {
	socketauth.Blacklist
	w      *world
	ledger *ledger

	mu   sync.Mutex
	rand *rand.Rand // of its own: a real server calls from many goroutines

	takeTime func(context.Context) error // of a call, before and after; nil where the server that is played does that
}

// before is what happens before a step is applied, after what happens then; either may fail.
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
		s.w.counts.StoreFaults++
	}
	return failed
}

// Present implements socketauth.Blacklist.
func (s *store) Present(ctx context.Context, p socketauth.Presentation) (verdict socketauth.Verdict, err error) {
	s.ledger.asked(p.SuccessorID)
	if err := s.before(ctx); err != nil {
		return 0, err
	}
	c := s.ledger.call(p.Token.SessionID)
	if verdict, err = s.Blacklist.Present(ctx, p); err == nil {
		s.ledger.presented(c, p, verdict)
	}
	if s.ledger.done(p.Token.SessionID); err != nil {
		return 0, err
	}
	if err := s.after(ctx); err != nil {
		return 0, err
	}
	return verdict, nil
}

// present is Present for the server that is played. A machine that decides and writes in two steps lets time pass in
// between.
func (s *store) present(p socketauth.Presentation, reply func(socketauth.Verdict, error)) {
	m, ok := s.Blacklist.(*Machine)
	if !ok || m.mutation != DecideThenWrite {
		reply(s.Present(context.Background(), p))
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

// Confirm implements socketauth.Blacklist.
func (s *store) Confirm(ctx context.Context, t socketauth.TokenRef) (verdict socketauth.Verdict, err error) {
	if err := s.before(ctx); err != nil {
		return 0, err
	}
	c := s.ledger.call(t.SessionID)
	if verdict, err = s.Blacklist.Confirm(ctx, t); err == nil {
		s.ledger.confirmed(c, t, verdict)
	}
	if s.ledger.done(t.SessionID); err != nil {
		return 0, err
	}
	if err := s.after(ctx); err != nil {
		return 0, err
	}
	return verdict, nil
}

// Check implements socketauth.Blacklist.
func (s *store) Check(ctx context.Context, t socketauth.TokenRef, grace, branch time.Duration) (verdict socketauth.Verdict, err error) {
	if err := s.before(ctx); err != nil {
		return 0, err
	}
	c := s.ledger.call(t.SessionID)
	if verdict, err = s.Blacklist.Check(ctx, t, grace, branch); err == nil {
		s.ledger.checked(c, t, grace, branch, verdict)
	}
	if s.ledger.done(t.SessionID); err != nil {
		return 0, err
	}
	return verdict, nil
}

// Revoke implements socketauth.Blacklist.
func (s *store) Revoke(ctx context.Context, r socketauth.Revocation) (change socketauth.Change, err error) {
	if err := s.before(ctx); err != nil {
		return socketauth.Change{}, err
	}
	s.ledger.revokes(r)
	if change, err = s.Blacklist.Revoke(ctx, r); err != nil {
		return socketauth.Change{}, err
	}
	s.ledger.hasRevoked(r)
	if err := s.after(ctx); err != nil {
		return socketauth.Change{}, err
	}
	return change, nil
}

// twin asks two stores, and tells where they differ. It is for one goroutine.
type twin struct {
	socketauth.Blacklist
	model *Machine
	w     *world
}

func (t *twin) differ(call string, about any, real, model any) {
	if real != model {
		t.w.violate("%s %v: the store says %v, the reference machine %v", call, about, real, model)
	}
}

// forgotten reports whether the store may not know a session any more, since its tokens have all
// expired. The reference machine never forgets. Neither accepts any of them.
func (t *twin) forgotten(token socketauth.TokenRef, verdict socketauth.Verdict) bool {
	return verdict != socketauth.Accepted && time.Since(t.model.life(token.SessionID).lastExp) >= time.Minute
}

// Present implements socketauth.Blacklist. A Check before it must have said the same.
func (t *twin) Present(ctx context.Context, p socketauth.Presentation) (socketauth.Verdict, error) {
	before, err := t.Blacklist.Check(ctx, p.Token, 0, 0)
	if err != nil {
		return 0, err
	}
	verdict, err := t.Blacklist.Present(ctx, p)
	model, _ := t.model.Present(ctx, p)
	if err == nil && !t.forgotten(p.Token, verdict) {
		t.differ("presenting", name(p.Token), verdict, model)
		repeated := verdict == socketauth.Accepted && before == socketauth.Replaced
		if (before == socketauth.Accepted) != (verdict == socketauth.Accepted) && !repeated {
			t.differ("checking, then presenting", name(p.Token), before, verdict)
		}
	}
	return verdict, err
}

// Confirm implements socketauth.Blacklist.
func (t *twin) Confirm(ctx context.Context, token socketauth.TokenRef) (socketauth.Verdict, error) {
	verdict, err := t.Blacklist.Confirm(ctx, token)
	model, _ := t.model.Confirm(ctx, token)
	if err == nil {
		t.differ("confirming", name(token), verdict, model)
	}
	return verdict, err
}

// Check implements socketauth.Blacklist.
func (t *twin) Check(ctx context.Context, token socketauth.TokenRef, grace, branch time.Duration) (socketauth.Verdict, error) {
	verdict, err := t.Blacklist.Check(ctx, token, grace, branch)
	model, _ := t.model.Check(ctx, token, grace, branch)
	if err == nil && !t.forgotten(token, verdict) {
		t.differ("checking", name(token), verdict, model)
	}
	return verdict, err
}

// Revoke implements socketauth.Blacklist.
func (t *twin) Revoke(ctx context.Context, r socketauth.Revocation) (socketauth.Change, error) {
	change, err := t.Blacklist.Revoke(ctx, r)
	model, _ := t.model.Revoke(ctx, r)
	if err == nil {
		t.differ("revoking", r, change.Sessions, model.Sessions)
		if model.Sessions > 0 { // else it may be forgotten
			t.differ("revoking", r, change.UserID, model.UserID)
		}
	}
	return change, err
}

// Sessions implements socketauth.Blacklist.
func (t *twin) Sessions(ctx context.Context, userID string) ([]socketauth.Session, error) {
	sessions, err := t.Blacklist.Sessions(ctx, userID)
	model, _ := t.model.Sessions(ctx, userID)
	if err == nil {
		t.differ("listing the sessions of", userID, len(sessions), len(model))
	}
	return sessions, err
}
