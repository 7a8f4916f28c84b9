package backlog

import "testing"

// TestQueue guards the order, and that neither of the limits is exceeded except by a single item.
func TestQueue(t *testing.T) {
	var q Queue[int]
	if _, ok := q.Pop(); ok || q.Len() != 0 {
		t.Error("an empty queue has something")
	}
	few, cheap := Limits{Items: 3, Cost: 1000}, Limits{Items: 100, Cost: 10}
	if !q.Push(cheap, 50, 0) || q.Push(cheap, 0, 1) {
		t.Error("an empty queue does not take anything, or a queue over its limit takes more")
	}
	q.Pop()
	for n := range 5 {
		if q.Push(few, 1, n) != (n < 3) {
			t.Errorf("item %d", n)
		}
	}
	if v, ok := q.Pop(); v != 0 || !ok || !q.Push(few, 1, 9) || q.Push(few, 1, 10) {
		t.Error("the first one does not make room for one")
	}
	for _, want := range []int{1, 2, 9} {
		if v, ok := q.Pop(); v != want || !ok {
			t.Errorf("%d, %v, want %d", v, ok, want)
		}
	}
	for _, c := range []struct {
		cost int
		ok   bool
	}{{4, true}, {6, true}, {1, false}, {0, true}} {
		if q.Push(cheap, c.cost, 0) != c.ok {
			t.Errorf("cost %d", c.cost)
		}
	}
}

// TestNeverEmpty guards that a queue that is never empty takes the memory of what waits, not of all
// that ever waited.
func TestNeverEmpty(t *testing.T) {
	var q Queue[int]
	for n := range 10_000 {
		if !q.Push(Limits{Items: 3, Cost: 3}, 1, n) {
			t.Fatal("full")
		}
		if n < 2 {
			continue
		}
		if v, ok := q.Pop(); v != n-2 || !ok {
			t.Fatalf("%d, %v, want %d", v, ok, n-2)
		}
	}
	if q.Len() != 2 || cap(q.items) > 20 {
		t.Errorf("%d wait, with room for %d", q.Len(), cap(q.items))
	}
}

// TestMovesLittle guards that a long queue is not moved for each item that is added.
func TestMovesLittle(t *testing.T) {
	const waiting, added = 1 << 12, 1 << 12
	q := Queue[int]{items: make([]item[int], waiting)}
	moves := 0
	for n := range added {
		q.Pop()
		if q.Add(0, n); q.next == 0 {
			moves++
		}
	}
	if moves > 2 || q.Len() != waiting {
		t.Errorf("moved %d times for %d items; %d wait", moves, added, q.Len())
	}
}
