package socketauth

import (
	"log/slog"
	"net/http"
	"net/netip"
	"strings"

	"github.com/z-open/socketauth/internal/authn"
	"github.com/z-open/socketauth/internal/throttle"
)

// NoLimit, as one of Limits, is none.
const NoLimit = -1

// Limits bound what clients can make the process hold. Zero is the default stated; NoLimit is none, for those that count
// connections and sessions. Past a limit a client is told so, or disconnected; it is counted in Stats, and logged at
// most once a minute.
type Limits struct {
	Message         int // bytes of one message, or one polling body; 1 MiB
	StrangerMessage int // the same before the client has authenticated; 64 KiB
	Attachments     int // of one message, together at most 4 times as long as a message; 16
	Depth           int // levels of JSON in one message; 512

	Sockets             int // connections in all; 100,000
	Strangers           int // connections that have not authenticated yet, or have left, of which the oldest makes way; 10,000
	StrangersPerAddress int // the same from one address, or one IPv6 network of /64; 16 times as many from a /48; 100
	SocketsPerUser      int // 100
	SessionsPerUser     int // past it the one presented least recently is revoked; 100

	// Failures in a row, of logins, registrations and tokens that nobody signed, after which who tries has to wait: from
	// one address (60, and one more every 2 s), and for one account (20, and one more every 5 s; from one address half as
	// many, and one more every 10 s). An IPv6 /48 counts as one address at an account, and as 16 in all. An address has a reserve of 8 for names not tried there before. Successes never count,
	// and who has logged in from an address lately is not held up there by the failures of others.
	FailuresPerAddress int
	FailuresPerAccount int

	// Logins and registrations of one address that are under way at one time, right or wrong; 50.
	LoginsPerAddress int
}

// The names of limits, in logs and Stats.
const (
	limitSockets             = "sockets"
	limitStrangers           = "strangers"
	limitStrangersPerAddress = "strangers_per_address"
	limitSocketsPerUser      = "sockets_per_user"
	limitSessionsPerUser     = "sessions_per_user"
	limitEvents              = "events"
	limitAttempts            = "attempts"
	limitLogins              = "logins_unavailable"
	limitRefusals            = "refusals_recorded"
)

func (l Limits) withDefaults() Limits {
	l.Message = or(l.Message, 1<<20)
	l.StrangerMessage = or(l.StrangerMessage, min(64<<10, l.Message))
	l.Attachments = or(l.Attachments, 16)
	l.Depth = or(l.Depth, 512)
	l.Sockets = or(l.Sockets, 100_000)
	l.Strangers = or(l.Strangers, 10_000)
	l.StrangersPerAddress = or(l.StrangersPerAddress, 100)
	l.SocketsPerUser = or(l.SocketsPerUser, 100)
	l.SessionsPerUser = or(l.SessionsPerUser, 100)
	return l
}

// check says what is wrong with the limits.
func (l Limits) check(fault func(format string, args ...any)) {
	for _, n := range [...]struct {
		name  string
		value int
		least int
	}{
		{"Message", l.Message, 1024}, {"StrangerMessage", l.StrangerMessage, 1024}, {"Attachments", l.Attachments, 1}, {"Depth", l.Depth, 2},
		{"Sockets", l.Sockets, NoLimit}, {"Strangers", l.Strangers, NoLimit}, {"StrangersPerAddress", l.StrangersPerAddress, NoLimit},
		{"SocketsPerUser", l.SocketsPerUser, NoLimit}, {"SessionsPerUser", l.SessionsPerUser, NoLimit},
		{"FailuresPerAddress", l.FailuresPerAddress, NoLimit}, {"FailuresPerAccount", l.FailuresPerAccount, NoLimit},
		{"LoginsPerAddress", l.LoginsPerAddress, NoLimit},
	} {
		if n.value < n.least {
			fault("Limits.%s is %d, less than %d", n.name, n.value, n.least)
		}
	}
	if l.StrangerMessage > l.Message {
		fault("Limits.StrangerMessage %d is more than Limits.Message %d", l.StrangerMessage, l.Message)
	}
}

// throttle makes what counts failures.
func (l Limits) throttle() *throttle.Guard {
	limits := throttle.Defaults()
	limits.Address.Burst = burst(l.FailuresPerAddress, limits.Address.Burst)
	limits.Account.Burst = burst(l.FailuresPerAccount, limits.Account.Burst)
	pair := l.FailuresPerAccount
	if pair > 0 {
		pair = (pair + 1) / 2
	}
	limits.Pair.Burst = burst(pair, limits.Pair.Burst)
	limits.UnderWay = burst(l.LoginsPerAddress, limits.UnderWay)
	return throttle.New(limits)
}

func burst(n, standard int) int {
	if n == NoLimit {
		return 1 << 20
	}
	return or(n, standard)
}

// past says whether there are more than a limit allows.
func past(n, limit int) bool { return limit != NoLimit && n > limit }

// takePlace gives a socket one of the places that its user has, which it has until it ends, or with keep false only says
// whether there is one: those that wait for a confirmation are nobody's yet.
func (s *Server) takePlace(socket *Socket, userID string, keep bool) bool {
	s.places.Lock() // so that of many at once each sees the others
	defer s.places.Unlock()
	n := 1
	for _, other := range s.hub.Members(user(userID)) {
		if other != socket && other.hasPlace() {
			n++
		}
	}
	if past(n, s.auth.limits.SocketsPerUser) {
		return false
	}
	if keep {
		socket.keepPlace()
	}
	return true
}

func (s *Socket) hasPlace() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.hasSlot && s.auth.Phase() != authn.Closed
}

func (s *Socket) keepPlace() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.hasSlot = true
}

// crowded refuses a socket for which its user has no place.
func (s *Socket) crowded(t *token) *refusal {
	s.server.auth.limited(limitSocketsPerUser, slog.String("user", t.UserID))
	return &refusal{code: codeTooManyConnections, token: t}
}

// limited counts what a limit has refused or ended, and logs that once a minute: said is whether it did so now.
func (a *Auth) limited(limit string, attrs ...any) (said bool) {
	unsaid, now := a.counts.limit(limit)
	if now {
		a.log.Warn("socketauth: a limit is reached", append(attrs, slog.String("limit", limit), slog.Int("more_since_last", unsaid))...)
	}
	return now
}

// address is the client's, or the peer's where the app's ClientIP fails, knows none, or gives what is no address.
func (c *config) address(r *http.Request) string {
	peer := remoteIP(r)
	if c.proxied {
		return peer
	}
	given := ""
	_ = c.contain("ClientIP", func() error { given = c.clientIP(r); return nil })
	if given == "" {
		return peer
	}
	last := given[strings.LastIndexByte(given, ',')+1:] // of a list: the part that the nearest proxy has added
	ip, err := throttle.Parse(cut(last))
	if err != nil || last != given {
		c.warnClientIP(given, err)
	}
	if err != nil {
		return peer
	}
	return ip.Unmap().String()
}

// warnClientIP says once a minute that ClientIP gave something else than one address.
func (c *config) warnClientIP(given string, err error) {
	unsaid, now := c.badClientIP.Say()
	if !now {
		return
	}
	msg, fix := "socketauth: Options.ClientIP gave a list, of which the last address is counted", "return one address: the one that your own proxy has added to the list"
	if err != nil {
		msg, fix = "socketauth: Options.ClientIP gave no IP address, so that of the peer is counted, which may be the proxy of all", "return one IP address, such as 192.0.2.1, from a header that your proxy sets"
	}
	c.log.Warn(msg, slog.String("fix", fix), slog.String("got", cut(given)), slog.Int("more_since_last", unsaid))
}

// network is where a client comes from as far as limits for one address go: "" where they do not apply, since without
// ClientIP all who come by a proxy on the same machine or network would share one.
func (c *config) network(r *http.Request, address string) string {
	if !c.proxied || !mayBeProxy(remoteIP(r)) {
		return throttle.Network(address)
	}
	if r.Header.Get("X-Forwarded-For") != "" {
		c.forwarded.Do(func() {
			c.log.Warn("socketauth: clients come by a proxy, so limits for each address are off, and strangers can hold up logins to an account from browsers that it was not logged in from before",
				slog.String("fix", "set Options.ClientIP to a function that reads the header which your proxy sets, and clients cannot"), slog.String("proxy", cut(remoteIP(r))))
		})
	}
	return ""
}

// sharedAddresses is the space between a provider and its customers, or within a cloud or an overlay network (RFC 6598).
var sharedAddresses = netip.MustParsePrefix("100.64.0.0/10")

// mayBeProxy reports whether a peer is where proxies stand: on this machine, or its own network. A peer without an IP
// address (a unix socket, "@" or a path) is on this machine.
func mayBeProxy(peer string) bool {
	ip, err := netip.ParseAddr(peer)
	ip = ip.Unmap()
	return err != nil || ip.IsLoopback() || ip.IsPrivate() || ip.IsLinkLocalUnicast() || sharedAddresses.Contains(ip)
}
