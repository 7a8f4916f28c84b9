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

// Force records that the message is logged now, whatever was logged before, and returns how often
// it was suppressed since the last time.
func (m *Minute) Force() (suppressed int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	suppressed = m.suppressed
	m.last, m.suppressed = time.Now(), 0
	return suppressed
}

// maxNames is how many names an Each tells apart in each minute.
const maxNames = 1024

// Each limits messages about several names to once a minute for each. Names beyond the first 1,024
// of a minute are limited together. The zero value is ready to use. It is safe for concurrent use.
type Each struct {
	mu             sync.Mutex
	since          time.Time // when recent was begun
	recent, before map[string]*Minute
	others         Minute
}

// Allow is Minute.Allow for messages about one name.
func (e *Each) Allow(name string) (suppressed int, now bool) { return e.minute(name).Allow() }

func (e *Each) minute(name string) *Minute {
	e.mu.Lock()
	defer e.mu.Unlock()
	if t := time.Now(); e.recent == nil || t.Sub(e.since) >= time.Minute {
		// What was allowed a minute before the last one need not be remembered.
		e.since, e.before, e.recent = t, e.recent, make(map[string]*Minute)
	}
	m := e.recent[name]
	switch {
	case m != nil:
		return m
	case len(e.recent) >= maxNames:
		return &e.others
	}
	if m = e.before[name]; m == nil {
		m = new(Minute)
	}
	e.recent[name] = m
	return m
}
