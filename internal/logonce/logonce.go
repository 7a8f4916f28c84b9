// Package logonce keeps what happens often from being said each time.
package logonce

import (
	"sync"
	"time"
)

// Minute lets something be said once a minute. The zero value is ready. It is safe for concurrent use.
type Minute struct {
	mu     sync.Mutex
	last   time.Time
	unsaid int
}

// Say tells whether it is time, and if so how often it was not since the last time.
func (m *Minute) Say() (unsaid int, now bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	t := time.Now()
	if !m.last.IsZero() && t.Sub(m.last) < time.Minute {
		m.unsaid++
		return 0, false
	}
	unsaid = m.unsaid
	m.last, m.unsaid = t, 0
	return unsaid, true
}
