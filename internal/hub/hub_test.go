package hub

import (
	"slices"
	"sync"
	"testing"
)

func TestMembers(t *testing.T) {
	// Guards who is a member after Join, Leave and Drop.
	var h Hub[int]
	red, blue := Group{'r', "red"}, Group{'r', "blue"}
	h.Join(1, red)
	h.Join(1, red)
	h.Join(2, red)
	h.Join(1, blue)
	h.Join(1, Group{'u', "red"})

	if got := h.Members(red); !same(got, 1, 2) {
		t.Errorf("red has %v", got)
	}
	if got := h.Groups(1, 'r'); len(got) != 2 || !slices.Contains(got, "red") || !slices.Contains(got, "blue") {
		t.Errorf("1 is in %v", got)
	}
	h.Leave(2, red)
	h.Leave(2, blue) // not a member
	if got := h.Members(red); !same(got, 1) {
		t.Errorf("red has %v after 2 left", got)
	}
	h.Drop(1)
	h.Drop(3) // not a member
	if !h.Empty() {
		t.Error("something is left after all have left")
	}
}

func TestConcurrentUse(t *testing.T) {
	// Guards against data races, and that nothing is left behind.
	var h Hub[int]
	var wg sync.WaitGroup
	for m := range 50 {
		wg.Go(func() {
			for range 100 {
				h.Join(m, Group{'r', "room"})
				h.Members(Group{'r', "room"})
				h.Drop(m)
			}
		})
	}
	wg.Wait()
	if !h.Empty() {
		t.Error("something is left after all have left")
	}
}

func same(got []int, want ...int) bool {
	slices.Sort(got)
	return slices.Equal(got, want)
}
