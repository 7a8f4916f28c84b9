package socketauth

import (
	"cmp"

	"github.com/z-open/socketauth/internal/admission"
	"github.com/z-open/socketauth/internal/throttle"
)

// NoLimit, as one of Limits, is none.
const NoLimit = -1

// Limits bound what clients can make the process hold. Zero is the default stated; NoLimit is none, for those that count
// connections and sessions. Past a limit a client is told so, or disconnected; it is counted in Stats, and logged at
// most once a minute.
type Limits struct {
	Message                int // bytes of one message, or one polling body; 1 MiB
	UnauthenticatedMessage int // the same before the client has authenticated; 64 KiB
	Attachments            int // of one message, together at most 4 times as long as a message; 16
	Depth                  int // levels of JSON in one message; 512

	Sockets                   int // connections in all; 100,000
	Unauthenticated           int // connections that have not authenticated yet, or have left, of which the oldest makes way; 10,000
	UnauthenticatedPerAddress int // the same from one address, or one IPv6 network of /64; 16 times as many from a /48; 100
	SocketsPerUser            int // 100
	SessionsPerUser           int // past it the one presented least recently is revoked; 100

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
	limitSockets                   = "sockets"
	limitUnauthenticated           = "unauthenticated"
	limitUnauthenticatedPerAddress = "unauthenticated_per_address"
	limitSocketsPerUser            = "sockets_per_user"
	limitSessionsPerUser           = "sessions_per_user"
	limitEvents                    = "events"
	limitAttempts                  = "attempts"
	limitLogins                    = "logins_unavailable"
	limitRefusals                  = "refusals_recorded"
)

// admissionLimits are the names of the limits of connections.
var admissionLimits = map[admission.Limit]string{
	admission.Total:                     limitSockets,
	admission.Unauthenticated:           limitUnauthenticated,
	admission.UnauthenticatedPerNetwork: limitUnauthenticatedPerAddress,
}

// admission returns the limits of connections.
func (l Limits) admission() admission.Limits {
	return admission.Limits{Total: l.Sockets, Unauthenticated: l.Unauthenticated, UnauthenticatedPerNetwork: l.UnauthenticatedPerAddress}
}

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

// check says what is wrong with the limits.
func (l Limits) check(fault func(format string, args ...any)) {
	for _, n := range [...]struct {
		name  string
		value int
		least int
	}{
		{"Message", l.Message, 1024}, {"UnauthenticatedMessage", l.UnauthenticatedMessage, 1024}, {"Attachments", l.Attachments, 1}, {"Depth", l.Depth, 2},
		{"Sockets", l.Sockets, NoLimit}, {"Unauthenticated", l.Unauthenticated, NoLimit}, {"UnauthenticatedPerAddress", l.UnauthenticatedPerAddress, NoLimit},
		{"SocketsPerUser", l.SocketsPerUser, NoLimit}, {"SessionsPerUser", l.SessionsPerUser, NoLimit},
		{"FailuresPerAddress", l.FailuresPerAddress, NoLimit}, {"FailuresPerAccount", l.FailuresPerAccount, NoLimit},
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
	return cmp.Or(n, standard)
}
