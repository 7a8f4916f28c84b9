package socketauth

import (
	"errors"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/z-open/socketauth/internal/admission"
	"github.com/z-open/socketauth/internal/authn"
	"github.com/z-open/socketauth/internal/deadline"
	"github.com/z-open/socketauth/internal/engine"
	"github.com/z-open/socketauth/internal/hub"
	"github.com/z-open/socketauth/internal/lazyctx"
	"github.com/z-open/socketauth/internal/serialqueue"
	"github.com/z-open/socketauth/internal/workers"
)

// How much may wait to be handled for one socket, before and after it was sent a token of its
// session. A socket that exceeds it is closed.
var (
	unauthenticatedLimits = serialqueue.Limits{Items: 16, Cost: 256 << 10}
	authenticatedLimits   = waitingLimits
)

// Socket is one connection of a client. Its methods may be called from any goroutine, and after the
// socket has ended.
type Socket struct {
	server     *Server
	conn       engine.Conn
	connection *connection
	member     hub.Member[*Socket] // its Value is the socket
	life       lazyctx.Life        // ends with the socket

	control  serialqueue.Queue       // authenticate, logout, and events that came while those were running
	handlers serialqueue.Queue       // the app's handlers
	deadline deadline.Entry[*Socket] // of the state; its Value is the socket
	forget   func()                  // stops waiting for the acknowledgement of "authenticated"; used on control only

	mu            sync.Mutex
	auth          authn.Machine
	hasSlot       bool        // the socket has one of its user's slots until it ends
	entering      bool        // the client is being let in: what is emitted to it waits
	disconnectDue bool        // OnDisconnect is due, once no handler runs
	concurrent    uint8       // how many Concurrent handlers let others run
	counted       atomic.Bool // a Receipt includes the socket; not guarded by the lock
	tenant        string
	values        map[string]any
	waiting       *waiting[call] // nil if nothing waits
}

// ID returns the name of the connection: 128 random bits in 22 characters, different for each
// connection.
func (s *Socket) ID() string { return s.conn.ID() }

// Claims returns a copy of the claims of the socket's newest token. Numbers are as
// ClaimsFromContext gives them.
func (s *Socket) Claims() jwt.MapClaims {
	if t := s.newest(); t != nil {
		return t.claims()
	}
	return nil
}

// UserID returns the claim "sub".
func (s *Socket) UserID() string {
	if t := s.newest(); t != nil {
		return t.UserID
	}
	return ""
}

// SessionID returns the claim "sid", which all connections of one login share.
func (s *Socket) SessionID() string {
	if t := s.newest(); t != nil {
		return t.SessionID
	}
	return ""
}

// TenantID returns what Options.TenantID returned, or "".
func (s *Socket) TenantID() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.tenant
}

// newest returns the token that the socket lives on, or nil.
func (s *Socket) newest() *token {
	s.mu.Lock()
	defer s.mu.Unlock()
	return (*token)(s.auth.Token())
}

// joinRooms adds the socket to rooms.
func (s *Socket) joinRooms(rooms []string) {
	for _, name := range rooms {
		s.join(room(name))
	}
	if bus := s.server.bus; bus != nil && len(rooms) > 0 {
		groups := make([]hub.Group, len(rooms))
		for n, name := range rooms {
			groups[n] = room(name)
		}
		bus.await(&s.life, groups)
	}
}

// join adds the socket to groups until it is closed.
func (s *Socket) join(groups ...hub.Group) {
	for _, g := range groups {
		s.server.hub.Join(&s.member, g)
	}
	if s.phase() == authn.Closed { // it may have been closed before it joined
		s.server.hub.Drop(&s.member)
	}
}

// Disconnect ends the connection. It does not end the session: the client may reconnect with its
// token.
func (s *Socket) Disconnect() { s.end("server disconnect", nil) }

// live reports whether events may go in and out: the client is authenticated, its token has not
// expired, and the store is being heard.
func (s *Socket) live() bool {
	now := time.Now()
	if s.server.watcher.stale(now) {
		return false
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.auth.Live(now)
}

// phase returns how far the socket has come.
func (s *Socket) phase() authn.Phase {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.auth.Phase()
}

// receiver is the side of a socket that the engine sees.
type receiver struct{ *Socket }

// Event implements engine.Receiver. It is called in the order in which events arrive and returns at
// once.
func (r receiver) Event(name string, args engine.Args, ack engine.Ack) {
	s := r.Socket
	if name != eventAuthenticate && name != eventLogout && !s.control.Busy() {
		s.dispatch(name, args, ack)
		return
	}
	now := time.Now()
	t := s.task(func() {
		switch name {
		case eventAuthenticate:
			s.authenticate(presentedIn(args, now), ack)
		case eventLogout:
			s.logout(args, now, ack)
		default:
			s.dispatch(name, args, ack) // after the authenticate that came before
		}
	})
	limits := unauthenticatedLimits
	anonymous := s.phase() == authn.Anonymous
	if !anonymous { // the client may acknowledge its token and go on at once
		limits = authenticatedLimits
	}
	switch err := s.control.Push(&s.server.runner, limits, cost(name, args), t); {
	case err == nil:
	case anonymous && name != eventAuthenticate && name != eventLogout:
		// socket.io-client keeps what is emitted while it is offline, and sends all of it when it
		// connects.
		s.refuseEvent(codeUnauthorized, name, ack)
	default:
		s.overrun()
	}
}

// Disconnected implements engine.Receiver.
func (r receiver) Disconnected(reason engine.Reason) {
	s := r.Socket
	s.finish(string(reason))
	if reason == engine.ClientDisconnect { // the connection is still open
		if reached, oldest := s.server.pool.Demote(&s.connection.Member, s.server.auth.limits.admission()); reached != admission.None {
			s.control.PushAlways(&s.server.runner, s.task(func() { s.server.evictOldest(s.connection, reached, oldest) }))
		}
	}
	s.step((*authn.Machine).Gone)
}

// overrun closes the socket because too many events wait to be handled.
func (s *Socket) overrun() {
	userID := ""
	if t := s.known(); t != nil {
		userID = t.UserID
	}
	s.server.auth.limited(limitEvents, slog.String("user", userID), slog.String("address", s.connection.request.clientIP))
	s.end("too many events", nil)
}

// dispatch queues an event of the app for its handler.
func (s *Socket) dispatch(name string, args engine.Args, ack engine.Ack) {
	h, refused := s.server.handlers.get(name), ""
	switch {
	case s.phase() == authn.Closed, s.server.watcher.checkSilence():
		return
	case !s.live(): // not yet, or not any more
		refused = codeUnauthorized
	case h == nil:
		refused = codeUnknownEvent
	}
	if refused != "" {
		s.refuseEvent(refused, name, ack)
		return
	}
	if err := s.handlers.Push(&s.server.runner, authenticatedLimits, cost(name, args), &call{s: s, h: h, name: name, args: args, ack: ack}); err != nil {
		s.overrun()
	}
}

// refuseEvent answers an event of the app that is not handled.
func (s *Socket) refuseEvent(code, name string, ack engine.Ack) {
	acknowledgeError(ack, code)
	if name != probeEvent {
		s.server.auth.logDropped(code, name, slog.String("address", s.connection.request.clientIP))
	}
}

// call is the task of calling a handler with an event.
type call struct {
	s    *Socket
	h    Handler
	name string
	args engine.Args
	ack  engine.Ack
	t    *token // whose claims it is handled under; set before the handler is called
	runs atomic.Uint32
}

// Run implements workers.Task.
func (c *call) Run() { c.s.guard(func() { c.s.handleNext(c) }) }

// handlerContext is the context of a handler: contextWithToken of the socket's life, without an
// allocation beside that of the call. It may be kept.
type handlerContext call

// Deadline implements context.Context.
func (c *handlerContext) Deadline() (deadline time.Time, ok bool) { return c.s.life.Deadline() }

// Done implements context.Context.
func (c *handlerContext) Done() <-chan struct{} { return c.s.life.Done() }

// Err implements context.Context.
func (c *handlerContext) Err() error { return c.s.life.Err() }

// Value implements context.Context.
func (c *handlerContext) Value(key any) any {
	switch key {
	case claimsKey{}:
		return c.t
	case callKey{}:
		return (*call)(c)
	}
	return c.s.life.Value(key)
}

// String is for package context, and keeps what the call has out of logs.
func (c *handlerContext) String() string { return "socketauth.handlerContext" }

// handleNext handles an event, or has it wait until the claims are up to date. c may be nil. It
// then handles what waits, in order.
func (s *Socket) handleNext(c *call) {
	for {
		next, t, live, full := s.nextCall(c)
		switch {
		case full: // while its claims are brought up to date
			s.reconnect(authn.Outdated)
			return
		case next == nil:
			return
		}
		if !s.handle(next, t, live) {
			return
		}
		c = nil
	}
}

// nextCall returns the event to handle now, with the token whose claims it is handled under. It is
// c, or an earlier one that has waited, or nil if there is none or all have to wait. full reports
// that too many do.
func (s *Socket) nextCall(c *call) (next *call, t *token, live, full bool) {
	now := time.Now()
	s.mu.Lock()
	defer s.mu.Unlock()
	if (s.auth.Held() || s.waiting != nil) && s.auth.Phase() != authn.Closed {
		c, full = s.takeTurn(c)
	}
	return c, (*token)(s.auth.Token()), s.auth.Live(now), full
}

// handle calls a handler, under the claims of a token, and acknowledges the event. live is false if
// the token has expired. handle returns false if the next event is another goroutine's.
func (s *Socket) handle(c *call, t *token, live bool) (alone bool) {
	defer func() { // also after a panic
		if alone = c.runs.CompareAndSwap(inTurn, returned); !alone {
			s.depart(1)
		}
	}()
	h, name, args, ack := c.h, c.name, c.args, c.ack
	if s.server.watcher.checkSilence() {
		return
	}
	if !live { // not any more
		acknowledgeError(ack, codeUnauthorized)
		return
	}
	c.t = t
	ctx, end := s.server.auth.spanOf((*handlerContext)(c), "handler ", name)
	err := s.server.auth.containOf("handler of ", name, func() error {
		reply, err := h(ctx, s, Args{args, name})
		if err == nil {
			err = acknowledge(ack, reply) // here too, because MarshalJSON of the app may panic
		}
		return err
	})
	end(err)
	c.args, c.ack = engine.Args{}, nil // the app may keep the context, but not by that the arguments
	if err == nil || errors.Is(err, engine.ErrClosed) {
		return
	}
	public, level := publicError(err), slog.LevelError
	switch {
	case public.Code != "":
		level = slog.LevelDebug // clients can cause this as often as they like
	case errors.Is(err, ErrBadArguments):
		public, level = PublicError{Code: codeBadArguments}, slog.LevelDebug
	case s.life.Err() != nil:
		level = slog.LevelDebug
	}
	s.server.auth.log.Log(ctx, level, "socketauth: handler failed",
		slog.String("event", name), slog.String("user", s.UserID()), slog.Any("cause", cause{err}))
	if public.Code == "" {
		public = PublicError{Code: codeServerError}
	}
	if s.server.auth.containOf("reply of ", name, func() error { acknowledgePublic(ack, &public); return nil }) != nil {
		acknowledgeError(ack, codeServerError)
	}
	return
}

// depart calls OnDisconnect once it is due and no handler runs. returned is how many Concurrent
// ones have returned now, or 0 if OnDisconnect is due from now on.
func (s *Socket) depart(returned uint8) {
	s.mu.Lock()
	s.concurrent -= returned
	s.disconnectDue = s.disconnectDue || returned == 0
	over, reason := s.disconnectDue && s.concurrent == 0, s.auth.Reason()
	s.mu.Unlock()
	if over {
		s.server.notifyDisconnect(s, reason)
	}
}

// step lets one event change the state of the socket's authentication and does what follows from
// it. It must not be called with the lock held.
func (s *Socket) step(event func(m *authn.Machine) authn.Effects) authn.Effects {
	s.mu.Lock()
	e := event(&s.auth)
	if e.Refuse != "" {
		s.server.work.Add(1) // until closeRefused is done; added while the deadline is still counted
	}
	s.setDeadlineLocked()
	reason := s.auth.Reason()
	if e.Closed {
		s.waiting, s.entering = nil, false
	}
	s.mu.Unlock()

	if e.Closed {
		if s.server.bus != nil && reason == codeSessionRevoked {
			s.server.revoked.Add(s) // before the hub loses it, so that who counts finds it in one of them
		}
		s.server.hub.Drop(&s.member)
		s.life.End(ErrClosed)
	}
	switch {
	case e.Refuse != "":
		s.closeRefused(e)
	case e.Ended != "":
		s.conn.Close(endMessage(e.Ended))
	case e.Reconnect:
		s.conn.Reconnect()
	}
	if e.Rotated {
		s.sendRotated()
	}
	if e.Refresh {
		s.sendRefresh()
	}
	if e.Depart {
		s.handlers.PushAlways(&s.server.runner, s.task(func() { s.depart(0) }))
	}
	return e
}

// setDeadlineLocked sets the deadline of the state. If there is none for now, the last one stays:
// when it passes, nothing is due.
func (s *Socket) setDeadlineLocked() {
	at := s.auth.Deadline()
	switch {
	case s.auth.Phase() == authn.Closed:
		s.server.deadlines.Stop(&s.deadline)
	case !at.IsZero():
		s.server.deadlines.Set(&s.deadline, at)
	}
}

// onDeadline is called when the socket's deadline has passed.
func (s *Socket) onDeadline(now time.Time) {
	s.guard(func() {
		s.step(func(m *authn.Machine) authn.Effects { return m.Tick(now) })
	})
}

// end closes the socket and, after a last message, its connection.
func (s *Socket) end(reason string, last *engine.Message) {
	if s.finish(reason) {
		s.conn.Close(last)
	}
}

// finish closes the socket and reports whether it was open. Nothing goes in or out any more.
func (s *Socket) finish(reason string) bool {
	return s.step(func(m *authn.Machine) authn.Effects { return m.Close(reason) }).Closed
}

// guard calls f: a panic that nothing else has contained ends this one socket only.
func (s *Socket) guard(f func()) {
	if s.server.auth.contain("socket", func() error { f(); return nil }) != nil {
		s.end("server error", nil)
	}
}

// task returns a task that calls f with guard.
func (s *Socket) task(f func()) workers.Task { return workers.Func(func() { s.guard(f) }) }

// waits returns what waits for the socket. Called with the lock held.
func (s *Socket) waits() *waiting[call] {
	if s.waiting == nil {
		s.waiting = new(waiting[call])
	}
	return s.waiting
}

// takeTurn has an event wait for its turn, and returns the one whose turn it is, or nil. c may be
// nil. full reports that too many wait. Called with the lock held.
func (s *Socket) takeTurn(c *call) (next *call, full bool) {
	size := 0
	if c != nil {
		size = cost(c.name, c.args)
	}
	next, full = s.waits().turn(c, size, s.auth.Held())
	s.tidy()
	return next, full
}

// tidy forgets that something has waited. Called with the lock held.
func (s *Socket) tidy() {
	if s.waiting != nil && s.waiting.empty() {
		s.waiting = nil
	}
}

// event returns the audit event for something that happened on the socket to the session of a
// token.
func (s *Socket) event(kind AuditKind, t *token, code string) AuditEvent {
	e := AuditEvent{
		Kind: kind, SocketID: s.ID(), Address: s.connection.request.clientIP,
		UserAgent: s.connection.request.userAgent.text(), Code: code,
	}
	if t != nil {
		e.UserID, e.SessionID = t.UserID, t.SessionID
	}
	return e
}

// needsAuthorization reports whether OnAuthenticated is still to be asked.
func (s *Socket) needsAuthorization() bool {
	s.mu.Lock()
	admitted := s.auth.Admitted()
	s.mu.Unlock()
	return !admitted && s.server.asksOnAuthenticated()
}
