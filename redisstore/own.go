package redisstore

import (
	"strings"
	"sync"
	"time"
)

// own are the changes that this process is about to make, or has just made, as they are published.
// What is heard of them is no hint: it was decided here. It is safe for concurrent use.
type own struct {
	mu       sync.Mutex
	watched  bool
	current  map[string]struct{}
	previous map[string]struct{}
	aged     time.Time
}

// watch switches the noting of changes on or off, and forgets those noted.
func (o *own) watch(watched bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.watched, o.current, o.previous = watched, nil, nil
}

// note notes a change before it is made.
func (o *own) note(change string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if !o.watched || change == "" {
		return
	}
	if o.current == nil {
		o.current = make(map[string]struct{})
	}
	o.current[change] = struct{}{}
}

// forget is called if it was not made.
func (o *own) forget(change string) { o.take(change) }

// take reports whether a change is this process's own, and forgets it.
func (o *own) take(change string) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, changes := range [...]map[string]struct{}{o.current, o.previous} {
		if _, is := changes[change]; is {
			delete(changes, change)
			return true
		}
	}
	return false
}

// age forgets what was noted more than some seconds ago: what is published is heard sooner, or
// never.
func (o *own) age() {
	o.mu.Lock()
	defer o.mu.Unlock()
	if now := time.Now(); now.Sub(o.aged) > 2*time.Second {
		o.current, o.previous, o.aged = nil, o.current, now
	}
}

// said returns what a process says of a change in a message: what follows its first line.
func said(payload string) string {
	_, change, _ := strings.Cut(payload, "\n")
	return change
}
