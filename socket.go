package socketauth

import (
	"context"
	"errors"
	"fmt"
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
	"github.com/z-open/socketauth/internal/serialqueue"
)

// What one socket may have waiting, before and after it was sent a token of its session. Past it the socket is closed.
var (
	unauthenticatedLimits = serialqueue.Limits{Items: 16, Cost: 256 << 10}
	authenticatedLimits   = serialqueue.Limits{Items: 1024, Cost: 4 << 20}
)

// Socket is one client connection. Its methods may be called from any goroutine, also after the socket has ended.
type Socket struct {
	server     *Server
	conn       engine.Conn
	connection *connection
	ctx        context.Context // ends with the socket
	cancel     context.CancelCauseFunc

	control  serialqueue.Queue // authenticate and logout, and what came behind them
	handlers serialqueue.Queue // the app's handlers
	deadline deadline.Deadline // to authenticate, to confirm, then of the token
	forget   func()            // gives up the acknowledgement that is waited for; of whoever runs on control

	counted atomic.Bool // in the receipt of a revocation

	mu      sync.Mutex
	auth    authn.Machine
	armed   time.Time // when the deadline's timer fires; zero if it is not set
	hasSlot bool      // it has one of its user's, until it ends
	tenant  string
	values  map[string]any
	rooms   []string          // joined in OnAuthenticated
	held    []*engine.Message // emitted in OnAuthenticated
}

// ID names the connection: 128 random bits, new at each.
func (s *Socket) ID() string { return s.conn.ID() }

// Claims are those of the socket's newest token, as a copy, with numbers as ClaimsFromContext gives
// them.
func (s *Socket) Claims() jwt.MapClaims {
	if t := s.newest(); t != nil {
		return t.claims()
	}
	return nil
}

// UserID is the claim "sub".
func (s *Socket) UserID() string {
	if t := s.newest(); t != nil {
		return t.UserID
	}
	return ""
}

// SessionID is the claim "sid": the same on all connections that live on one login.
func (s *Socket) SessionID() string {
	if t := s.newest(); t != nil {
		return t.SessionID
	}
	return ""
}

// TenantID is what Options.TenantID said.
func (s *Socket) TenantID() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.tenant
}

func (s *Socket) newest() *token {
	s.mu.Lock()
	defer s.mu.Unlock()
	return (*token)(s.auth.Token())
}

// Set keeps a value with the socket until it ends; Value finds it.
func (s *Socket) Set(key string, value any) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.values == nil {
		s.values = make(map[string]any)
	}
	s.values[key] = value
}

// Value is what Set kept under key, or nil.
func (s *Socket) Value(key string) any {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.values[key]
}

// Emit sends an event to this client. A []byte among args goes as a binary attachment; the others must
// be what JSON can hold. There are at most 10 attachments, and beside them no object with the key
// "_placeholder", at whatever depth: clients would take it for an attachment and disconnect.
//
// Emit never waits for the client: one that does not read is disconnected once too much waits for it.
// Errors: ErrClosed, those of encoding, and that of a single event of more than 4 MiB.
func (s *Socket) Emit(event string, args ...any) error {
	m, err := message(event, args)
	if err != nil {
		return err
	}
	return s.send(m)
}

func (s *Socket) send(m *engine.Message) error {
	s.mu.Lock()
	if s.auth.Phase() < authn.Authenticated {
		s.held = append(s.held, m)
		s.mu.Unlock()
		return nil
	}
	s.mu.Unlock()
	if !s.live() {
		return ErrClosed
	}
	return closed(s.conn.Emit(m))
}

// EmitWithAck sends an event and waits for the client's reply, or for ctx. Errors: ErrClosed, the context's,
// ErrNotAuthenticated in OnAuthenticated, and those of encoding.
func (s *Socket) EmitWithAck(ctx context.Context, event string, args ...any) (Args, error) {
	m, err := message(event, args)
	if err != nil {
		return Args{}, err
	}
	switch {
	case s.phase() < authn.Authenticated:
		return Args{}, ErrNotAuthenticated
	case !s.live():
		return Args{}, ErrClosed
	}
	type reply struct {
		args engine.Args
		err  error
	}
	replies := make(chan reply, 1)
	forget, err := s.conn.EmitAck(m, func(args engine.Args, err error) { replies <- reply{args, err} })
	if err != nil {
		return Args{}, closed(err)
	}
	select {
	case r := <-replies:
		return Args{r.args}, closed(r.err)
	case <-ctx.Done():
		forget()
		return Args{}, ctx.Err()
	}
}

// Join puts the socket into rooms, which it leaves when it ends. In OnAuthenticated it takes effect once the socket is
// authenticated.
func (s *Socket) Join(rooms ...string) {
	s.mu.Lock()
	phase := s.auth.Phase()
	if phase < authn.Authenticated {
		s.rooms = append(s.rooms, rooms...)
	}
	s.mu.Unlock()
	if phase == authn.Authenticated {
		s.joinRooms(rooms)
	}
}

func (s *Socket) joinRooms(rooms []string) {
	for _, name := range rooms {
		s.join(room(name))
	}
}

// join puts the socket into groups, which it leaves when it is closed.
func (s *Socket) join(groups ...hub.Group) {
	for _, g := range groups {
		s.server.hub.Join(s, g)
	}
	if s.phase() == authn.Closed { // it went while it joined
		s.server.hub.Drop(s)
	}
}

// Leave takes the socket out of rooms.
func (s *Socket) Leave(rooms ...string) {
	for _, name := range rooms {
		s.server.hub.Leave(s, room(name))
	}
}

// Disconnect ends the connection. The session lives: the client may come back with its token.
func (s *Socket) Disconnect() { s.end("server disconnect", nil) }

// live says whether events may go in and out: the socket is authenticated, and its token has not expired.
func (s *Socket) live() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.auth.Live(time.Now())
}

func (s *Socket) phase() authn.Phase {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.auth.Phase()
}

// receiver is the side of a socket that the engine sees.
type receiver struct{ *Socket }

// Event implements engine.Receiver. It comes in the order of the wire, and returns at once.
func (r receiver) Event(name string, args engine.Args, ack engine.Ack) {
	s := r.Socket
	var f func()
	now := time.Now()
	switch name {
	case eventAuthenticate:
		f = func() { s.authenticate(presentedIn(args, now), ack) }
	case eventLogout:
		f = func() { s.logout(args, now, ack) }
	default:
		if !s.control.Busy() {
			s.dispatch(name, args, ack)
			return
		}
		f = func() { s.dispatch(name, args, ack) } // behind the authenticate that came first
	}
	limits := unauthenticatedLimits
	if s.phase() > authn.Anonymous { // it may acknowledge its token, and say more right after
		limits = authenticatedLimits
	}
	if err := s.control.Push(&s.server.work, limits, cost(name, args), s.guarded(f)); err != nil {
		s.overrun()
	}
}

// Disconnected implements engine.Receiver.
func (r receiver) Disconnected(reason engine.Reason) {
	s := r.Socket
	s.finish(string(reason))
	if reason == engine.ClientDisconnect { // which leaves the connection as it is
		if reached, oldest := s.server.pool.Demote(&s.connection.Member, s.server.auth.limits.admission()); reached != admission.None {
			s.control.Must(&s.server.work, s.guarded(func() { s.server.evictOldest(s.connection, reached, oldest) }))
		}
	}
	s.step((*authn.Machine).Gone)
}

func (s *Socket) overrun() {
	userID := ""
	if t := s.known(); t != nil {
		userID = t.UserID
	}
	s.server.auth.limited(limitEvents, slog.String("user", userID), slog.String("address", s.connection.request.ClientIP))
	s.end("too many events", nil)
}

// dispatch hands an event of the app's to its handler.
func (s *Socket) dispatch(name string, args engine.Args, ack engine.Ack) {
	switch {
	case s.phase() == authn.Closed:
		return
	case !s.live(): // not yet, or it has expired and is about to be told
		s.acknowledgeError(ack, codeUnauthorized)
		return
	}
	h := s.server.handler(name)
	if h == nil {
		s.acknowledgeError(ack, codeUnknownEvent)
		return
	}
	if err := s.handlers.Push(&s.server.work, authenticatedLimits, cost(name, args), s.guarded(func() { s.handle(h, name, args, ack) })); err != nil {
		s.overrun()
	}
}

// handle calls one handler and answers the client that asked for it.
func (s *Socket) handle(h Handler, name string, args engine.Args, ack engine.Ack) {
	if !s.live() { // any more
		s.acknowledgeError(ack, codeUnauthorized)
		return
	}
	ctx := contextWithToken(s.ctx, s.newest())
	err := s.server.auth.contain("handler of "+name, func() error {
		reply, err := h(ctx, s, Args{args})
		if err == nil {
			err = s.acknowledge(ack, reply) // the app's MarshalJSON may panic too
		}
		return err
	})
	if err == nil || errors.Is(err, engine.ErrClosed) {
		return
	}
	code, level := codeServerError, slog.LevelError
	switch public := publicCode(err); {
	case public != "":
		code, level = public, slog.LevelDebug // clients can do this as often as they like
	case errors.Is(err, ErrBadArguments):
		code, level = codeBadArguments, slog.LevelDebug
	case s.ctx.Err() != nil:
		level = slog.LevelDebug
	}
	s.server.auth.log.Log(ctx, level, "socketauth: handler failed", slog.String("event", name), slog.String("user", s.UserID()), slog.Any("cause", err))
	s.acknowledgeError(ack, code)
}

func (s *Socket) acknowledge(ack engine.Ack, reply any) error {
	switch {
	case ack == nil:
		return nil
	case reply == nil:
		return ack()
	}
	return ack(reply)
}

func (s *Socket) acknowledgeError(ack engine.Ack, code string) {
	if ack != nil {
		_ = ack(map[string]any{"error": map[string]string{"code": code}}) // to a client that went away there is nothing to say
	}
}

// step tells the socket's state of one event and does what follows from it.
func (s *Socket) step(event func(m *authn.Machine) authn.Effects) authn.Effects {
	s.mu.Lock()
	e := event(&s.auth)
	if e.Refuse != "" {
		s.server.work.Add(1) // before the deadline, which is counted, is stopped
	}
	s.setDeadlineLocked()
	reason := s.auth.Reason()
	if e.Closed {
		s.rooms, s.held = nil, nil
	}
	s.mu.Unlock()

	if e.Closed {
		s.server.hub.Drop(s)
		s.cancel(ErrClosed)
	}
	switch {
	case e.Refuse != "":
		s.closeRefused(e.Refuse)
	case e.Ended != "":
		s.conn.Close(endMessage(e.Ended))
	}
	if e.Rotated {
		s.sendRotated()
	}
	if e.Depart {
		s.handlers.Must(&s.server.work, s.guarded(func() { s.server.notifyDisconnect(s, reason) }))
	}
	return e
}

// setDeadlineLocked sets the timer to the deadline of the state.
func (s *Socket) setDeadlineLocked() {
	at := s.auth.Deadline()
	switch {
	case s.auth.Phase() == authn.Closed:
		s.deadline.Stop(&s.server.work)
	case !at.IsZero() && !at.Equal(s.armed):
		s.armed = at
		s.deadline.Set(&s.server.work, at, func(now time.Time) { s.guarded(func() { s.onDeadline(now) })() })
	}
}

// onDeadline is called by the timer.
func (s *Socket) onDeadline(now time.Time) {
	s.step(func(m *authn.Machine) authn.Effects {
		s.armed = time.Time{}
		return m.Tick(now)
	})
}

// end says a last word and closes the connection.
func (s *Socket) end(reason string, last *engine.Message) {
	if s.finish(reason) {
		s.conn.Close(last)
	}
}

// finish lets nothing in or out any more. It says whether it was the first to.
func (s *Socket) finish(reason string) bool {
	return s.step(func(m *authn.Machine) authn.Effects { return m.Close(reason) }).Closed
}

// evict closes the socket to make room, and reports whether it is closed: not if the store is deciding on it or it has
// authenticated.
func (s *Socket) evict() (ok bool) {
	s.step(func(m *authn.Machine) (e authn.Effects) {
		e, ok = m.Evict(string(engine.Evicted))
		return e
	})
	return ok
}

// guarded makes sure that no fault of the library's own, or of a hook that was not foreseen, ends more than one socket.
func (s *Socket) guarded(f func()) func() {
	return func() {
		if s.server.auth.contain("socket", func() error { f(); return nil }) != nil {
			s.end("server error", nil)
		}
	}
}

// cost is what an event keeps in memory while it waits.
func cost(name string, args engine.Args) int {
	const each, value = 256, 24
	return each + len(name) + args.Size + value*len(args.Values)
}

func closed(err error) error {
	if errors.Is(err, engine.ErrClosed) || errors.Is(err, engine.ErrSlow) {
		return fmt.Errorf("%w: %w", ErrClosed, err)
	}
	return err
}

// Request is what the socket's first HTTP request said.
func (s *Socket) Request() Request {
	r := s.connection.request
	r.Header = r.Header.Clone()
	return r
}

// Handler answers one event of an authenticated client. Handlers of one socket run one at a time, in the order of its
// events; those of different sockets at the same time. ctx carries the claims (ClaimsFromContext) and ends when the
// socket does.
//
// A client that asked for an acknowledgement gets exactly one: reply, or nothing where it is nil, or
// {error:{code}}: the code of a *PublicError, "bad_arguments" for an error of Args.Decode, else "server_error".
type Handler func(ctx context.Context, s *Socket, args Args) (reply any, err error)

// own returns the token that the socket lives on or will live on once its client has confirmed it, or
// nil.
func (s *Socket) own() *token {
	s.mu.Lock()
	defer s.mu.Unlock()
	return (*token)(s.auth.Own())
}

// wasAuthenticated reports whether the client has been authenticated at any time.
func (s *Socket) wasAuthenticated() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.auth.Entered()
}

// awaits reports whether the client has yet to confirm next.
func (s *Socket) awaits(next *token) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.auth.Awaits((*authn.Token)(next))
}

// setIdentity gives the socket the identity under which OnAuthenticated sees it.
func (s *Socket) setIdentity(t *token, tenant string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.tenant = tenant
	s.auth.Identify((*authn.Token)(t))
}

// setCandidate records the token that the presentation in progress would give the client.
func (s *Socket) setCandidate(next *token) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.auth.Propose((*authn.Token)(next))
}

// beginCall marks a store call as in flight. Until endCall, deadlines do not close the socket, and the
// end of the session that this call may cause is deferred. It returns false if the socket is closed.
func (s *Socket) beginCall(about authn.Cause) (ok bool) {
	s.step(func(m *authn.Machine) authn.Effects {
		ok = m.Begin(time.Now(), about)
		return authn.Effects{}
	})
	return ok
}

// endCall ends what beginCall began, once what followed from it is done.
func (s *Socket) endCall() { s.step((*authn.Machine).Done) }
