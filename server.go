package socketauth

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/z-open/socketauth/internal/admission"
	"github.com/z-open/socketauth/internal/authn"
	"github.com/z-open/socketauth/internal/eio3"
	"github.com/z-open/socketauth/internal/eio4"
	"github.com/z-open/socketauth/internal/engine"
	"github.com/z-open/socketauth/internal/hub"
	"github.com/z-open/socketauth/internal/logonce"
	"github.com/z-open/socketauth/internal/throttle"
)

// Server is the sockets of one app. It is made by Infrastructure or SocketServe and safe for concurrent use.
type Server struct {
	auth    *Auth
	engines map[string]engine.Engine // by the EIO of the requests that they take
	hub     hub.Hub[*Socket]
	work    sync.WaitGroup // goroutines and timers of all sockets
	steps   sync.WaitGroup // presentations that the store decides
	pool    admission.Pool
	places  sync.Mutex // held by who takes one of a user's places

	noUpgrade logonce.Minute // websocket handshakes that a proxy made impossible, to be logged

	watching context.Context // ends with Shutdown
	unwatch  context.CancelFunc

	recheckMu  sync.Mutex
	toRecheck  map[*Socket]struct{} // whose session may have ended elsewhere
	rechecking bool

	mu              sync.RWMutex
	closing         bool
	handlers        map[string]Handler
	onAuthenticated []func(context.Context, *Socket) error
	onDisconnect    []func(context.Context, *Socket, string)
}

// SocketServe builds a core of its own and serves sockets on mux. To share the core with login, call New once and use
// its methods.
func SocketServe[U any](server *http.Server, mux Mux, opts Options[U]) (*Server, error) {
	a, err := New(opts)
	if err != nil {
		return nil, err
	}
	return a.SocketServe(server, mux)
}

// unauthenticatedQueue is what may wait for a client that has not authenticated: the answers to what it should not send.
const unauthenticatedQueue = 128 << 10

// SocketServe puts GET, POST and OPTIONS of SocketPath on mux, with and without its last slash. server
// may be nil; if it is not, its Shutdown starts the end of all sockets, and nothing else of it is
// touched.
func (a *Auth) SocketServe(server *http.Server, mux Mux) (*Server, error) {
	if !a.tokens.signs(a.tokens.refresh) {
		return nil, optionsError([]error{errNoSigning})
	}
	watching, unwatch := context.WithCancel(context.Background())
	s := &Server{auth: a, handlers: make(map[string]Handler), watching: watching, unwatch: unwatch, toRecheck: make(map[*Socket]struct{})}
	o := engine.Options{
		MaxPayload:     a.limits.Message,
		FirstPayload:   a.limits.UnauthenticatedMessage,
		FirstQueue:     unauthenticatedQueue,
		MaxAttachments: a.limits.Attachments,
		MaxDepth:       a.limits.Depth,
		Admit:          s.admit,
		Left:           s.left,
		ConnectTimeout: a.timeout,
		FlushTimeout:   10 * time.Second,
		FirstFlush:     2 * time.Second, // a refusal is worth waiting for, but not for long
		Describe:       s.describe,
		Namespaces:     map[string]engine.Accept{"/": s.accept},
		Logger:         a.log,
	}
	s.engines = map[string]engine.Engine{"3": eio3.New(o), "4": eio4.New(o)}
	guarded := a.origins.Guard(http.HandlerFunc(s.serve), func(w http.ResponseWriter, _ *http.Request) {
		answer(w, http.StatusForbidden, map[string]string{"code": httpOriginNotAllowed})
	})
	// Routers' middleware takes the last slash away or adds it, and clients may be told to leave it out.
	paths := []string{a.socketPath}
	if bare := strings.TrimSuffix(a.socketPath, "/"); bare != "" {
		paths = []string{bare, bare + "/"}
	}
	for _, path := range paths {
		if err := register(mux, path, guarded, http.MethodGet, http.MethodPost, http.MethodOptions); err != nil {
			return nil, err
		}
	}
	if a.clientPath != "" {
		if err := register(mux, a.clientPath, newClientFile(), http.MethodGet); err != nil {
			return nil, err
		}
	}
	a.addServer(s)
	s.work.Go(func() { s.watch(watching) })
	if server != nil {
		if server.ReadHeaderTimeout == 0 && server.ReadTimeout == 0 {
			a.log.Warn("socketauth: the http.Server waits for ever for a request's header", slog.String("fix", "set its ReadHeaderTimeout, to 10 s for instance"))
		}
		server.RegisterOnShutdown(func() { _ = s.Shutdown(context.Background()) })
	}
	return s, nil
}

// serve hands a request to the engine that speaks its version of the protocol.
func (s *Server) serve(w http.ResponseWriter, r *http.Request) {
	e, ok := s.engines[versionOf(r)]
	if !ok {
		answer(w, http.StatusBadRequest, map[string]any{"code": 5, "message": "Unsupported protocol version"})
		return
	}
	if r.Header["Sec-Websocket-Key"] != nil && !hasUpgrade(r.Header) {
		s.warnOfProxy(r)
	}
	e.ServeHTTP(w, r)
}

// hasUpgrade reports whether a request asks for another protocol.
func hasUpgrade(h http.Header) bool {
	return h["Upgrade"] != nil && strings.Contains(strings.ToLower(strings.Join(h["Connection"], ",")), "upgrade")
}

// warnOfProxy says once a minute that a proxy has removed the headers of a websocket's handshake that
// are for one hop alone. Clients that can poll go on without a word, and others never connect.
func (s *Server) warnOfProxy(r *http.Request) {
	unsaid, now := s.noUpgrade.Say()
	if !now {
		return
	}
	s.auth.log.WarnContext(r.Context(), "socketauth: a websocket handshake came without its Upgrade header",
		slog.String("peer", r.RemoteAddr), slog.Int("more_since_last", unsaid),
		slog.String("fix", "the proxy in front must pass on Upgrade and Connection, over HTTP/1.1: "+
			`in nginx, proxy_http_version 1.1; proxy_set_header Upgrade $http_upgrade; proxy_set_header Connection "upgrade";`))
}

// accept takes a client that has joined, and that has Timeout to authenticate.
func (s *Server) accept(c engine.Conn, h engine.Handshake) engine.Receiver {
	now := time.Now()
	socket := &Socket{server: s, conn: c, connection: h.Request.(*connection)}
	socket.ctx, socket.cancel = context.WithCancelCause(context.Background())
	since := now
	if !s.pool.Proven(&socket.connection.Member) {
		since = socket.connection.opened // a stranger's time is that of its connection
	}
	socket.auth = authn.New(since, s.auth.timeout)
	if socket.connection.joined.Swap(true) { // or it would have its time to authenticate again and again
		socket.end(string(engine.ProtocolError), nil)
		return receiver{socket}
	}
	evictSocket := socket.evict
	socket.connection.evict.Store(&evictSocket)
	socket.step(func(*authn.Machine) authn.Effects { return authn.Effects{} }) // its time begins
	if p, given := presentedAs(h.Auth, now); given {
		socket.control.Must(&s.work, socket.guarded(func() { socket.authenticate(p, nil) }))
	}
	return receiver{socket}
}

// Auth is the core that the server runs on.
func (s *Server) Auth() *Auth { return s.auth }

// On names the handler of an event, best before the http.Server serves. It panics where the name is
// reserved, empty or taken, as http.ServeMux does. Reserved, here and in Emit, are the library's own
// names, and those that clients use for their own connection and never send, such as "ping",
// "reconnect" and "connect_error".
func (s *Server) On(event string, h Handler) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case slices.Contains(reserved, event):
		panic(fmt.Sprintf("socketauth: event name %q is reserved: it is the library's, or some clients keep it to themselves; connections are heard of by OnAuthenticated and OnDisconnect", event))
	case s.handlers[event] != nil:
		panic(fmt.Sprintf("socketauth: event %q has a handler already", event))
	case h == nil:
		panic(fmt.Sprintf("socketauth: nil handler for event %q", event))
	}
	s.handlers[event] = h
}

func (s *Server) handler(event string) Handler {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.handlers[event]
}

// OnAuthenticated adds a function that is called once for each socket, before it is in: before its client is told that it
// is authenticated, or, where the client confirms, after it has confirmed. Its error refuses the socket, whose token stays
// as good as it was: a *PublicError by its code, ErrUnavailable or any other as a server error. What it emits and joins
// takes effect when the socket is in: for a snapshot of something that changes, answer an event of the client's instead,
// after Join. Several are called in the order in which they were added.
func (s *Server) OnAuthenticated(f func(ctx context.Context, s *Socket) error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.onAuthenticated = append(s.onAuthenticated, f)
}

// OnDisconnect adds a function that is called once for each socket that was authenticated, or that OnAuthenticated let
// in, after its last handler, when it has ended. ctx has ended, and carries the claims. reason is one of "client
// disconnect", "server disconnect", "transport close", "ping timeout", "protocol error", "slow peer", "evicted",
// "shutdown", "logged out", "too many events", or the code of the refusal that ended it.
func (s *Server) OnDisconnect(f func(ctx context.Context, s *Socket, reason string)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.onDisconnect = append(s.onDisconnect, f)
}

func (s *Server) asksOnAuthenticated() bool {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return len(s.onAuthenticated) > 0
}

func (s *Server) runOnAuthenticated(ctx context.Context, socket *Socket) error {
	s.mu.RLock()
	hooks := slices.Clone(s.onAuthenticated)
	s.mu.RUnlock()
	for _, f := range hooks {
		if err := s.auth.contain("OnAuthenticated", func() error { return f(ctx, socket) }); err != nil {
			return err
		}
	}
	return nil
}

func (s *Server) notifyDisconnect(socket *Socket, reason string) {
	s.mu.RLock()
	hooks := slices.Clone(s.onDisconnect)
	s.mu.RUnlock()
	ctx := contextWithToken(socket.ctx, socket.newest())
	for _, f := range hooks {
		_ = s.auth.contain("OnDisconnect", func() error { f(ctx, socket, reason); return nil })
	}
}

// The kinds of groups in the hub.
var everyone = hub.Group{Kind: 'a'}

func room(name string) hub.Group   { return hub.Group{Kind: 'r', Name: name} }
func user(id string) hub.Group     { return hub.Group{Kind: 'u', Name: id} }
func session(sid string) hub.Group { return hub.Group{Kind: 's', Name: sid} }

// Target is a set of sockets to send to: those in it at the time of each Emit.
type Target struct {
	server *Server
	group  hub.Group
}

// To is the sockets in a room.
func (s *Server) To(name string) Target { return Target{s, room(name)} }

// ToUser is the sockets of a user, by the claim "sub".
func (s *Server) ToUser(id string) Target { return Target{s, user(id)} }

// ToSession is the sockets of a session, by the claim "sid".
func (s *Server) ToSession(sid string) Target { return Target{s, session(sid)} }

// Emit sends an event to every authenticated socket, on the terms of Socket.Emit. Its error is one of encoding, or that
// the event is too large; a socket that has gone is no error.
func (s *Server) Emit(event string, args ...any) error {
	return Target{s, everyone}.Emit(event, args...)
}

// Emit sends an event to the sockets of the target that are authenticated, as Server.Emit does.
func (t Target) Emit(event string, args ...any) error {
	m, err := message(event, args)
	if err != nil {
		return err
	}
	for _, socket := range t.server.hub.Members(t.group) {
		if socket.live() {
			if err := socket.conn.Emit(m); errors.Is(err, engine.ErrTooLarge) { // for all of them
				return err
			}
		}
	}
	return nil
}

// Shutdown ends all sockets, in a way that lets their clients come back by themselves, and returns when no goroutine of
// the library is left, or with the context's error. New connections are refused from the moment it is called. It may
// be called again. Call it before http.Server.Shutdown, which does not wait for websockets.
func (s *Server) Shutdown(ctx context.Context) error {
	s.mu.Lock()
	s.closing = true
	s.mu.Unlock()
	// A token that the store is about to replace: its client is told the next one first.
	deciding, cancel := context.WithTimeout(ctx, 2*s.auth.timeout) // what hangs longer must not keep the rest
	_ = wait(deciding, &s.steps)
	cancel()
	var ending sync.WaitGroup
	errs := make(chan error, len(s.engines))
	for _, e := range s.engines {
		ending.Go(func() { errs <- e.Shutdown(ctx) })
	}
	ending.Wait()
	close(errs)
	var err error
	for e := range errs {
		err = errors.Join(err, e)
	}
	s.unwatch()
	if err == nil {
		err = wait(ctx, &s.work)
	}
	if err == nil {
		s.auth.removeServer(s)
	}
	return err
}

// beginStep counts a presentation that the store is to decide, unless the server is about to end.
func (s *Server) beginStep() bool {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if !s.closing {
		s.steps.Add(1)
	}
	return !s.closing
}

// wait waits for a group, or for the context.
func wait(ctx context.Context, wg *sync.WaitGroup) error {
	done := make(chan struct{})
	go func() { wg.Wait(); close(done) }()
	select {
	case <-done:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Infrastructure is New, APIServe and SocketServe in one: login, registration and sockets for an app that has an
// *http.Server (or nil) and a mux. After an error some of the routes may be on the mux already.
func Infrastructure[U any](server *http.Server, mux Mux, opts Options[U]) (*Server, error) {
	a, err := newWithAPI(opts)
	if err != nil {
		return nil, err
	}
	if err := a.APIServe(mux); err != nil {
		return nil, err
	}
	return a.SocketServe(server, mux)
}

// past says whether there are more than a limit allows.
func past(n, limit int) bool { return limit != NoLimit && n > limit }

// acquireSlot gives a socket one of the places that its user has, which it has until it ends, or with keep false only says
// whether there is one: those that wait for a confirmation are nobody's yet.
func (s *Server) acquireSlot(socket *Socket, userID string, keep bool) bool {
	s.places.Lock() // so that of many at once each sees the others
	defer s.places.Unlock()
	n := 1
	for _, other := range s.hub.Members(user(userID)) {
		if other != socket && other.holdsSlot() {
			n++
		}
	}
	if past(n, s.auth.limits.SocketsPerUser) {
		return false
	}
	if keep {
		socket.keepSlot()
	}
	return true
}

func (s *Socket) holdsSlot() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.hasSlot && s.auth.Phase() != authn.Closed
}

func (s *Socket) keepSlot() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.hasSlot = true
}

// crowded refuses a socket for which its user has no place.
func (s *Socket) refuseTooManySockets(t *token) *refusal {
	s.server.auth.limited(limitSocketsPerUser, slog.String("user", t.UserID))
	return &refusal{code: codeTooManyConnections, token: t}
}

// describe is called by the engines for the first request of each connection.
func (s *Server) describe(r *http.Request) any {
	request := s.auth.describe(r)
	network := s.auth.network(r, request.ClientIP)
	return &connection{
		Member:  admission.Member{Engine: versionOf(r), Network: network, Wide: throttle.Wide(network)},
		request: request,
		opened:  time.Now(),
	}
}

// admit is asked by the engines about each new connection.
func (s *Server) admit(described any, evict func()) bool {
	c := described.(*connection)
	s.mu.RLock()
	closing := s.closing
	s.mu.RUnlock()
	if closing {
		return false
	}
	c.Evict = func() {
		// A socket on whose token the store is deciding stays: the loss of the answer could cost an
		// honest client its session, and it will have authenticated, or gone, soon.
		if evictSocket := c.evict.Load(); evictSocket == nil || (*evictSocket)() {
			evict()
		}
	}
	admitted, reached, oldest := s.pool.Admit(&c.Member, s.auth.limits.admission())
	s.evictOldest(c, reached, oldest)
	return admitted
}

// evictOldest logs the limit that a connection has reached, if any, and evicts the one that has to go
// for it, if any.
func (s *Server) evictOldest(c *connection, reached admission.Limit, oldest *admission.Member) {
	if reached != admission.None {
		s.auth.limited(admissionLimits[reached], slog.String("address", c.request.ClientIP))
	}
	if oldest != nil {
		oldest.Evict()
	}
}

// left is called by the engines for each admitted connection that has ended.
func (s *Server) left(described any) { s.pool.Leave(&described.(*connection).Member) }
