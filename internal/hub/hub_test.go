package hub

import (
	"slices"
	"sync"
	"sync/atomic"
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

func TestMembersOfAny(t *testing.T) {
	// Guards that a member of several groups is returned once.
	var h Hub[int]
	red, blue := Group{'r', "red"}, Group{'r', "blue"}
	h.Join(1, red)
	h.Join(1, blue)
	h.Join(2, blue)
	h.Join(3, Group{'r', "green"})
	for _, c := range []struct {
		groups []Group
		want   []int
	}{{nil, nil}, {[]Group{red}, []int{1}}, {[]Group{red, blue, red, {'r', "none"}}, []int{1, 2}}} {
		if got := h.MembersOfAny(c.groups); !same(got, c.want...) {
			t.Errorf("%v: %v", c.groups, got)
		}
	}
}

func TestFirstAndLast(t *testing.T) {
	// Guards that First and Last are called once for each group that begins or ends to have
	// members, while the hub can be used.
	var h Hub[int]
	var calls []string
	h.First = func(g Group) { calls = append(calls, "first "+g.Name); h.Members(g) }
	h.Last = func(g Group) { calls = append(calls, "last "+g.Name); h.Join(9, Group{'x', ""}); h.Members(g) }
	expect := func(want ...string) {
		t.Helper()
		slices.Sort(calls)
		calls = slices.DeleteFunc(calls, func(s string) bool { return s == "first " })
		if !slices.Equal(calls, want) {
			t.Errorf("calls %q, want %q", calls, want)
		}
		calls = nil
	}
	red, blue := Group{'r', "red"}, Group{'r', "blue"}
	h.Join(1, red)
	h.Join(1, red)
	h.Join(2, red)
	expect("first red")
	h.Leave(3, red)
	h.Leave(1, blue)
	h.Leave(1, red)
	expect()
	h.Leave(2, red)
	h.Leave(2, red)
	expect("last red")
	h.Join(1, red)
	h.Join(1, blue)
	h.Join(2, blue)
	expect("first blue", "first red")
	h.Drop(1)
	h.Drop(1)
	expect("last red")
	h.Drop(2)
	expect("last blue")
}

func TestFirstAndLastBalance(t *testing.T) {
	// Guards that each First has its Last, whatever happens at the same time.
	var h Hub[int]
	var balance, calls atomic.Int64
	h.First = func(Group) { balance.Add(1); calls.Add(1) }
	h.Last = func(Group) { balance.Add(-1) }
	var wg sync.WaitGroup
	for m := range 50 {
		wg.Go(func() {
			for range 100 {
				h.Join(m, Group{'r', "room"})
				h.Join(m, Group{'r', "other"})
				h.Leave(m, Group{'r', "other"})
				h.Drop(m)
			}
		})
	}
	wg.Wait()
	if balance.Load() != 0 || calls.Load() == 0 {
		t.Errorf("a balance of %d after %d calls", balance.Load(), calls.Load())
	}
}
