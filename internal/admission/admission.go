// Package admission decides which connections a server has room for. It counts them and, where too
// many have not authenticated, picks the oldest of those to be evicted.
package admission

import (
	"container/list"
	"maps"
	"sync"
)

// NoLimit as a limit is none.
const NoLimit = -1

// Limits are how many connections there may be.
type Limits struct {
	Total                     int // of all kinds
	Unauthenticated           int
	UnauthenticatedPerNetwork int
}

// Limit names one of the Limits.
type Limit uint8

// The limits that Admit and Demote report as reached.
const (
	None Limit = iota
	Total
	Unauthenticated
	UnauthenticatedPerNetwork
)

// Wide is how many times as many unauthenticated connections may come from a wide network as from a
// network that is part of it.
const Wide = 16

// Member is one connection of a Pool. Its exported fields must not change once it was admitted.
type Member struct {
	Engine  string // the version of the protocol, by which connections are counted
	Network string // where it comes from; "" if the limit for one network does not apply
	Wide    string // the wide network that Network is part of; "" or Network itself if there is none
	Evict   func() // ends the connection; called without a lock

	// Guarded by the pool's lock.
	authenticated bool
	proven        bool // it was authenticated at any time
	gone          bool
	slots         []slot
}

// slot is a member's place in one queue of unauthenticated members.
type slot struct {
	queue   string
	element *list.Element
}

// Count is how many connections there are of one engine.
type Count struct{ Unauthenticated, Authenticated int }

// Pool is the connections of one server. The zero value is empty and ready. It is safe for
// concurrent use.
type Pool struct {
	mu      sync.Mutex
	total   int
	engines map[string]Count
	queues  map[string]*list.List // unauthenticated members, the oldest first: by network, and all of them by ""
}

// Admit adds a connection, unless there is no room for connections of any kind. reached is the
// limit that was reached, if any. If too many are unauthenticated, the newcomer is admitted all the
// same and the oldest one must be evicted: an honest client authenticates within a round trip or
// two, whereas an attacker who wants to fill all slots has to come back as often as everybody else
// together. That holds for a single network too, which an attacker and honest clients may share.
func (p *Pool) Admit(m *Member, l Limits) (admitted bool, reached Limit, oldest *Member) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if exceeds(p.total+1, l.Total) {
		return false, Total, nil
	}
	if p.engines == nil {
		p.engines, p.queues = make(map[string]Count), make(map[string]*list.List)
	}
	p.total++
	p.countLocked(m, 1, 0)
	reached, oldest = p.enqueueLocked(m, l)
	return true, reached, oldest
}

// Promote moves a connection to the authenticated ones, unless it has ended.
func (p *Pool) Promote(m *Member) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if m.authenticated || m.gone {
		return
	}
	m.authenticated, m.proven = true, true
	p.dequeueLocked(m)
	p.countLocked(m, -1, 1)
}

// Demote moves a connection whose client has left back to the unauthenticated ones, as the
// youngest. Otherwise anybody with an account could hold any number of connections that were
// authenticated once. reached and oldest are as those of Admit.
func (p *Pool) Demote(m *Member, l Limits) (reached Limit, oldest *Member) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !m.authenticated || m.gone {
		return None, nil
	}
	m.authenticated = false
	p.countLocked(m, 1, -1)
	return p.enqueueLocked(m, l)
}

// Leave removes a connection that has ended. It must be called once for each admitted one.
func (p *Pool) Leave(m *Member) {
	p.mu.Lock()
	defer p.mu.Unlock()
	m.gone = true
	p.total--
	p.dequeueLocked(m)
	if m.authenticated {
		p.countLocked(m, 0, -1)
	} else {
		p.countLocked(m, -1, 0)
	}
}

// Proven reports whether a connection was authenticated at any time.
func (p *Pool) Proven(m *Member) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return m.proven
}

// Counts returns how many connections there are, by engine.
func (p *Pool) Counts() map[string]Count {
	p.mu.Lock()
	defer p.mu.Unlock()
	return maps.Clone(p.engines)
}

// Empty reports whether there is no connection, and nothing is kept of earlier ones.
func (p *Pool) Empty() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.total == 0 && len(p.queues) == 0
}

// queue is a queue that a member stands in, and its limit.
type queue struct {
	name  string
	limit int
	kind  Limit
}

// queuesOf returns the queues that a member stands in, the smallest first.
func (l Limits) queuesOf(m *Member) []queue {
	all := queue{"", l.Unauthenticated, Unauthenticated}
	if m.Network == "" {
		return []queue{all}
	}
	queues := []queue{{m.Network, l.UnauthenticatedPerNetwork, UnauthenticatedPerNetwork}}
	if m.Wide != "" && m.Wide != m.Network && l.UnauthenticatedPerNetwork != NoLimit {
		queues = append(queues, queue{m.Wide, Wide * l.UnauthenticatedPerNetwork, UnauthenticatedPerNetwork})
	}
	return append(queues, all)
}

// enqueueLocked adds a member to its queues and returns the one to be evicted for it, if any.
func (p *Pool) enqueueLocked(m *Member, l Limits) (reached Limit, oldest *Member) {
	for _, q := range l.queuesOf(m) {
		if oldest == nil {
			if oldest = p.oldestLocked(q); oldest != nil {
				reached = q.kind
				p.dequeueLocked(oldest) // from its larger queues too
			}
		}
		if p.queues[q.name] == nil {
			p.queues[q.name] = list.New()
		}
		m.slots = append(m.slots, slot{q.name, p.queues[q.name].PushBack(m)})
	}
	return reached, oldest
}

// oldestLocked returns the oldest member of a queue that has no room for one more, or nil.
func (p *Pool) oldestLocked(q queue) *Member {
	members := p.queues[q.name]
	if members == nil || !exceeds(members.Len()+1, q.limit) {
		return nil
	}
	return members.Front().Value.(*Member)
}

// dequeueLocked removes a member from its queues.
func (p *Pool) dequeueLocked(m *Member) {
	for _, s := range m.slots {
		members := p.queues[s.queue]
		if members.Remove(s.element); members.Len() == 0 {
			delete(p.queues, s.queue)
		}
	}
	m.slots = nil
}

func (p *Pool) countLocked(m *Member, unauthenticated, authenticated int) {
	n := p.engines[m.Engine]
	p.engines[m.Engine] = Count{n.Unauthenticated + unauthenticated, n.Authenticated + authenticated}
}

func exceeds(n, limit int) bool { return limit != NoLimit && n > limit }
