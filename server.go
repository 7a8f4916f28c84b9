package socketauth

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"github.com/z-open/socketauth/internal/admission"
	"github.com/z-open/socketauth/internal/authn"
	"github.com/z-open/socketauth/internal/deadline"
	"github.com/z-open/socketauth/internal/eio3"
	"github.com/z-open/socketauth/internal/eio4"
	"github.com/z-open/socketauth/internal/engine"
	"github.com/z-open/socketauth/internal/forward"
	"github.com/z-open/socketauth/internal/hub"
	"github.com/z-open/socketauth/internal/logonce"
	"github.com/z-open/socketauth/internal/recent"
	"github.com/z-open/socketauth/internal/serialqueue"
	"github.com/z-open/socketauth/internal/throttle"
	"github.com/z-open/socketauth/internal/workers"
)

// Server serves the sockets of one app. Infrastructure and SocketServe make it. It is safe for
// concurrent use.
type Server struct {
	auth      *Auth
	bus       *bus                     // nil without Cluster.Broker
	place     int                      // the number of the server among those of the core
	engines   map[string]engine.Engine // by the EIO parameter of the requests that they serve
	hub       hub.Hub[*Socket]
	forwarder *forward.Forwarder       // nil without a bus
	work      sync.WaitGroup           // goroutines and timers of all sockets
	workers   workers.Pool             // runs what work counts, except timers
	runner    serialqueue.Runner       // runs the queues of all sockets
	deadlines *deadline.Queue[*Socket] // by which sockets have to authenticate, and when their tokens expire
	steps     sync.WaitGroup           // presentations that the store is deciding
	pool      admission.Pool
	slots     sync.Mutex           // held while a user's slot is acquired
	revoked   recent.List[*Socket] // sockets that were closed because their session was revoked; only with a bus

	noUpgrade logonce.Minute // limits how often a proxy that breaks websockets is logged

	handlers eventTable[Handler]
	wrappers []func(Handler) Handler // of Use

	watcher *watcher
	unwatch context.CancelFunc // ends watcher

	mu              sync.RWMutex
	closing         bool
	draining        bool
	onClaimsChanged []func(ctx context.Context, s *Socket, old jwt.MapClaims) error
	onAuthenticated []func(context.Context, *Socket) error
	onDisconnect    []func(context.Context, *Socket, string)
}

// Infrastructure calls New, APIServe and SocketServe: it puts login, registration and sockets on
// mux. server must serve mux, as its Handler or inside it, because Infrastructure does not set the
// Handler. server may be nil. After an error some of the routes may be on the mux already.
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

// SocketServe builds a core of its own and serves sockets on mux. To share a core with login, call
// New once and use its methods.
func SocketServe[U any](server *http.Server, mux Mux, opts Options[U]) (*Server, error) {
	a, err := New(opts)
	if err != nil {
		return nil, err
	}
	return a.SocketServe(server, mux)
}

// unauthenticatedQueue is how many bytes may wait to be sent to a client that has not
// authenticated.
const unauthenticatedQueue = 128 << 10

// SocketServe puts GET, POST and OPTIONS of SocketPath, with and without its last slash, on mux.
// server may be nil. Otherwise its Shutdown begins to end all sockets; nothing else of it is
// changed.
func (a *Auth) SocketServe(server *http.Server, mux Mux) (*Server, error) {
	if !a.tokens.canSign(a.tokens.refresh) {
		return nil, optionsError([]error{errNoSigning})
	}
	watching, unwatch := context.WithCancel(context.Background())
	s := &Server{auth: a, unwatch: unwatch}
	s.runner.Work, s.runner.Pool = &s.work, &s.workers
	if s.bus = a.bus; s.bus != nil {
		s.hub.First, s.hub.Last = s.bus.join, s.bus.leave
		s.revoked.Keep = 2*a.cluster.receiptTimeout + time.Second
	}
	s.deadlines = deadline.NewQueue(&s.work, (*Socket).onDeadline)
	s.watcher = newWatcher(watching, a, &s.work, s)
	var err error
	if s.forwarder, err = a.newForwarder(a.bus); err != nil {
		return nil, err
	}
	o := engine.Options{
		IDPrefix:       s.forwarder.Name(),
		MaxPayload:     a.limits.Message,
		FirstPayload:   a.limits.UnauthenticatedMessage,
		FirstQueue:     unauthenticatedQueue,
		MaxAttachments: a.limits.Attachments,
		MaxDepth:       a.limits.Depth,
		Admit:          s.admit,
		Left:           s.left,
		ConnectTimeout: a.timeout,
		FlushTimeout:   10 * time.Second,
		FirstFlush:     2 * time.Second, // for a refusal to arrive
		Describe:       s.describe,
		EventName:      s.handlers.name,
		Namespaces:     map[string]engine.Accept{"/": s.accept},
		Logger:         a.log,
	}
	s.engines = map[string]engine.Engine{"3": eio3.New(o), "4": eio4.New(o)}
	guarded := a.origins.Guard(http.HandlerFunc(s.serve), func(w http.ResponseWriter, _ *http.Request) {
		answerText(w, http.StatusForbidden, "code", httpOriginNotAllowed)
	})
	// The middleware of routers removes or adds the last slash, and clients can be told to leave it
	// out.
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
		if err := registerClient(mux, a.clientPath); err != nil {
			return nil, err
		}
	}
	s.place = a.addServer(s)
	if s.bus != nil {
		if _, err := s.bus.start(true); err != nil {
			return nil, err
		}
	}
	s.watcher.start()
	if server != nil {
		a.checkHTTPServer(server, mux)
		server.RegisterOnShutdown(func() { _ = s.Shutdown(context.Background()) })
	}
	return s, nil
}

// checkHTTPServer logs what an http.Server that is to serve mux seems to lack.
func (a *Auth) checkHTTPServer(server *http.Server, mux Mux) {
	if server.ReadHeaderTimeout == 0 && server.ReadTimeout == 0 {
		a.log.Warn("socketauth: the http.Server has no time limit for the header of a request",
			slog.String("fix", "set its ReadHeaderTimeout, for example to 10 s"))
	}
	if m, ok := mux.(*http.ServeMux); ok && m != http.DefaultServeMux && server.Handler == nil {
		a.log.Warn("socketauth: the http.Server has no Handler yet, and serves http.DefaultServeMux without one, "+
			"not the mux that has the library's routes",
			slog.String("fix", "set its Handler to the mux"))
	}
}

// serve passes a request to the engine for its version of the protocol.
func (s *Server) serve(w http.ResponseWriter, r *http.Request) {
	e, ok := s.engines[versionOf(r)]
	if !ok {
		answer(w, http.StatusBadRequest, map[string]any{"code": 5, "message": "Unsupported protocol version"})
		return
	}
	if r.Header["Sec-Websocket-Key"] != nil && !hasUpgrade(r.Header) {
		s.logNoUpgrade(r)
	}
	if own, handedOn := s.forwarder.Serve(w, r); !handedOn {
		e.ServeHTTP(w, own)
	}
}

// hasUpgrade reports whether a request asks for another protocol.
func hasUpgrade(h http.Header) bool {
	return h["Upgrade"] != nil && strings.Contains(strings.ToLower(strings.Join(h["Connection"], ",")), "upgrade")
}

// logNoUpgrade logs once a minute that a proxy does not pass on the headers of websocket
// handshakes. Clients that can poll do so without an error, and others never connect.
func (s *Server) logNoUpgrade(r *http.Request) {
	unsaid, now := s.noUpgrade.Allow()
	if !now {
		return
	}
	s.auth.log.WarnContext(r.Context(), "socketauth: a websocket handshake came without its Upgrade header",
		slog.String("peer", r.RemoteAddr), slog.Int("more_since_last", unsaid),
		slog.String("fix", "the proxy in front must pass on Upgrade and Connection, over HTTP/1.1: "+
			`in nginx, proxy_http_version 1.1; proxy_set_header Upgrade $http_upgrade; proxy_set_header Connection "upgrade";`))
}

// accept returns the receiver for a client that has joined. The client has Timeout to authenticate.
func (s *Server) accept(c engine.Conn, h engine.Handshake) engine.Receiver {
	now := time.Now()
	socket := &Socket{server: s, conn: c, connection: h.Request.(*connection)}
	socket.member.Value, socket.deadline.Value = socket, socket
	since := now
	if !s.pool.Proven(&socket.connection.Member) {
		since = socket.connection.opened
	}
	socket.auth = authn.New(since, s.auth.timeout)
	// A client that has left without authenticating may not join again. Otherwise it could begin its
	// time to authenticate again and again.
	if socket.connection.joined.Swap(true) {
		socket.end(string(engine.ProtocolError), nil)
		return receiver{socket}
	}
	evictSocket := socket.evict
	socket.connection.evict.Store(&evictSocket)
	socket.step(func(*authn.Machine) authn.Effects { return authn.Effects{} }) // sets the deadline
	if p, given := presentedAs(h.Auth, now); given {
		socket.control.PushAlways(&s.runner, socket.task(func() { socket.authenticate(p, nil) }))
	}
	return receiver{socket}
}

// Auth returns the core that the server uses.
func (s *Server) Auth() *Auth { return s.auth }

// OnAuthenticated adds a function that is called once for each socket before the socket is let in:
// before its client is told that it is authenticated or, if the client confirms, after it has
// confirmed. An error refuses the socket, and its token is not used up. The client is told the
// code of a *PublicError, "unavailable" for ErrUnavailable, "too_many_attempts" for
// ErrTooManyAttempts, and "server_error" for any other error.
//
// What f emits and joins takes effect once the socket is let in. To send a snapshot of something
// that changes, answer an event of the client instead, after Join. Functions are called in the
// order in which they were added. Like On, OnAuthenticated panics if f is nil.
func (s *Server) OnAuthenticated(f func(ctx context.Context, s *Socket) error) {
	if f == nil {
		panic("socketauth: nil function for OnAuthenticated")
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.onAuthenticated = append(s.onAuthenticated, f)
}

// OnDisconnect adds a function that is called once for each socket that was authenticated or that
// OnAuthenticated let in, when it has ended and its last handler has returned. ctx has ended and
// carries the claims. reason is one of "client disconnect", "server disconnect", "transport close",
// "ping timeout", "protocol error", "slow peer", "evicted", "shutdown", "stale" (see
// Cluster.MaxStale), "outdated" (see Auth.RefreshUser), "logged out", "too many events", or the
// code of the refusal that ended the socket. Like On, OnDisconnect panics if f is nil.
func (s *Server) OnDisconnect(f func(ctx context.Context, s *Socket, reason string)) {
	if f == nil {
		panic("socketauth: nil function for OnDisconnect")
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.onDisconnect = append(s.onDisconnect, f)
}

// OnClaimsChanged adds a function that is called with a socket whose claims UpdateClaims, or
// Refresh, has changed, before the first event is handled and the first message is sent under the
// new ones: the place to leave and join rooms. s.Claims and ctx have the new claims, old has those
// before. What f emits is sent once it has returned. A handler that began earlier may still be
// running. ctx ends after Timeout; nothing of the socket goes on before f has returned. After an
// error the socket is refused and disconnected, as by OnAuthenticated. Like On, OnClaimsChanged
// panics if f is nil.
func (s *Server) OnClaimsChanged(f func(ctx context.Context, s *Socket, old jwt.MapClaims) error) {
	if f == nil {
		panic("socketauth: nil function for OnClaimsChanged")
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.onClaimsChanged = append(s.onClaimsChanged, f)
}

// runOnClaimsChanged calls the functions of OnClaimsChanged and returns the first error.
func (s *Server) runOnClaimsChanged(ctx context.Context, socket *Socket, old *token) error {
	s.mu.RLock()
	hooks := slices.Clone(s.onClaimsChanged)
	s.mu.RUnlock()
	for _, f := range hooks {
		if err := s.auth.contain("OnClaimsChanged", func() error { return f(ctx, socket, old.claims()) }); err != nil {
			return err
		}
	}
	return nil
}

// asksOnAuthenticated reports whether there is a function to ask.
func (s *Server) asksOnAuthenticated() bool {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return len(s.onAuthenticated) > 0
}

// runOnAuthenticated calls the functions of OnAuthenticated and returns the first error.
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

// notifyDisconnect calls the functions of OnDisconnect.
func (s *Server) notifyDisconnect(socket *Socket, reason string) {
	s.mu.RLock()
	hooks := slices.Clone(s.onDisconnect)
	s.mu.RUnlock()
	ctx := contextWithToken(&socket.life, socket.newest())
	for _, f := range hooks {
		_ = s.auth.contain("OnDisconnect", func() error { f(ctx, socket, reason); return nil })
	}
}

// The groups in the hub.
var everyone = hub.Group{Kind: 'a'}

func room(name string) hub.Group   { return hub.Group{Kind: 'r', Name: name} }
func user(id string) hub.Group     { return hub.Group{Kind: 'u', Name: id} }
func session(sid string) hub.Group { return hub.Group{Kind: 's', Name: sid} }

// Shutdown ends all sockets in a way after which clients reconnect by themselves. It returns when
// no goroutine of the library is left, or with the error of ctx. From the moment it is called, new
// connections are refused. It may be called again. Call it before http.Server.Shutdown, which does
// not wait for websockets. The Shutdown of the last server of an Auth closes the Auth too.
func (s *Server) Shutdown(ctx context.Context) error {
	s.mu.Lock()
	s.closing = true
	s.mu.Unlock()
	// Clients whose tokens are being replaced are sent the next ones first. A store whose call takes
	// longer than this breaks its contract, and must not delay the end of the other sockets.
	deciding, cancel := context.WithTimeout(ctx, 2*s.auth.timeout)
	_ = deadline.Wait(deciding, &s.steps)
	cancel()
	var ending sync.WaitGroup
	errs := make(chan error, len(s.engines)+1)
	ending.Go(func() { errs <- s.forwarder.Shutdown(ctx) })
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
	s.revoked.Close()
	if err == nil {
		err = deadline.Wait(ctx, &s.work)
	}
	if closeErr := s.workers.Close(ctx); err == nil {
		err = closeErr
	}
	if err == nil {
		s.auth.removeServer(s)
		err = s.auth.closeUnused(ctx)
	}
	return err
}

// beginStep counts a presentation that the store is to decide. It returns false if the server is
// being shut down.
func (s *Server) beginStep() bool {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if !s.closing {
		s.steps.Add(1)
	}
	return !s.closing
}

// acquireSlot gives a socket one of the slots of its user and reports whether there was one. The
// socket has the slot until it ends. If keep is false, acquireSlot only reports whether there is
// one, for a client that has to confirm first.
func (s *Server) acquireSlot(socket *Socket, userID string, keep bool) bool {
	s.slots.Lock()
	defer s.slots.Unlock()
	n := 1
	for _, other := range s.hub.Members(user(userID)) {
		if other != socket && other.holdsSlot() {
			n++
		}
	}
	if limit := s.auth.limits.SocketsPerUser; limit != NoLimit && n > limit {
		return false
	}
	if keep {
		socket.keepSlot()
	}
	return true
}

// holdsSlot reports whether the socket has one of the slots of its user.
func (s *Socket) holdsSlot() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.hasSlot && s.auth.Phase() != authn.Closed
}

// keepSlot gives the socket a slot until it ends.
func (s *Socket) keepSlot() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.hasSlot = true
}

// refuseTooManySockets returns the refusal of a socket for which its user has no slot.
func (s *Socket) refuseTooManySockets(t *token) *refusal {
	s.server.auth.limited(limitSocketsPerUser, slog.String("user", t.UserID))
	return &refusal{code: codeTooManyConnections, token: t}
}

// describe is called by the engines for the first request of each connection.
func (s *Server) describe(r *http.Request) any {
	request := s.auth.describe(r)
	network := s.auth.network(r, request.clientIP)
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
	closing := s.closing || s.draining
	s.mu.RUnlock()
	if closing {
		return false
	}
	c.Evict = func() {
		// A socket on whose token the store is deciding stays: if the answer were lost, an honest
		// client could lose its session. Soon it will have authenticated or been closed anyway.
		if evictSocket := c.evict.Load(); evictSocket == nil || (*evictSocket)() {
			evict()
		}
	}
	admitted, reached, oldest := s.pool.Admit(&c.Member, s.auth.limits.admission())
	s.evictOldest(c, reached, oldest)
	return admitted
}

// evictOldest logs the limit that a connection has reached, if any, and evicts the one that has to
// go for it, if any.
func (s *Server) evictOldest(c *connection, reached admission.Limit, oldest *admission.Member) {
	if reached != admission.None {
		s.auth.limited(admissionLimits[reached], slog.String("address", c.request.clientIP))
	}
	if oldest != nil {
		oldest.Evict()
	}
}

// evict closes the socket to make room for another one. It reports whether the socket is closed: it
// is not if its client is authenticated or the store is deciding on it.
func (s *Socket) evict() (ok bool) {
	s.step(func(m *authn.Machine) (e authn.Effects) {
		e, ok = m.Evict(string(engine.Evicted))
		return e
	})
	return ok
}

// left is called by the engines for each admitted connection that has ended.
func (s *Server) left(described any) { s.pool.Leave(&described.(*connection).Member) }

// Handler handles an event of an authenticated client. The handlers of one socket run one at a
// time, in the order of its events, except Concurrent ones; those of different sockets run
// concurrently. ctx carries the claims (see ClaimsFromContext) and ends when the socket ends.
//
// A client that asked for an acknowledgement gets exactly one: the reply, an empty one if reply is
// nil, or {error:{code}} if err is not nil. The code is that of a *PublicError, "bad_arguments" for
// an error of Args.Decode, and "server_error" for any other.
type Handler func(ctx context.Context, s *Socket, args Args) (reply any, err error)
