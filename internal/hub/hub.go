// Package hub keeps the members of groups.
package hub

import "sync"

// Group names a group. Groups of different kinds, such as a room and a user, may have the same
// name.
type Group struct {
	Kind byte
	Name string
}

// Hub holds groups of members. The zero value is empty and ready. It is safe for concurrent use.
//
// Most groups have one member and most members are in three groups, so the hub keeps both as
// slices.
type Hub[T any] struct {
	// First is called with each group that gets its first member, and Last with each that loses its
	// last one; either may be nil. They are set before the hub is used. The hub's lock is not held
	// while they run, so that of a group that changes at the same time in two goroutines, First and
	// Last may be called in either order; each First has its Last.
	First, Last func(Group)

	mu     sync.RWMutex
	groups map[Group]*group[T]
}

// Member is what can be in the groups of one hub. The zero value, with Value set, is in none.
type Member[T any] struct {
	Value T // what the hub returns for the member; it must not change

	// Guarded by the hub's lock.
	places []place[T]
	index  map[*group[T]]int // of places, if there are many; otherwise nil
}

// place is that a member is in a group.
type place[T any] struct {
	group *group[T]
	seat  int // the index in group.seats
}

// group is a group that has members.
type group[T any] struct {
	name  Group
	seats []seat[T]
}

// seat is that a group has a member.
type seat[T any] struct {
	member *Member[T]
	place  int // the index in member.places
}

const (
	usualPlaces = 3  // most members are in as many groups
	manyPlaces  = 16 // from so many groups on, a member has an index of them
	minSeats    = 64 // groups with room for fewer members are not made smaller
)

// Join adds m to g, if it is not a member already.
func (h *Hub[T]) Join(m *Member[T], g Group) {
	if h.join(m, g) && h.First != nil {
		h.First(g)
	}
}

// join adds m to the group of that name, and reports whether it had no member before.
func (h *Hub[T]) join(m *Member[T], name Group) (first bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	g := h.groups[name]
	if g == nil {
		if h.groups == nil {
			h.groups = make(map[Group]*group[T])
		}
		g, first = &group[T]{name: name}, true
		h.groups[name] = g
	} else if m.find(g) >= 0 {
		return false
	}
	if m.places == nil {
		m.places = make([]place[T], 0, usualPlaces)
	}
	g.seats = append(g.seats, seat[T]{m, len(m.places)})
	m.places = append(m.places, place[T]{g, len(g.seats) - 1})
	switch {
	case m.index != nil:
		m.index[g] = len(m.places) - 1
	case len(m.places) >= manyPlaces:
		m.index = make(map[*group[T]]int)
		for n, p := range m.places {
			m.index[p.group] = n
		}
	}
	return first
}

// find returns the index of the place that m has in g, or -1.
func (m *Member[T]) find(g *group[T]) int {
	if m.index != nil {
		if n, is := m.index[g]; is {
			return n
		}
		return -1
	}
	for n, p := range m.places {
		if p.group == g {
			return n
		}
	}
	return -1
}

// In reports whether m is a member of any of the groups.
func (h *Hub[T]) In(m *Member[T], groups ...Group) bool {
	h.mu.RLock()
	defer h.mu.RUnlock()
	for _, name := range groups {
		if g := h.groups[name]; g != nil && m.find(g) >= 0 {
			return true
		}
	}
	return false
}

// Leave removes m from g, if it is a member.
func (h *Hub[T]) Leave(m *Member[T], g Group) {
	if h.leave(m, g) && h.Last != nil {
		h.Last(g)
	}
}

// leave removes m from the group of that name, and reports whether it was the last member.
func (h *Hub[T]) leave(m *Member[T], name Group) (last bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	g := h.groups[name]
	if g == nil {
		return false
	}
	n := m.find(g)
	if n < 0 {
		return false
	}
	last = h.unseat(m.places[n])
	end := len(m.places) - 1
	if moved := m.places[end]; n != end {
		m.places[n] = moved
		moved.group.seats[moved.seat].place = n
		if m.index != nil {
			m.index[moved.group] = n
		}
	}
	m.places[end] = place[T]{}
	m.places = m.places[:end]
	delete(m.index, g)
	if end == 0 {
		m.places, m.index = nil, nil
	}
	return last
}

// unseat removes a member from the seats of its group, and reports whether it was the last one.
func (h *Hub[T]) unseat(p place[T]) (last bool) {
	g := p.group
	end := len(g.seats) - 1
	if moved := g.seats[end]; p.seat != end {
		g.seats[p.seat] = moved
		moved.member.places[moved.place].seat = p.seat
	}
	g.seats[end] = seat[T]{}
	g.seats = g.seats[:end]
	switch {
	case end == 0:
		delete(h.groups, g.name)
		return true
	case cap(g.seats) > minSeats && end <= cap(g.seats)/4:
		g.seats = append(make([]seat[T], 0, cap(g.seats)/2), g.seats...)
	}
	return false
}

// Drop removes m from every group.
func (h *Hub[T]) Drop(m *Member[T]) {
	var left []Group
	h.mu.Lock()
	for _, p := range m.places {
		if h.unseat(p) && h.Last != nil {
			left = append(left, p.group.name)
		}
	}
	m.places, m.index = nil, nil
	h.mu.Unlock()
	for _, g := range left {
		h.Last(g)
	}
}

// Members returns the current members of g, in no order.
func (h *Hub[T]) Members(g Group) []T {
	h.mu.RLock()
	defer h.mu.RUnlock()
	return h.groups[g].values()
}

// values returns the members of g, which is nil if it has none.
func (g *group[T]) values() []T {
	if g == nil {
		return nil
	}
	values := make([]T, len(g.seats))
	for n, s := range g.seats {
		values[n] = s.member.Value
	}
	return values
}

// MembersOfAny returns the current members of any of the groups, each once, in no order.
func (h *Hub[T]) MembersOfAny(groups []Group) []T {
	h.mu.RLock()
	defer h.mu.RUnlock()
	if len(groups) == 1 {
		return h.groups[groups[0]].values()
	}
	var values []T
	seen := make(map[*Member[T]]struct{})
	for _, name := range groups {
		g := h.groups[name]
		if g == nil {
			continue
		}
		for _, s := range g.seats {
			if _, is := seen[s.member]; !is {
				seen[s.member] = struct{}{}
				values = append(values, s.member.Value)
			}
		}
	}
	return values
}

// All returns the current members of all groups, each once, in no order.
func (h *Hub[T]) All() []T {
	h.mu.RLock()
	defer h.mu.RUnlock()
	var values []T
	for _, g := range h.groups {
		for _, s := range g.seats {
			if s.place == 0 { // the first of the places of a member
				values = append(values, s.member.Value)
			}
		}
	}
	return values
}

// Groups returns the names of the groups of that kind that m is in, in no order.
func (h *Hub[T]) Groups(m *Member[T], kind byte) []string {
	h.mu.RLock()
	defer h.mu.RUnlock()
	var names []string
	for _, p := range m.places {
		if p.group.name.Kind == kind {
			names = append(names, p.group.name.Name)
		}
	}
	return names
}

// Empty reports whether no group has a member.
func (h *Hub[T]) Empty() bool {
	h.mu.RLock()
	defer h.mu.RUnlock()
	return len(h.groups) == 0
}
