package throttle

// kind is the kind of a budget, or of what is known about a pair. The numbers are sent to other
// processes.
type kind uint8

const (
	ofAddress kind = iota + 1
	ofReserve      // of an address
	ofWide
	ofWideReserve
	ofAccount
	ofPair
	ofFresh // a pair's attempt while it is fresh
	ofKnown // no budget: a pair that has succeeded
	kinds
)

// budget names one budget.
type budget struct {
	kind kind
	key  uint64
}

// maxBudgets is how many budgets one attempt can take a part of: two networks, and three for each
// account.
const maxBudgets = 2 + 3*maxAccounts

// budgets returns the budgets of which a takes a part, and how many they are.
func (a *Attempt) budgets() (all [maxBudgets]budget, n int) {
	add := func(took held, kind kind, key uint64) {
		if took != 0 && key != 0 {
			all[n] = budget{kind, key}
			n++
		}
	}
	add(a.address.held&heldAddress, ofAddress, a.address.key)
	add(a.address.held&heldReserve, ofReserve, a.address.key)
	add(a.wide.held&heldAddress, ofWide, a.wide.key)
	add(a.wide.held&heldReserve, ofWideReserve, a.wide.key)
	for i := range a.targets {
		t := &a.targets[i]
		add(t.held&heldAccount, ofAccount, t.account)
		add(t.held&heldPair, ofPair, t.pair)
		add(t.held&heldFresh, ofFresh, t.pair)
	}
	return all, n
}

// rate returns the rate of the budgets of a kind.
func (g *Guard) rate(k kind) Rate {
	l := &g.limits
	switch k {
	case ofAddress:
		return l.Address
	case ofReserve:
		return l.Reserve
	case ofWide:
		return l.Address.times(wideAddresses)
	case ofWideReserve:
		return l.Reserve.times(wideAddresses)
	case ofAccount:
		return l.Account
	case ofPair:
		return l.Pair
	}
	return g.fresh
}

// bucket returns the bucket of a budget and its rate. If there is none, it creates one or returns
// nil.
func (g *Guard) bucket(b budget, create bool) (*bucket, Rate) {
	rate := g.rate(b.kind)
	switch b.kind {
	case ofAccount:
		if e := g.accounts.entry(b.key, create); e != nil {
			return &e.bucket, rate
		}
		return nil, rate
	case ofPair, ofFresh:
		return side(g.pairs.entry(b.key, create), b.kind == ofFresh), rate
	}
	return side(g.addresses.entry(b.key, create), b.kind == ofReserve || b.kind == ofWideReserve), rate
}

// side returns one of the two buckets of an entry, or nil if there is no entry.
func side(e *slot[bucket], extra bool) *bucket {
	switch {
	case e == nil:
		return nil
	case extra:
		return &e.extra
	}
	return &e.bucket
}
