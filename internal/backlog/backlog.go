// Package backlog has a queue of what waits, with limits.
package backlog

// Limits bound what waits. An empty queue takes anything.
type Limits struct {
	Items int
	Cost  int
}

// Queue is what waits, in order. The zero value is empty. It is not safe for concurrent use.
type Queue[T any] struct {
	items []item[T] // those before next have left
	next  int
	cost  int
}

type item[T any] struct {
	value T
	cost  int
}

// Len returns how many wait.
func (q *Queue[T]) Len() int { return len(q.items) - q.next }

// Push adds v as the last one. It reports whether there was room.
func (q *Queue[T]) Push(l Limits, cost int, v T) bool {
	if q.Len() > 0 && (q.Len() >= l.Items || q.cost+cost > l.Cost) {
		return false
	}
	q.Add(cost, v)
	return true
}

// Add adds v as the last one, regardless of limits.
func (q *Queue[T]) Add(cost int, v T) {
	// Use the space of those that have left, if it is worth moving the others.
	if len(q.items) == cap(q.items) && q.next > len(q.items)/2 {
		n := copy(q.items, q.items[q.next:])
		clear(q.items[n:])
		q.items, q.next = q.items[:n], 0
	}
	q.items = append(q.items, item[T]{v, cost})
	q.cost += cost
}

// Cap returns for how many there is room without an allocation.
func (q *Queue[T]) Cap() int { return cap(q.items) }

// Pop removes and returns the first one. It returns false if there is none.
func (q *Queue[T]) Pop() (v T, ok bool) {
	if q.Len() == 0 {
		return v, false
	}
	first := q.items[q.next]
	q.items[q.next] = item[T]{}
	q.cost -= first.cost
	if q.next++; q.next == len(q.items) {
		q.items, q.next = q.items[:0], 0
	}
	return first.value, true
}
