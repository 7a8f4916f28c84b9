package throttle

import (
	"cmp"
	"crypto/rand"
	"math"
	"math/bits"
	"sync"
	"sync/atomic"
	"time"
)

// Limits are the budgets of a Guard. Fields that are zero or less have the value of Defaults.
type Limits struct {
	Address  Rate          // of one address
	Reserve  Rate          // of one address in addition, for fresh pairs
	Account  Rate          // of one account, at all addresses
	Pair     Rate          // of one account at one address
	UnderWay int           // how many attempts of one address may be in progress
	Fresh    time.Duration // how long a pair is not fresh after a failure
	KnownFor time.Duration // how long a pair is known good after a success
}

// Defaults returns the limits that the package documentation describes.
func Defaults() Limits {
	return Limits{
		Address:  Rate{Burst: 60, Every: 2 * time.Second},
		Reserve:  Rate{Burst: 8, Every: 2 * time.Second},
		Account:  Rate{Burst: 20, Every: 5 * time.Second},
		Pair:     Rate{Burst: 10, Every: 10 * time.Second},
		UnderWay: 50,
		Fresh:    5 * time.Minute,
		KnownFor: 14 * 24 * time.Hour,
	}
}

// How many entries are kept of each kind. They are allocated at once, but use memory only when
// touched.
const (
	addressEntries = 1 << 14
	accountEntries = 1 << 15
	pairEntries    = 1 << 15
	knownEntries   = 1 << 16
	waitingEntries = 1 << 14
)

// A pair that was told to wait has priority after comeBack, for the time waitingFor.
const (
	comeBack   = time.Second
	waitingFor = time.Minute
)

// Guard holds the budgets. Use New to create one. It is safe for concurrent use.
type Guard struct {
	limits  Limits
	fresh   Rate // one in Fresh
	secret  secret
	devices uint64 // stands for the devices of an account in place of an address
	start   time.Time

	refusedAddress, refusedAccount atomic.Uint64

	mu        sync.Mutex
	addresses table[bucket] // with the reserve
	accounts  table[struct{}]
	pairs     table[bucket]   // with the fresh try
	known     table[struct{}] // pairs; free is when they are no longer known good
	waiting   table[struct{}] // fresh pairs that were told to wait; free is when they may come back
	underWay  map[uint64]int  // how many attempts are in progress, by address
	news      *news           // nil if the guard is on its own
}

// New returns a Guard with a random key of its own.
func New(limits Limits) *Guard {
	var key secret
	_, _ = rand.Read(key[:])
	return newGuard(limits, key)
}

// NewShared returns a Guard that exchanges news with the guards of other processes that have the
// same key, by Exchange and Hear. The key must be secret and used for nothing else.
func NewShared(limits Limits, key [32]byte) *Guard {
	g := newGuard(limits, key)
	g.news = newNews()
	return g
}

func newGuard(limits Limits, key secret) *Guard {
	d := Defaults()
	g := &Guard{
		limits: Limits{
			Address:  limits.Address.or(d.Address),
			Reserve:  limits.Reserve.or(d.Reserve),
			Account:  limits.Account.or(d.Account),
			Pair:     limits.Pair.or(d.Pair),
			UnderWay: cmp.Or(max(0, limits.UnderWay), d.UnderWay),
			Fresh:    lasting(limits.Fresh, d.Fresh),
			KnownFor: lasting(limits.KnownFor, d.KnownFor),
		},
		secret:    key,
		start:     time.Now(),
		addresses: newTable[bucket](addressEntries),
		accounts:  newTable[struct{}](accountEntries),
		pairs:     newTable[bucket](pairEntries),
		known:     newTable[struct{}](knownEntries),
		waiting:   newTable[struct{}](waitingEntries),
		underWay:  make(map[uint64]int),
	}
	g.fresh = Rate{Burst: 1, Every: g.limits.Fresh}
	g.devices = g.secret.name('k', "devices")
	return g
}

func lasting(d, standard time.Duration) time.Duration {
	if d > 0 {
		return d
	}
	return standard
}

// Refused returns how many attempts were refused so far, because of their address and because of
// their account.
func (g *Guard) Refused() (byAddress, byAccount uint64) {
	return g.refusedAddress.Load(), g.refusedAccount.Load()
}

// held is the set of budgets of which an attempt has taken a part.
type held uint8

const (
	heldAddress held = 1 << iota
	heldReserve
	heldAccount
	heldPair
	heldFresh
)

// maxAccounts is how many accounts one attempt may name.
const maxAccounts = 2

// wideAddresses is how many addresses a /48 counts as.
const wideAddresses = 16

// network is an address, or the IPv6 /48 that it is in, and what an attempt holds of its budgets.
type network struct {
	key  uint64 // 0: none
	held held
}

// target is an account that an attempt may be for, and what the attempt holds of its budgets.
type target struct {
	account, pair uint64 // 0: none
	held          held
}

// Attempt is an attempt in progress that Begin let through. It must be ended by Succeeded, Failed,
// FailedHere or Void; only the first call has an effect. "defer attempt.Void()" right after Begin
// makes sure that it is. An attempt that is not ended counts as in progress for ever, and as
// failed. The methods may be called from any goroutine, and on nil, where they do nothing.
type Attempt struct {
	guard         *Guard
	at            time.Duration
	address, wide network
	told, device  uint64 // if there is no address; 0: none
	accounts      uint64 // all named accounts together; 0: none
	targets       [maxAccounts]target
	ended         bool // guarded by guard.mu
}

// Begin begins an attempt, before the work that it guards. If retryAfter is above zero, the attempt
// is refused and nil, and retryAfter is the earliest time at which it may be let through. Otherwise
// it has taken its part of all budgets until it is ended; it is nil if there is nothing to count.
//
// If address is "", nothing is counted per address. The accounts are those that the attempt may be
// for, two at most; those that are "" or only space are ignored.
func (g *Guard) Begin(address string, accounts ...string) (attempt *Attempt, retryAfter time.Duration) {
	a := Attempt{guard: g, address: network{key: g.secret.address(address)}, wide: network{key: g.secret.wide(address)}}
	return g.begin(&a, accounts)
}

// BeginUnlocated is like Begin for a client whose address is not known. told is what a proxy may
// have said about the client, or "": it may be made up, so it is counted as a pair with an account
// and gives no advantage. device is the name of a device that has proven that it was let in to
// these accounts before, or "": only its own failures, and those of other such devices, count
// against it.
func (g *Guard) BeginUnlocated(told, device string, accounts ...string) (attempt *Attempt, retryAfter time.Duration) {
	a := Attempt{guard: g, told: g.secret.name('t', told), device: g.secret.name('d', device)}
	return g.begin(&a, accounts)
}

func (g *Guard) begin(a *Attempt, accounts []string) (attempt *Attempt, retryAfter time.Duration) {
	named := 0
	for _, account := range accounts[:min(len(accounts), maxAccounts)] {
		key := g.secret.account(account)
		if key == 0 || key == a.targets[0].account {
			continue
		}
		a.targets[named].account = key
		named++
		a.accounts = bits.RotateLeft64(a.accounts, 1) ^ key
	}
	if a.address.key == 0 && named == 0 {
		return nil, 0
	}
	if a.device != 0 {
		// The device was let in to the accounts together, and perhaps to one of them alone. It must
		// not spend what the owner of the other has at devices of their own.
		a.targets = [maxAccounts]target{{account: a.accounts}}
	}

	g.mu.Lock()
	byAddress, byAccount := g.reserve(a)
	g.mu.Unlock()
	switch {
	case byAddress > 0:
		g.refusedAddress.Add(1)
	case byAccount > 0:
		g.refusedAccount.Add(1)
	default:
		admitted := *a // a itself stays off the heap, so refusals do not allocate
		return &admitted, 0
	}
	return nil, max(byAddress, byAccount)
}

// pair returns the key of an account, or of several together, at a place, or 0 if either is
// missing. Without the secret the keys of both are random, and so is the result.
func pair(place, account uint64) uint64 {
	if place == 0 || account == 0 {
		return 0
	}
	return max(1, place^account)
}

// here returns the key of a's accounts together at its address, or 0 if either is missing. All /64s
// of one /48 share a set of the table: otherwise logging in to one account from each of them would
// replace all known pairs.
func (a *Attempt) here() uint64 {
	here := pair(a.address.key, a.accounts)
	if here == 0 || a.wide.key == 0 {
		return here
	}
	const set = (knownEntries/ways - 1) << 1 // the bits by which table.set chooses
	return max(1, here&^set|pair(a.wide.key, a.accounts)&set)
}

// reserve takes a's part of each budget, or returns how long the attempt has to wait for its
// address and for its account. A refused attempt takes nothing, and at most leaves an entry in
// g.waiting.
func (g *Guard) reserve(a *Attempt) (byAddress, byAccount time.Duration) {
	l := &g.limits
	if g.underWay[a.address.key] >= l.UnderWay || g.underWay[a.wide.key] >= wideAddresses*l.UnderWay {
		return comeBack, 0 // even if all of them succeed: they keep others from the work itself
	}
	a.at = g.now()
	here := a.here()
	known := a.device != 0 || g.known.peek(here).free > a.at
	// If it is not known good, count by the /48: otherwise each of its /64s would be fresh.
	place := cmp.Or(a.wide.key, a.address.key, a.told)
	if known {
		place = cmp.Or(a.address.key, a.device)
	}
	fresh := here != 0
	for i := range a.targets {
		if t := &a.targets[i]; t.account != 0 {
			byAccount = max(byAccount, g.ofAccount(a.at, t, place, known, a.address.key != 0))
			fresh = fresh && t.held&heldFresh != 0
		}
	}
	// Only its own failures count against a known good pair.
	if !known {
		turn := uint64(0)
		if fresh {
			turn = here
		}
		byAddress = max(g.ofNetwork(a.at, &a.address, 1, turn), g.ofNetwork(a.at, &a.wide, wideAddresses, turn))
	}
	if byAddress == 0 && byAccount == 0 {
		g.take(a)
	}
	return byAddress, byAccount
}

// ofAccount returns how long t has to wait for its account and for its pair with place, the key of
// where the attempt comes from, or 0. located means that place is an address, where a pair can be
// fresh.
func (g *Guard) ofAccount(at time.Duration, t *target, place uint64, known, located bool) (wait time.Duration) {
	l := &g.limits
	freshIn := time.Duration(math.MaxInt64)
	if t.pair = pair(place, t.account); t.pair != 0 {
		entry := g.pairs.peek(t.pair)
		wait = max(entry.wait(at, l.Pair), g.pause(at, budget{ofPair, t.pair}))
		t.held |= heldPair
		if located {
			if freshIn = entry.extra.wait(at, g.fresh); freshIn == 0 {
				t.held |= heldFresh
			}
		}
	}
	switch {
	case known && located:
		return wait
	case known: // known devices share a budget, since one user may have any number of them
		t.account = pair(g.devices, t.account)
	}
	account := g.accounts.peek(t.account)
	spent := max(account.wait(at, l.Account), g.pause(at, budget{ofAccount, t.account}))
	if spent == 0 {
		t.held |= heldAccount
	}
	// A fresh pair has one attempt even if the account is spent.
	return max(wait, min(spent, freshIn))
}

// ofNetwork returns how long an attempt has to wait for the budget of a network that counts as the
// given number of addresses. turn is the fresh pair that may take from the reserve, or 0.
func (g *Guard) ofNetwork(at time.Duration, n *network, addresses int, turn uint64) (wait time.Duration) {
	if n.key == 0 {
		return 0
	}
	entry := g.addresses.peek(n.key)
	wait = entry.wait(at, g.limits.Address.times(addresses))
	switch {
	case wait == 0:
		n.held |= heldAddress
	case turn != 0: // it has priority over pairs that have failed
		n.held |= heldReserve
		wait = g.fromReserve(at, turn, entry.extra, g.limits.Reserve.times(addresses))
	}
	return wait
}

// fromReserve returns how long a fresh pair has to wait for the reserve. One that was told to wait,
// and comes back, has priority over new ones, so whoever makes up a new name each time comes last.
func (g *Guard) fromReserve(at time.Duration, pair uint64, reserve bucket, all Rate) time.Duration {
	half := Rate{Burst: (all.Burst + 1) / 2, Every: all.Every}
	if reserve.wait(at, half) == 0 {
		return 0
	}
	turn := g.waiting.get(pair)
	if turn.free == 0 || turn.free+waitingFor < at {
		turn.free = at + comeBack
	}
	return max(reserve.wait(at, all), turn.free-at)
}

// take takes a's part of its budgets.
func (g *Guard) take(a *Attempt) {
	for _, n := range [...]uint64{a.address.key, a.wide.key} {
		if n != 0 {
			g.underWay[n]++
		}
	}
	budgets, n := a.budgets()
	for _, b := range budgets[:n] {
		bucket, rate := g.bucket(b, true)
		bucket.take(a.at, rate)
		g.news.took(b)
	}
}

// Succeeded ends the attempt. All that it took is given back, and its pair is known good.
func (a *Attempt) Succeeded() {
	a.end(func(g *Guard) {
		g.giveBack(a)
		if here := a.here(); here != 0 {
			g.known.get(here).free = g.now() + g.limits.KnownFor
			g.news.add(budget{ofKnown, here})
		}
	})
}

// Failed ends the attempt as a wrong guess. All that it took is spent.
func (a *Attempt) Failed() {
	a.end(func(g *Guard) {
		budgets, n := a.budgets()
		for _, b := range budgets[:n] {
			g.news.add(b)
		}
	})
}

// FailedHere is like Failed, but other processes are not told.
func (a *Attempt) FailedHere() { a.end(func(*Guard) {}) }

// Void ends the attempt without a result, for instance after a server error. All that it took is
// given back.
func (a *Attempt) Void() { a.end(func(g *Guard) { g.giveBack(a) }) }

func (a *Attempt) end(with func(g *Guard)) {
	if a == nil {
		return
	}
	a.guard.mu.Lock()
	defer a.guard.mu.Unlock()
	if !a.ended {
		a.ended = true
		a.guard.leave(a.address.key)
		a.guard.leave(a.wide.key)
		with(a.guard)
	}
}

// leave counts an attempt as ended.
func (g *Guard) leave(network uint64) {
	if g.underWay[network]--; g.underWay[network] <= 0 {
		delete(g.underWay, network)
	}
}

// giveBack undoes take. Entries that were replaced meanwhile are treated as full.
func (g *Guard) giveBack(a *Attempt) {
	budgets, n := a.budgets()
	for _, b := range budgets[:n] {
		if bucket, rate := g.bucket(b, false); bucket != nil {
			bucket.giveBack(a.at, rate)
		}
		g.news.gaveBack(b, a.at)
	}
}

// now returns the time since the Guard was created. It must be called with the lock held, so that a
// bucket never sees an earlier time.
func (g *Guard) now() time.Duration { return time.Since(g.start) }
