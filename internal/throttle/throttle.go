package throttle

import (
	"cmp"
	"crypto/rand"
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
	limits Limits
	fresh  Rate // one in Fresh
	secret secret
	start  time.Time

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

// Attempt is one attempt under way, as Begin let it through. Of its three ends the first that is called counts; all of
// them may be called by any goroutine, and on nil, where they do nothing. So "defer attempt.Void()" right after Begin
// is the way not to forget one. An attempt that nobody ends is a bug: it stays under way for ever, and is spent as a
// failure is.
type Attempt struct {
	guard                  *Guard
	at                     time.Duration
	address, account, pair uint64 // 0: none
	held                   held
	ended                  bool // under guard.mu
}

// Begin asks for an attempt, before the work it guards. retryAfter above zero: refused, the attempt is nil, and this is
// when it may be let through at the earliest. Otherwise the attempt has its part of all budgets until it is ended; it
// is nil as well where there is nothing to hold. Address "": exempt from what is counted per address. Account "" (or
// nothing but space): none is named.
func (g *Guard) Begin(address, account string) (attempt *Attempt, retryAfter time.Duration) {
	a := Attempt{guard: g, address: g.secret.address(address), account: g.secret.account(account)}
	switch {
	case a.address == 0 && a.account == 0:
		return nil, 0
	case a.address != 0 && a.account != 0:
		a.pair = max(1, a.address^a.account) // both are random to whoever has not the key, and so is this
	}

	g.mu.Lock()
	byAddress, byAccount := g.reserve(&a)
	g.mu.Unlock()
	switch {
	case byAddress > 0:
		g.refusedAddress.Add(1)
	case byAccount > 0:
		g.refusedAccount.Add(1)
	default:
		admitted := a // a itself stays off the heap: floods are refused cheaply
		return &admitted, 0
	}
	return nil, max(byAddress, byAccount)
}

// reserve takes a's part of each budget, or says how long each makes it wait. A refused attempt takes nothing, and
// leaves no entry behind but one that it waits.
func (g *Guard) reserve(a *Attempt) (byAddress, byAccount time.Duration) {
	l := &g.limits
	if g.underWay[a.address] >= l.UnderWay { // also where each of them succeeds: they keep others from the work itself
		return comeBack, 0
	}
	a.at = g.now()
	address, account, pair := g.addresses.peek(a.address), g.accounts.peek(a.account), g.pairs.peek(a.pair)
	known := a.pair != 0 && g.known.peek(a.pair).free > a.at
	fresh := a.pair != 0 && pair.extra.wait(a.at, g.fresh) == 0

	if a.pair != 0 {
		byAccount = pair.wait(a.at, l.Pair)
		a.held |= heldPair
	}
	if fresh {
		a.held |= heldFresh
	}
	// Who is known good here has only the pair's own failures to answer for.
	if a.address != 0 && !known {
		byAddress = address.wait(a.at, l.Address)
		switch {
		case byAddress == 0:
			a.held |= heldAddress
		case fresh: // goes before those who failed lately
			byAddress = g.fromReserve(a, address.extra)
			a.held |= heldReserve
		}
	}
	if a.account != 0 && !known {
		wait := account.wait(a.at, l.Account)
		if wait == 0 {
			a.held |= heldAccount
		} else if a.pair != 0 { // has one try when it is fresh, whatever others did to the account
			wait = min(wait, pair.extra.wait(a.at, g.fresh))
		}
		byAccount = max(byAccount, wait)
	}
	if byAddress == 0 && byAccount == 0 {
		g.take(a)
	}
	return byAddress, byAccount
}

// fromReserve says how long a fresh pair waits for the reserve. One that was told to come back, and does, goes before
// names never heard of: whoever makes up a new one each time comes last.
func (g *Guard) fromReserve(a *Attempt, reserve bucket) time.Duration {
	all := g.limits.Reserve
	half := Rate{Burst: (all.Burst + 1) / 2, Every: all.Every}
	if reserve.wait(a.at, half) == 0 {
		return 0
	}
	turn := g.waiting.get(a.pair)
	if turn.free == 0 || turn.free+waitingFor < a.at {
		turn.free = a.at + comeBack
	}
	return max(reserve.wait(a.at, all), turn.free-a.at)
}

func (g *Guard) take(a *Attempt) {
	l := &g.limits
	if a.address != 0 {
		g.underWay[a.address]++
	}
	if a.held&(heldAddress|heldReserve) != 0 {
		e := g.addresses.get(a.address)
		if a.held&heldAddress != 0 {
			e.take(a.at, l.Address)
		} else {
			e.extra.take(a.at, l.Reserve)
		}
	}
	if a.held&heldAccount != 0 {
		g.accounts.get(a.account).take(a.at, l.Account)
	}
	if a.held&heldPair != 0 {
		e := g.pairs.get(a.pair)
		e.take(a.at, l.Pair)
		if a.held&heldFresh != 0 {
			e.extra.take(a.at, g.fresh)
		}
	}
}

// Succeeded ends the attempt well: all it held is given back, and its pair of address and account is known good.
func (a *Attempt) Succeeded() {
	a.end(func(g *Guard) {
		g.giveBack(a)
		if a.pair != 0 {
			g.known.get(a.pair).free = g.now() + g.limits.KnownFor
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
		a.guard.leave(a.address)
		with(a.guard)
	}
}

// leave counts an attempt that is over.
func (g *Guard) leave(address uint64) {
	if g.underWay[address]--; g.underWay[address] <= 0 {
		delete(g.underWay, address)
	}
}

// giveBack undoes take. What was washed out meanwhile is full, or as good as it.
func (g *Guard) giveBack(a *Attempt) {
	l := &g.limits
	if e := g.addresses.find(a.address); e != nil {
		if a.held&heldAddress != 0 {
			e.giveBack(a.at, l.Address)
		}
		if a.held&heldReserve != 0 {
			e.extra.giveBack(a.at, l.Reserve)
		}
	}
	if e := g.accounts.find(a.account); e != nil && a.held&heldAccount != 0 {
		e.giveBack(a.at, l.Account)
	}
	if e := g.pairs.find(a.pair); e != nil && a.held&heldPair != 0 {
		e.giveBack(a.at, l.Pair)
		if a.held&heldFresh != 0 {
			e.extra.giveBack(a.at, g.fresh)
		}
	}
}

// now is the time since the Guard was made. It is asked under the lock, so that a bucket never sees it run backwards.
func (g *Guard) now() time.Duration { return time.Since(g.start) }
