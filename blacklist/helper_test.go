package blacklist

import "github.com/z-open/socketauth/internal/id"

// newID returns a random id in text.
func newID() string { return id.New().String() }

// size returns how many sessions are remembered, and clears nothing away.
func (m *memory) size() (n int) {
	for i := range m.shards {
		n += len(m.shards[i].sessions)
	}
	return n
}
