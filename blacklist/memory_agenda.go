package blacklist

import "time"

// agenda holds the keys that have to be looked at, by the minute in which to do so.
type agenda[K any] struct {
	due  map[int64][]K
	done int64 // nothing is left in the minutes before this one
}

func newAgenda[K any](now time.Time) agenda[K] {
	return agenda[K]{due: make(map[int64][]K), done: now.Unix() / 60}
}

// rewind makes sure that keys added after the clock was set back are not looked at late.
func (a *agenda[K]) rewind(now time.Time) { a.done = min(a.done, now.Unix()/60+1) }

// add has key looked at once the minute of at is over.
func (a *agenda[K]) add(key K, at, now time.Time) {
	a.rewind(now)
	minute := max(at.Unix()/60+1, a.done)
	a.due[minute] = append(a.due[minute], key)
}

// next takes out a key whose minute has come, and reports whether there is one.
func (a *agenda[K]) next(now time.Time) (key K, ok bool) {
	a.rewind(now)
	current := now.Unix() / 60
	for a.done <= current {
		if list := a.due[a.done]; len(list) > 0 {
			last := len(list) - 1
			a.due[a.done] = list[:last]
			return list[last], true
		}
		delete(a.due, a.done)
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
