// Package logonce limits how often a message is logged.
package logonce

import (
	"sync"
	"time"
)

// Minute limits one message to once a minute. The zero value is ready to use. It is safe for
// concurrent use.
type Minute struct {
	mu         sync.Mutex
	last       time.Time
	suppressed int
}

// Allow reports whether the message may be logged now and, if so, how often it was suppressed since
// the last time.
func (m *Minute) Allow() (suppressed int, now bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	t := time.Now()
	if !m.last.IsZero() && t.Sub(m.last) < time.Minute {
		m.suppressed++
		return 0, false
	}
	suppressed = m.suppressed
	m.last, m.suppressed = t, 0
	return suppressed, true
}

// Force records that the message is logged now, whatever was logged before, and returns how often it
// was suppressed since the last time.
func (m *Minute) Force() (suppressed int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	suppressed = m.suppressed
	m.last, m.suppressed = time.Now(), 0
	return suppressed
}
