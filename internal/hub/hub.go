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
	mu     sync.RWMutex
	groups map[Group]map[M]struct{}
	member map[M]map[Group]struct{}
}

// Join adds m to g, if it is not a member already.
func (h *Hub[M]) Join(m M, g Group) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.groups == nil {
		h.groups = make(map[Group]map[M]struct{})
		h.member = make(map[M]map[Group]struct{})
	}
	if h.groups[g] == nil {
		h.groups[g] = make(map[M]struct{}, 1)
	}
	h.groups[g][m] = struct{}{}
	if h.member[m] == nil {
		h.member[m] = make(map[Group]struct{}, 4)
	}
	h.member[m][g] = struct{}{}
}

// Leave removes m from g, if it is a member.
func (h *Hub[M]) Leave(m M, g Group) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.leave(m, g)
	if delete(h.member[m], g); len(h.member[m]) == 0 {
		delete(h.member, m)
	}
}

// Drop removes m from every group.
func (h *Hub[M]) Drop(m M) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for g := range h.member[m] {
		h.leave(m, g)
	}
	delete(h.member, m)
}

func (h *Hub[M]) leave(m M, g Group) {
	if delete(h.groups[g], m); len(h.groups[g]) == 0 {
		delete(h.groups, g)
	}
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
