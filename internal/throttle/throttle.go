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

// Limits are the budgets of a Guard. What is zero or less is taken from Defaults.
type Limits struct {
	Address  Rate          // of one address
	Reserve  Rate          // of one address besides, for accounts that have not failed there within Fresh
	Account  Rate          // of one account, over all addresses
	Pair     Rate          // of one account at one address
	UnderWay int           // attempts of one address at one time
	Fresh    time.Duration // how long after a failure its pair is not fresh
	KnownFor time.Duration // how long after a success its pair stays known good
}

// Defaults are the limits that the table of the package is about.
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

// How many entries are kept of each kind. They are allocated at once, but cost real memory only when touched.
const (
	addressEntries = 1 << 14
	accountEntries = 1 << 15
	pairEntries    = 1 << 15
	knownEntries   = 1 << 16
	waitingEntries = 1 << 14
)

// A pair that was told to come back goes first from comeBack on, for waitingFor.
const (
	comeBack   = time.Second
	waitingFor = time.Minute
)

// Guard holds the budgets. It is made by New and safe for concurrent use.
type Guard struct {
	limits  Limits
	fresh   Rate // one in Fresh
	secret  secret
	devices uint64 // of an account, as a place
	start   time.Time

	refusedAddress, refusedAccount atomic.Uint64

	mu        sync.Mutex
	addresses table[bucket] // with the reserve
	accounts  table[struct{}]
	pairs     table[bucket]   // with the fresh try
	known     table[struct{}] // pairs, free when no longer known
	waiting   table[struct{}] // fresh pairs that their address made wait, free when they may come back
	underWay  map[uint64]int  // attempts, by address
}

// New makes a Guard with a random key of its own.
func New(limits Limits) *Guard {
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
		start:     time.Now(),
		addresses: newTable[bucket](addressEntries),
		accounts:  newTable[struct{}](accountEntries),
		pairs:     newTable[bucket](pairEntries),
		known:     newTable[struct{}](knownEntries),
		waiting:   newTable[struct{}](waitingEntries),
		underWay:  make(map[uint64]int),
	}
	g.fresh = Rate{Burst: 1, Every: g.limits.Fresh}
	_, _ = rand.Read(g.secret[:])
	g.devices = g.secret.name('k', "devices")
	return g
}

func lasting(d, standard time.Duration) time.Duration {
	if d > 0 {
		return d
	}
	return standard
}

// Refused counts the attempts refused so far: for their address, and for their account.
func (g *Guard) Refused() (byAddress, byAccount uint64) {
	return g.refusedAddress.Load(), g.refusedAccount.Load()
}

// held says of which budgets an attempt has a part.
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

// A /48 has the budgets of wideAddresses addresses.
const wideAddresses = 16

// network is an address, or the IPv6 /48 it is in, and what an attempt holds of its budgets.
type network struct {
	key  uint64 // 0: none
	held held
}

// target is an account that an attempt may be for, and what the attempt holds of its budgets.
type target struct {
	account, pair uint64 // 0: none
	held          held
}

// Attempt is one attempt under way, as Begin let it through. Of its three ends the first that is called counts; all of
// them may be called by any goroutine, and on nil, where they do nothing. So "defer attempt.Void()" right after Begin
// is the way not to forget one. An attempt that nobody ends is a bug: it stays under way for ever, and is spent as a
// failure is.
type Attempt struct {
	guard         *Guard
	at            time.Duration
	address, wide network
	told, device  uint64 // of who has no address; 0: none
	accounts      uint64 // all that are named, together; 0: none
	targets       [maxAccounts]target
	ended         bool // under guard.mu
}

// Begin asks for an attempt, before the work it guards. retryAfter above zero: refused, the attempt is nil, and this is
// when it may be let through at the earliest. Otherwise the attempt has its part of all budgets until it is ended; it
// is nil as well where there is nothing to hold. Address "": exempt from what is counted per address. The accounts are
// those that the attempt may be for, two at most; none, or "" (or nothing but space): none is named.
func (g *Guard) Begin(address string, accounts ...string) (attempt *Attempt, retryAfter time.Duration) {
	a := Attempt{guard: g, address: network{key: g.secret.address(address)}, wide: network{key: g.secret.wide(address)}}
	return g.begin(&a, accounts)
}

// BeginUnlocated is Begin for a client whose address is not known. told is what a proxy may have said of it, "" for
// nothing: anybody may have made it up, so it is counted as a pair with an account, and buys nothing. device is the name of
// a device that has proven that it was let in to these accounts before, "" for none: it is held up by its own failures, and
// those of other such devices, alone.
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

	g.mu.Lock()
	byAddress, byAccount := g.reserve(a)
	g.mu.Unlock()
	switch {
	case byAddress > 0:
		g.refusedAddress.Add(1)
	case byAccount > 0:
		g.refusedAccount.Add(1)
	default:
		admitted := *a // a itself stays off the heap: floods are refused cheaply
		return &admitted, 0
	}
	return nil, max(byAddress, byAccount)
}

// pair is the key of an account, or of several together, with a place. Both are random to whoever has not the secret, and
// so is this. 0: one of them is missing.
func pair(place, account uint64) uint64 {
	if place == 0 || account == 0 {
		return 0
	}
	return max(1, place^account)
}

// here is the key of a's accounts together at its address, 0 where either is missing. All /64 of one /48 share a set of
// the table: else one account, logged in to from each of them, would wash out what is known of everybody.
func (a *Attempt) here() uint64 {
	here := pair(a.address.key, a.accounts)
	if here == 0 || a.wide.key == 0 {
		return here
	}
	const set = (knownEntries/ways - 1) << 1 // the bits by which table.set chooses
	return max(1, here&^set|pair(a.wide.key, a.accounts)&set)
}

// reserve takes a's part of each budget, or says how long each makes it wait. A refused attempt takes nothing, and
// leaves no entry behind but one that it waits.
func (g *Guard) reserve(a *Attempt) (byAddress, byAccount time.Duration) {
	l := &g.limits
	if g.underWay[a.address.key] >= l.UnderWay || g.underWay[a.wide.key] >= wideAddresses*l.UnderWay {
		return comeBack, 0 // also where each of them succeeds: they keep others from the work itself
	}
	a.at = g.now()
	here := a.here()
	known := a.device != 0 || g.known.peek(here).free > a.at
	// Who is not known counts by the /48: else each /64 of it would be fresh, and have its own guesses.
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
	// Who is known good here has only the pair's own failures to answer for.
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

// ofAccount says how long t waits for its account and for its pair with the place it comes from, 0 where that is not
// known. located: the place is an address, so to be fresh there counts.
func (g *Guard) ofAccount(at time.Duration, t *target, place uint64, known, located bool) (wait time.Duration) {
	l := &g.limits
	freshIn := time.Duration(math.MaxInt64)
	if t.pair = pair(place, t.account); t.pair != 0 {
		entry := g.pairs.peek(t.pair)
		wait = entry.wait(at, l.Pair)
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
	case known: // devices of one account have a budget of their own together, for whoever was let in once has any number
		t.account = pair(g.devices, t.account)
	}
	account := g.accounts.peek(t.account)
	spent := account.wait(at, l.Account)
	if spent == 0 {
		t.held |= heldAccount
	}
	return max(wait, min(spent, freshIn)) // a fresh pair has one try, whatever others did to the account
}

// ofNetwork says how long an attempt waits for the budget of a network that has those of so many addresses. turn is the
// fresh pair that may take from the reserve, 0 where it is not fresh.
func (g *Guard) ofNetwork(at time.Duration, n *network, addresses int, turn uint64) (wait time.Duration) {
	if n.key == 0 {
		return 0
	}
	entry := g.addresses.peek(n.key)
	wait = entry.wait(at, g.limits.Address.times(addresses))
	switch {
	case wait == 0:
		n.held |= heldAddress
	case turn != 0: // goes before those who failed lately
		n.held |= heldReserve
		wait = g.fromReserve(at, turn, entry.extra, g.limits.Reserve.times(addresses))
	}
	return wait
}

// fromReserve says how long a fresh pair waits for the reserve. One that was told to come back, and does, goes before
// names never heard of: whoever makes up a new one each time comes last.
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

func (g *Guard) take(a *Attempt) {
	l := &g.limits
	g.takeNetwork(a.at, a.address, 1)
	g.takeNetwork(a.at, a.wide, wideAddresses)
	for _, t := range a.targets {
		if t.held&heldAccount != 0 {
			g.accounts.get(t.account).take(a.at, l.Account)
		}
		if t.held&heldPair != 0 {
			e := g.pairs.get(t.pair)
			e.take(a.at, l.Pair)
			if t.held&heldFresh != 0 {
				e.extra.take(a.at, g.fresh)
			}
		}
	}
}

func (g *Guard) takeNetwork(at time.Duration, n network, addresses int) {
	if n.key == 0 {
		return
	}
	g.underWay[n.key]++
	switch {
	case n.held&heldAddress != 0:
		g.addresses.get(n.key).take(at, g.limits.Address.times(addresses))
	case n.held&heldReserve != 0:
		g.addresses.get(n.key).extra.take(at, g.limits.Reserve.times(addresses))
	}
}

// Succeeded ends the attempt well: all it held is given back, and its pair of address and account is known good.
func (a *Attempt) Succeeded() {
	a.end(func(g *Guard) {
		g.giveBack(a)
		if here := a.here(); here != 0 {
			g.known.get(here).free = g.now() + g.limits.KnownFor
		}
	})
}

// Failed ends the attempt as a wrong guess: what it held is spent.
func (a *Attempt) Failed() { a.end(func(*Guard) {}) }

// Void ends the attempt as one that told nothing (a server error, an outage): all it held is given back.
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

// leave counts an attempt that is over.
func (g *Guard) leave(network uint64) {
	if g.underWay[network]--; g.underWay[network] <= 0 {
		delete(g.underWay, network)
	}
}

// giveBack undoes take. What was washed out meanwhile is full, or as good as it.
func (g *Guard) giveBack(a *Attempt) {
	l := &g.limits
	g.giveBackNetwork(a.at, a.address, 1)
	g.giveBackNetwork(a.at, a.wide, wideAddresses)
	for _, t := range a.targets {
		if e := g.accounts.find(t.account); e != nil && t.held&heldAccount != 0 {
			e.giveBack(a.at, l.Account)
		}
		if e := g.pairs.find(t.pair); e != nil && t.held&heldPair != 0 {
			e.giveBack(a.at, l.Pair)
			if t.held&heldFresh != 0 {
				e.extra.giveBack(a.at, g.fresh)
			}
		}
	}
}

func (g *Guard) giveBackNetwork(at time.Duration, n network, addresses int) {
	e := g.addresses.find(n.key)
	if e == nil {
		return
	}
	if n.held&heldAddress != 0 {
		e.giveBack(at, g.limits.Address.times(addresses))
	}
	if n.held&heldReserve != 0 {
		e.extra.giveBack(at, g.limits.Reserve.times(addresses))
	}
}

// now is the time since the Guard was made. It is asked under the lock, so that a bucket never sees it run backwards.
func (g *Guard) now() time.Duration { return time.Since(g.start) }
