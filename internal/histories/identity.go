package histories

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/z-open/socketauth"
)

// This file holds what a real server's app does about identities: users have roles that change, and
// prove again who they are.

// roles are the roles of the app's users: numbers that only rise.
type roles struct {
	mu  sync.Mutex
	now map[string]int
}

// of returns a user's role.
func (r *roles) of(userID string) int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.now[userID]
}

// change gives a user the next role, and returns it.
func (r *roles) change(userID string) int {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.now[userID]++
	return r.now[userID]
}

// enforced are the roles that users have at least, as one server has promised: it has returned from
// a refresh after them.
type enforced struct {
	mu    sync.Mutex
	least map[string]int
}

func (e *enforced) of(userID string) int {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.least[userID]
}

func (e *enforced) raise(userID string, role int) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.least[userID] = max(e.least[userID], role)
}

// updateClaims is the app's UpdateClaims.
func (r *realServer) updateClaims(ctx context.Context, old jwt.MapClaims) (jwt.MapClaims, error) {
	userID, _ := old["sub"].(string)
	role := r.w.roles.of(userID)
	if err := r.takeTime(ctx, r.w.weather().slowHook); err != nil {
		return nil, err
	}
	if r.fails() {
		return nil, errHook
	}
	return jwt.MapClaims{"sub": userID, "role": role}, nil
}

func roleIn(claims jwt.MapClaims) int {
	role, _ := claims["role"].(float64)
	return int(role)
}

// handleIdentity has the server check under which roles handlers begin, and that OnClaimsChanged is
// told of each change.
func (r *realServer) handleIdentity() {
	r.OnAuthenticated(func(ctx context.Context, s *socketauth.Socket) error {
		claims, _ := socketauth.ClaimsFromContext(ctx)
		s.Set("acted", roleIn(claims))
		return nil
	})
	r.OnClaimsChanged(func(ctx context.Context, s *socketauth.Socket, old jwt.MapClaims) error {
		claims, _ := socketauth.ClaimsFromContext(ctx)
		if acted, _ := s.Value("acted").(int); acted != roleIn(old) {
			r.w.violate("OnClaimsChanged is told of role %d, and the app acts by %d", roleIn(old), acted)
		}
		r.tell(func() { r.w.counts.Changes++ })
		if err := r.takeTime(ctx, r.w.weather().slowHook); err != nil {
			return err
		}
		if r.fails() {
			return errHook
		}
		s.Set("acted", roleIn(claims))
		return nil
	})
	r.On(string(act), func(ctx context.Context, s *socketauth.Socket, args socketauth.Args) (any, error) {
		claims, _ := socketauth.ClaimsFromContext(ctx)
		role, userID := roleIn(claims), s.UserID()
		var sent int // what was enforced when the event came
		if err := args.Decode(&sent); err != nil {
			return nil, err
		}
		ended, _ := s.Value("least").(int) // what was enforced when the handler before had ended
		if role < max(sent, ended) {
			r.w.violate("a handler begins under role %d of %s, after a refresh for role %d has returned", role, userID, max(sent, ended))
		}
		if acted, _ := s.Value("acted").(int); acted < role {
			r.w.violate("a handler begins under role %d of %s, and the app acts by %d", role, userID, acted)
		}
		r.tell(func() { r.w.counts.Events++ })
		err := r.takeTime(ctx, 10*time.Millisecond)
		s.Set("least", r.enforced.of(userID))
		return nil, err
	})
}

// changeRole gives a user the next role, and has the server enforce it.
func (r *realServer) changeRole(userID string) {
	r.calls.Go(func() {
		role := r.w.roles.change(userID)
		if _, err := r.Auth().RefreshUser(context.Background(), userID); err != nil {
			return // a store that fails on purpose
		}
		r.enforced.raise(userID, role)
		r.w.note("     role %d of %s is enforced", role, userID)
	})
}

// stepUp has a user prove again who they are, for a session.
func (r *realServer) stepUp(userID, sid string, got func(token)) {
	r.calls.Go(func() {
		text, err := r.Auth().IssueStepUp(context.Background(), sid, jwt.MapClaims{"sub": userID})
		if err == nil {
			r.tell(func() { got(r.w.readToken(text)) })
		} else if !errors.Is(err, socketauth.ErrWrongSession) && !errors.Is(err, socketauth.ErrUnavailable) {
			r.w.violate("issuing a step-up code: %v", err)
		}
	})
}

// proved checks when the owner of a token that a client was given has proved who they are: when the
// owner of the presented one had, or with one of the step-up codes that the socket has presented
// with it.
func (s *socket) proved(presented, given token) {
	if given.proved.Equal(presented.proved) {
		return
	}
	for _, code := range s.stepUps {
		if given.proved.Equal(code.proved) && code.proved.After(presented.proved) && code.ref.SessionID == given.ref.SessionID {
			return
		}
	}
	s.w.violate("%s is given for %s: it says that its owner proved who they are at %v instead of %v", given, presented,
		given.proved, presented.proved)
}

// lasts checks that a token does not live longer than its session.
func (w *world) lasts(t token) {
	if end := t.ref.AuthTime.Add(w.sessionLifetime); t.ref.ExpiresAt.After(end.Add(time.Second)) {
		w.violate("%s expires %v after its session", t, t.ref.ExpiresAt.Sub(end))
	}
}

// newsFor are the arguments of the app's news: the roles that the users have at least.
func (r *realServer) newsFor() []any {
	return []any{r.enforced.of("user0"), r.enforced.of("user1")}
}

// heardUnder checks under which role a socket hears news.
func (s *socket) heardUnder(f frame) {
	var n int
	if _, err := fmt.Sscanf(s.told.ref.UserID, "user%d", &n); err == nil && n < len(f.least) && s.told.role < f.least[n] {
		s.w.violate("%s hears news under role %d, and a refresh for role %d had returned before they were emitted", s.name, s.told.role, f.least[n])
	}
}
