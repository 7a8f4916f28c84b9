// Package hub keeps the members of groups.
package hub

import (
	"maps"
	"slices"
	"sync"
)

// Group names a group. Groups of different kinds, such as a room and a user, may have the same
// name.
type Group struct {
	Kind byte
	Name string
}

// Hub holds groups of members. The zero value is empty and ready. It is safe for concurrent use.
type Hub[M comparable] struct {
	// First is called with each group that gets its first member, and Last with each that loses its
	// last one; either may be nil. They are set before the hub is used. The hub's lock is not held
	// while they run, so that of a group that changes at the same time in two goroutines, First and
	// Last may be called in either order; each First has its Last.
	First, Last func(Group)

	mu     sync.RWMutex
	groups map[Group]map[M]struct{}
	member map[M]map[Group]struct{}
}

// Join adds m to g, if it is not a member already.
func (h *Hub[M]) Join(m M, g Group) {
	if h.join(m, g) && h.First != nil {
		h.First(g)
	}
}

// join adds m to g, and reports whether g had no member before.
func (h *Hub[M]) join(m M, g Group) (first bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.groups == nil {
		h.groups = make(map[Group]map[M]struct{})
		h.member = make(map[M]map[Group]struct{})
	}
	if h.groups[g] == nil {
		h.groups[g] = make(map[M]struct{}, 1)
		first = true
	}
	h.groups[g][m] = struct{}{}
	if h.member[m] == nil {
		h.member[m] = make(map[Group]struct{}, 4)
	}
	h.member[m][g] = struct{}{}
	return first
}

// Leave removes m from g, if it is a member.
func (h *Hub[M]) Leave(m M, g Group) {
	h.mu.Lock()
	last := h.leave(m, g)
	if delete(h.member[m], g); len(h.member[m]) == 0 {
		delete(h.member, m)
	}
	h.mu.Unlock()
	if last && h.Last != nil {
		h.Last(g)
	}
}

// Drop removes m from every group.
func (h *Hub[M]) Drop(m M) {
	var left []Group
	h.mu.Lock()
	for g := range h.member[m] {
		if h.leave(m, g) && h.Last != nil {
			left = append(left, g)
		}
	}
	delete(h.member, m)
	h.mu.Unlock()
	for _, g := range left {
		h.Last(g)
	}
}

// leave removes m from g, and reports whether it was the last member.
func (h *Hub[M]) leave(m M, g Group) (last bool) {
	members := h.groups[g]
	if _, is := members[m]; !is {
		return false
	}
	if delete(members, m); len(members) == 0 {
		delete(h.groups, g)
		return true
	}
	return false
}

// Members returns the current members of g, in no order.
func (h *Hub[M]) Members(g Group) []M {
	h.mu.RLock()
	defer h.mu.RUnlock()
	members := make([]M, 0, len(h.groups[g]))
	for m := range h.groups[g] {
		members = append(members, m)
	}
	return members
}

// MembersOfAny returns the current members of any of the groups, each once, in no order.
func (h *Hub[M]) MembersOfAny(groups []Group) []M {
	h.mu.RLock()
	defer h.mu.RUnlock()
	members := make(map[M]struct{})
	for _, g := range groups {
		maps.Copy(members, h.groups[g])
	}
	return slices.Collect(maps.Keys(members))
}

// All returns the current members of all groups, each once, in no order.
func (h *Hub[M]) All() []M {
	h.mu.RLock()
	defer h.mu.RUnlock()
	return slices.Collect(maps.Keys(h.member))
}

// Groups returns the names of the groups of that kind that m is in, in no order.
func (h *Hub[M]) Groups(m M, kind byte) []string {
	h.mu.RLock()
	defer h.mu.RUnlock()
	var names []string
	for g := range h.member[m] {
		if g.Kind == kind {
			names = append(names, g.Name)
		}
	}
	return names
}

// Empty reports whether no group has a member.
func (h *Hub[M]) Empty() bool {
	h.mu.RLock()
	defer h.mu.RUnlock()
	return len(h.groups) == 0 && len(h.member) == 0
}
