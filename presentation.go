package socketauth

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"time"

	"github.com/z-open/socketauth/internal/engine"
)

// This file is what a socket's client can do about its identity: authenticate, stay, log out.

// authenticate answers one presentation: "authenticated" was sent if it was accepted.
func (s *Socket) authenticate(text string, ack engine.Ack) {
	if s.at() == ended {
		return
	}
	refused := s.present(text)
	if refused == nil {
		_ = s.acknowledge(ack, nil)
		return
	}
	s.acknowledgeError(ack, refused.code)
	s.refuse(refused)
}

// present is one presentation: first all that can fail without the store, which consumes nothing, then its one step.
func (s *Socket) present(text string) *refusal {
	a := s.server.auth
	ctx, cancel := context.WithTimeout(s.ctx, a.timeout)
	defer cancel()

	t, refused := a.verify(ctx, text)
	if refused != nil {
		return refused
	}
	own := s.own()
	if own != nil && (own.sessionID != t.sessionID || own.subject != t.subject) {
		return &refusal{code: codeWrongSession}
	}
	tenant, refused := a.tenant(ctx, t)
	if refused != nil {
		return refused
	}
	next, refused := a.successor(ctx, t)
	if refused != nil {
		return refused
	}

	// So that a revocation from here on finds it. Where it has ended already, its refusal takes it out again.
	s.server.hub.Join(s, session(t.sessionID))
	s.server.hub.Join(s, user(t.subject))
	if own == nil {
		if refused := s.introduce(ctx, t, next, tenant); refused != nil {
			return refused
		}
	}
	if !s.server.beginStep() {
		return &refusal{code: codeUnavailable, cause: errors.New("shutting down")}
	}
	defer s.server.steps.Done()
	if !s.decide() {
		return &refusal{code: codeTimeout}
	}
	verdict, err := s.step(Presentation{
		Token:              t.ref(),
		SuccessorID:        next.id,
		SuccessorExpiresAt: next.expiresAt,
		SocketOpenedAt:     s.opened,
		Overtake:           a.timeout,
		EndOnReuse:         a.reusePolicy == EndSession,
	})
	if err != nil {
		return &refusal{code: codeUnavailable, cause: err}
	}
	if verdict != Accepted {
		return s.lost(t, verdict)
	}
	s.accept(next, tenant)
	return nil
}

// introduce calls OnAuthenticated, once, for a token that the store would accept: refused, it has consumed nothing.
func (s *Socket) introduce(ctx context.Context, t, next *token, tenant string) *refusal {
	if !s.server.introduces() {
		s.name(next, tenant, false)
		return nil
	}
	if refused := s.server.auth.standing(ctx, t, 0, 0); refused != nil {
		if refused.code == codeUnavailable {
			return refused
		}
		return nil // the step will find out why, and do what follows
	}
	s.name(next, tenant, false)
	if err := s.server.authenticated(ContextWithClaims(ctx, next.claims), s); err != nil {
		return refuseError("OnAuthenticated", err)
	}
	s.name(next, tenant, true)
	s.mourn() // where it went while it was introduced
	return nil
}

// own is the token that the socket is, or was, authenticated by, if it ever was.
func (s *Socket) own() *token {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.entered {
		return nil
	}
	return s.token
}

// name gives the socket the identity it is about to have.
func (s *Socket) name(t *token, tenant string, introduced bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.token, s.tenant, s.introduced = t, tenant, introduced
}

// decide marks the point from which the authentication deadline waits for the store.
func (s *Socket) decide() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.deciding = s.phase != ended
	return s.deciding
}

// step asks the store, again and again for up to Timeout: the step is the same however often it is taken. It is not
// broken off when the client leaves, for others may have to hear of its outcome; but then it is not taken again, only
// its outcome looked up, so that the client finds its token as good as it was where nothing has been decided.
func (s *Socket) step(p Presentation) (verdict Verdict, err error) {
	a := s.server.auth
	err = a.insist(context.WithoutCancel(s.ctx), func(ctx context.Context, again bool) error {
		if again && s.at() == ended {
			verdict, err = a.blacklist.Check(ctx, p.Token, 0, 0)
		} else {
			verdict, err = a.blacklist.Present(ctx, p)
		}
		if again && verdict == EndedByReuse && p.EndOnReuse {
			verdict = Reused // by the call whose reply was lost
		}
		return err
	})
	return verdict, err
}

// lost is what follows from a presentation that the store refused.
func (s *Socket) lost(t *token, v Verdict) *refusal {
	refused := refuseVerdict(v)
	about := []any{slog.String("user", t.subject), slog.String("session", t.sessionID), slog.Uint64("generation", t.generation), slog.String("address", s.visit.request.ClientIP)}
	switch v {
	case Unknown:
		s.server.auth.logLoss(about...)
	case Reused:
		s.server.auth.log.Warn("socketauth: a token was presented that had been replaced; its session was ended everywhere, for one of the two has the other's token", append(about,
			slog.String("fix", "where this is no theft: clients give the handshake's auth as a function that reads the storage, store each new token at once, and let tabs take turns; a page reloaded while it presents does this too"))...)
		s.server.auth.endSession(t.sessionID, s, func(other *Socket) { other.refuse(refused) })
	}
	return refused
}

// accept lets the socket in, or lets it stay.
func (s *Socket) accept(next *token, tenant string) {
	m, _ := engine.NewMessage(eventAuthenticated, next.text)
	_ = s.conn.Emit(m) // a client that went away will be reported as such

	s.mu.Lock()
	first := s.phase == connecting
	if s.phase == ended { // revoked while the store was at it
		s.mu.Unlock()
		return
	}
	s.phase, s.entered, s.deciding, s.token, s.tenant = authenticated, true, false, next, tenant
	rooms, held := s.rooms, s.held
	s.rooms, s.held = nil, nil
	s.mu.Unlock()

	s.awaitExpiry()
	if first {
		s.visit.stranger.Store(false)
		for _, m := range held {
			_ = s.conn.Emit(m)
		}
		s.server.hub.Join(s, everyone)
	}
	s.join(rooms)
}

// logout ends the session: the socket's own, or that of the living token it was given. A client that left right after
// it asked is served all the same.
func (s *Socket) logout(args engine.Args, ack engine.Ack) {
	ending, refused := s.endOf(args)
	if refused != nil {
		s.acknowledgeError(ack, refused.code)
		s.refuse(refused)
		return
	}
	s.server.auth.log.Info("socketauth: logged out", slog.String("user", ending.subject), slog.String("session", ending.sessionID), slog.String("address", s.visit.request.ClientIP))
	_ = s.acknowledge(ack, nil)
	m, _ := engine.NewMessage(eventLoggedOut)
	s.server.auth.endSession(ending.sessionID, s, func(other *Socket) { other.end("logged out", m) })
	s.end("logged out", m)
}

// endOf finds the session that a logout is for, and has the store end it.
func (s *Socket) endOf(args engine.Args) (*token, *refusal) {
	a := s.server.auth
	life := context.WithoutCancel(s.ctx)
	ctx, cancel := context.WithTimeout(life, a.timeout)
	defer cancel()
	var text string
	if len(args.Values) > 0 {
		_ = json.Unmarshal(args.Values[0], &text) // what is no string is no token
	}
	given, refused := a.verify(ctx, text)

	ending := s.own()
	switch {
	case ending != nil && given != nil && given.sessionID != ending.sessionID:
		return nil, &refusal{code: codeWrongSession}
	case ending != nil:
	case refused != nil:
		return nil, refused
	case given.use != useSession:
		return nil, &refusal{code: codeInvalidToken, cause: errors.New("a code where a session token is due")}
	default:
		if refused := a.standing(ctx, given, 0, 0); refused != nil {
			return nil, refused
		}
		ending = given
	}
	err := a.insist(life, func(ctx context.Context, _ bool) error {
		_, err := a.blacklist.Revoke(ctx, Revocation{SessionID: ending.sessionID, Why: LoggedOut, Keep: a.tokens.lifetime()})
		return err
	})
	if err != nil {
		return nil, &refusal{code: codeUnavailable, cause: err}
	}
	return ending, nil
}

// refuse tells the client, and disconnects it unless it is authenticated and stays so.
func (s *Socket) refuse(r *refusal) {
	a := s.server.auth
	a.logRefusal(s.ctx, "socketauth: socket refused", r, slog.String("user", s.UserID()), slog.String("address", s.visit.request.ClientIP))
	m, err := engine.NewMessage(eventUnauthorized, r.payload())
	if err != nil {
		a.log.Error("socketauth: " + err.Error())
	}
	s.mu.Lock()
	s.deciding = false
	stays := s.phase == authenticated && !r.terminal()
	s.mu.Unlock()
	if stays {
		_ = s.conn.Emit(m)
		s.awaitExpiry() // which may have come while the store was at it
		return
	}
	s.end(r.code, m)
}

// tooLate is the authentication deadline. A decision that has begun is waited for: it ends within Timeout too.
func (s *Socket) tooLate() {
	s.mu.Lock()
	late := s.phase == connecting && !s.deciding
	s.mu.Unlock()
	if late {
		s.refuse(&refusal{code: codeTimeout})
	}
}

// awaitExpiry sets the deadline of the newest token.
func (s *Socket) awaitExpiry() {
	s.deadline.Set(&s.server.work, time.Until(s.newest().expiresAt), s.guarded(s.expire))
	if s.at() == ended { // meanwhile
		s.deadline.Stop(&s.server.work)
	}
}

// expire is the deadline of the token. A decision that has begun is waited for: the socket is in time for it.
func (s *Socket) expire() {
	s.mu.Lock()
	due := s.phase == authenticated && !s.deciding
	early := time.Now().Before(s.token.expiresAt) // the token was just replaced, or the wall clock set back
	s.mu.Unlock()
	switch {
	case due && early:
		s.awaitExpiry()
	case due:
		s.refuse(&refusal{code: codeTokenExpired})
	}
}

// tokenIn is the token of an authenticate event, empty where there is none.
func tokenIn(args engine.Args) string {
	var in struct {
		Token string `json:"token"`
	}
	if len(args.Values) == 0 || json.Unmarshal(args.Values[0], &in) != nil {
		return ""
	}
	return in.Token
}

// tokenInAuth is the token of a handshake. A client that has none yet says nothing, null or "".
func tokenInAuth(auth json.RawMessage) (token string, given bool) {
	var in struct {
		Token json.RawMessage `json:"token"`
	}
	if len(auth) == 0 {
		return "", false
	}
	if json.Unmarshal(auth, &in) != nil {
		return "", true
	}
	switch string(in.Token) {
	case "", "null", `""`:
		return "", false
	}
	_ = json.Unmarshal(in.Token, &token)
	return token, true
}
