package blacklist

import "github.com/z-open/socketauth/internal/id"

// newID returns a random id as text.
func newID() string { return id.New().String() }

// size returns how many sessions the store remembers, without removing any.
func (m *memory) size() (n int) {
	for i := range m.shards {
		n += len(m.shards[i].sessions)
	}
	return n
}
