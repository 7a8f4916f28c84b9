package socketauth

import (
	"cmp"

	"github.com/z-open/socketauth/internal/admission"
	"github.com/z-open/socketauth/internal/throttle"
)

// NoLimit is the value of a field of Limits that sets no limit.
const NoLimit = -1

// Limits bound the memory and the work that clients can cause. A field of zero has the default that
// is given with it. The first four fields cannot be NoLimit, and a client that exceeds them is
// disconnected. What any other limit refuses or closes is counted in Stats.Limited, and logged at
// most once a minute.
//
// With Options.Cluster, the limits on failures hold for all processes together, as the one on
// sessions does; the others hold for each process.
type Limits struct {
	// Message is the maximum number of bytes of one message, or of the body of one polling request.
	// It must be at least 1024. The default is 1 MiB.
	Message int

	// UnauthenticatedMessage is the same for a client that has not authenticated. It must be at
	// least 1024 and at most Message. The default is 64 KiB, or Message if that is less.
	UnauthenticatedMessage int

	// Attachments is the maximum number of binary attachments of one message. Their bytes together
	// are at most 4 times the limit of a message. The default is 16.
	Attachments int

	// Depth is the maximum number of levels of nested arrays and objects in one message. It must be
	// at least 2. The default is 512.
	Depth int

	// Sockets is the maximum number of connections. One more is refused. As many requests may be
	// passed on to other processes at the same time (see Cluster.Advertise). The default is 100,000.
	Sockets int

	// Unauthenticated is the maximum number of connections whose client has not authenticated yet,
	// or has left. One more is accepted, and the oldest of them is closed for it. The default is
	// 10,000.
	Unauthenticated int

	// UnauthenticatedPerAddress is the same for one IPv4 address or IPv6 /64 network; for a /48
	// network it is 16 times as many. The default is 100. See Options.ClientIP for when addresses
	// are known.
	UnauthenticatedPerAddress int

	// SocketsPerUser is the maximum number of sockets of one user in this process. One more is
	// refused with too_many_connections. The default is 100.
	SocketsPerUser int

	// SessionsPerUser is the maximum number of sessions of one user. When one more begins, the
	// session whose token was presented least recently is revoked. The default is 100.
	SessionsPerUser int

	// FailuresPerAddress is how many logins, registrations and tokens that are not valid may fail
	// in a row at one address before the client has to wait: then one more may fail every 2
	// seconds. For accounts that have not failed at the address lately there is a reserve of 8. An
	// IPv6 /64 network counts as one address, a /48 network as 16. Successes do not count. For an
	// account that has logged in from the address in the last 14 days, failures of other accounts
	// there do not matter. At TokenPath, a session can have its token replaced as many times in a row.
	// The default is 60.
	FailuresPerAddress int

	// FailuresPerAccount is how many logins and registrations may fail in a row for one account,
	// from all addresses together, before the client has to wait: then one more may fail every 5
	// seconds. From one address, or one IPv6 /48 network, it is half as many, and one more every 10
	// seconds. Successes do not count. At an address from which the account has logged in in the
	// last 14 days, failures at other addresses do not matter. The default is 20.
	FailuresPerAccount int

	// LoginsPerAddress is how many logins and registrations of one address may be in progress at
	// the same time, whether they will succeed or not. At TokenPath, it is how many requests with one
	// token may be. The default is 50.
	LoginsPerAddress int
}

// The names of limits, in log messages and in Stats.Limited.
const (
	limitSockets                   = "sockets"
	limitUnauthenticated           = "unauthenticated"
	limitUnauthenticatedPerAddress = "unauthenticated_per_address"
	limitSocketsPerUser            = "sockets_per_user"
	limitSessionsPerUser           = "sessions_per_user"
	limitEvents                    = "events"
	limitAttempts                  = "attempts"
	limitLogins                    = "logins_unavailable"
	limitRefusals                  = "refusals_recorded"
	limitForwarded                 = "forwarded"
	limitExchanges                 = "exchanges"
	limitProofs                    = "proofs"
)

// admissionLimits has the names of the limits on connections.
var admissionLimits = map[admission.Limit]string{
	admission.Total:                     limitSockets,
	admission.Unauthenticated:           limitUnauthenticated,
	admission.UnauthenticatedPerNetwork: limitUnauthenticatedPerAddress,
}

// admission returns the limits on connections.
func (l Limits) admission() admission.Limits {
	return admission.Limits{
		Total:                     l.Sockets,
		Unauthenticated:           l.Unauthenticated,
		UnauthenticatedPerNetwork: l.UnauthenticatedPerAddress,
	}
}

// withDefaults returns the limits with the defaults for those that are zero. The defaults for
// failures and logins are those of package throttle.
func (l Limits) withDefaults() Limits {
	l.Message = cmp.Or(l.Message, 1<<20)
	l.UnauthenticatedMessage = cmp.Or(l.UnauthenticatedMessage, min(64<<10, l.Message))
	l.Attachments = cmp.Or(l.Attachments, 16)
	l.Depth = cmp.Or(l.Depth, 512)
	l.Sockets = cmp.Or(l.Sockets, 100_000)
	l.Unauthenticated = cmp.Or(l.Unauthenticated, 10_000)
	l.UnauthenticatedPerAddress = cmp.Or(l.UnauthenticatedPerAddress, 100)
	l.SocketsPerUser = cmp.Or(l.SocketsPerUser, 100)
	l.SessionsPerUser = cmp.Or(l.SessionsPerUser, 100)
	return l
}

// check calls fault for each limit that is not valid.
func (l Limits) check(fault func(format string, args ...any)) {
	for _, n := range [...]struct {
		name  string
		value int
		least int
	}{
		{"Message", l.Message, 1024},
		{"UnauthenticatedMessage", l.UnauthenticatedMessage, 1024},
		{"Attachments", l.Attachments, 1},
		{"Depth", l.Depth, 2},
		{"Sockets", l.Sockets, NoLimit},
		{"Unauthenticated", l.Unauthenticated, NoLimit},
		{"UnauthenticatedPerAddress", l.UnauthenticatedPerAddress, NoLimit},
		{"SocketsPerUser", l.SocketsPerUser, NoLimit},
		{"SessionsPerUser", l.SessionsPerUser, NoLimit},
		{"FailuresPerAddress", l.FailuresPerAddress, NoLimit},
		{"FailuresPerAccount", l.FailuresPerAccount, NoLimit},
		{"LoginsPerAddress", l.LoginsPerAddress, NoLimit},
	} {
		if n.value < n.least {
			fault("Limits.%s is %d, less than %d", n.name, n.value, n.least)
		}
	}
	if l.UnauthenticatedMessage > l.Message {
		fault("Limits.UnauthenticatedMessage %d is more than Limits.Message %d", l.UnauthenticatedMessage, l.Message)
	}
}

// throttle returns the guard that counts failures. With a key, it can exchange news with the guards
// of processes that have the same.
func (l Limits) throttle(key []byte) *throttle.Guard {
	limits := throttle.Defaults()
	limits.Address.Burst = burst(l.FailuresPerAddress, limits.Address.Burst)
	limits.Account.Burst = burst(l.FailuresPerAccount, limits.Account.Burst)
	pair := l.FailuresPerAccount
	if pair > 0 {
		pair = (pair + 1) / 2
	}
	limits.Pair.Burst = burst(pair, limits.Pair.Burst)
	limits.UnderWay = burst(l.LoginsPerAddress, limits.UnderWay)
	if key != nil {
		return throttle.NewShared(limits, [32]byte(key))
	}
	return throttle.New(limits)
}

// burst returns a limit as package throttle has it, which has no NoLimit.
func burst(n, standard int) int {
	if n == NoLimit {
		return 1 << 20
	}
	return cmp.Or(n, standard)
}
