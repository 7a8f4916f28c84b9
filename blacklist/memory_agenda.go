package blacklist

import "time"

// agenda holds the keys that have to be looked at, by the minute in which to do so.
type agenda[K any] struct {
	due  map[int64]*batch[K]
	done int64 // nothing is left in the minutes before this one
}

// batch is some of the keys of a minute. There are several, since a slice with all of them would be
// copied while it grows.
type batch[K any] struct {
	keys []K
	next *batch[K]
}

const batchSize = 64

func newAgenda[K any](now time.Time) agenda[K] {
	return agenda[K]{due: make(map[int64]*batch[K]), done: now.Unix() / 60}
}

// rewind makes sure that keys added after the clock was set back are not looked at late.
func (a *agenda[K]) rewind(now time.Time) { a.done = min(a.done, now.Unix()/60+1) }

// add has key looked at once the minute of at is over.
func (a *agenda[K]) add(key K, at, now time.Time) {
	a.rewind(now)
	minute := max(at.Unix()/60+1, a.done)
	b := a.due[minute]
	if b == nil || len(b.keys) == batchSize {
		b = &batch[K]{next: b}
		a.due[minute] = b
	}
	b.keys = append(b.keys, key)
}

// next takes out a key whose minute has come, and reports whether there is one.
func (a *agenda[K]) next(now time.Time) (key K, ok bool) {
	a.rewind(now)
	current := now.Unix() / 60
	for a.done <= current {
		if b := a.due[a.done]; b != nil {
			last := len(b.keys) - 1
			key, b.keys = b.keys[last], b.keys[:last]
			if last == 0 {
				a.remove(b)
			}
			return key, true
		}
		a.done++
		if current-a.done > int64(len(a.due)) { // more minutes than there are entries
			first := current + 1
			for minute := range a.due {
				first = min(first, minute)
			}
			a.done = first
		}
	}
	return key, false
}

// remove removes the batch that is the first of the minute a.done.
func (a *agenda[K]) remove(b *batch[K]) {
	if b.next == nil {
		delete(a.due, a.done)
	} else {
		a.due[a.done] = b.next
	}
}
