package socketauth

import (
	"maps"
	"sync/atomic"
)

// eventTable has what is registered for the names of events, of type H. It is read without a lock.
type eventTable[H any] struct {
	rows atomic.Pointer[map[string]eventRow[H]] // replaced by set, never changed; nil at first
}

type eventRow[H any] struct {
	name string
	h    H
}

// set registers h. No other call of set may run at the same time.
func (t *eventTable[H]) set(name string, h H) {
	rows := make(map[string]eventRow[H])
	if old := t.rows.Load(); old != nil {
		maps.Copy(rows, *old)
	}
	rows[name] = eventRow[H]{name, h}
	t.rows.Store(&rows)
}

// empty reports whether nothing is registered.
func (t *eventTable[H]) empty() bool { return t.rows.Load() == nil }

// get returns what is registered for a name, or the zero value.
func (t *eventTable[H]) get(name string) (h H) {
	if rows := t.rows.Load(); rows != nil {
		h = (*rows)[name].h
	}
	return h
}

// name returns the text of a name, without a copy if something is registered for it.
func (t *eventTable[H]) name(text []byte) string {
	if rows := t.rows.Load(); rows != nil {
		if row, ok := (*rows)[string(text)]; ok {
			return row.name
		}
	}
	return string(text)
}
