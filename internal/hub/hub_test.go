package hub

import (
	"maps"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
)

// members returns n members, whose values are their indices.
func members(n int) []*Member[int] {
	m := make([]*Member[int], n)
	for value := range m {
		m[value] = &Member[int]{Value: value}
	}
	return m
}

func TestMembers(t *testing.T) {
	// Guards who is a member after Join, Leave and Drop.
	var h Hub[int]
	m := members(4)
	red, blue := Group{'r', "red"}, Group{'r', "blue"}
	h.Join(m[1], red)
	h.Join(m[1], red)
	h.Join(m[2], red)
	h.Join(m[1], blue)
	h.Join(m[1], Group{'u', "red"})

	if got := h.Members(red); !same(got, 1, 2) {
		t.Errorf("red has %v", got)
	}
	if got := h.Groups(m[1], 'r'); len(got) != 2 || !slices.Contains(got, "red") || !slices.Contains(got, "blue") {
		t.Errorf("1 is in %v", got)
	}
	h.Leave(m[2], red)
	h.Leave(m[2], blue) // not a member
	if got := h.Members(red); !same(got, 1) {
		t.Errorf("red has %v after 2 left", got)
	}
	h.Drop(m[1])
	h.Drop(m[3]) // not a member
	if !h.Empty() {
		t.Error("something is left after all have left")
	}
}

func TestConcurrentUse(t *testing.T) {
	// Guards against data races, and that nothing is left behind.
	var h Hub[int]
	var wg sync.WaitGroup
	for _, m := range members(50) {
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
	m := members(4)
	red, blue := Group{'r', "red"}, Group{'r', "blue"}
	h.Join(m[1], red)
	h.Join(m[1], blue)
	h.Join(m[2], blue)
	h.Join(m[3], Group{'r', "green"})
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
	m := members(10)
	var calls []string
	h.First = func(g Group) { calls = append(calls, "first "+g.Name); h.Members(g) }
	h.Last = func(g Group) { calls = append(calls, "last "+g.Name); h.Join(m[9], Group{'x', ""}); h.Members(g) }
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
	h.Join(m[1], red)
	h.Join(m[1], red)
	h.Join(m[2], red)
	expect("first red")
	h.Leave(m[3], red)
	h.Leave(m[1], blue)
	h.Leave(m[1], red)
	expect()
	h.Leave(m[2], red)
	h.Leave(m[2], red)
	expect("last red")
	h.Join(m[1], red)
	h.Join(m[1], blue)
	h.Join(m[2], blue)
	expect("first blue", "first red")
	h.Drop(m[1])
	h.Drop(m[1])
	expect("last red")
	h.Drop(m[2])
	expect("last blue")
}

func TestFirstAndLastBalance(t *testing.T) {
	// Guards that each First has its Last, whatever happens at the same time.
	var h Hub[int]
	var balance, calls atomic.Int64
	h.First = func(Group) { balance.Add(1); calls.Add(1) }
	h.Last = func(Group) { balance.Add(-1) }
	var wg sync.WaitGroup
	for _, m := range members(50) {
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

func TestRandomSteps(t *testing.T) {
	// Guards that members and groups of every size agree with each other after any steps, and that a
	// group which was large does not keep the memory of those that have left.
	for seed := range uint64(5) {
		r := rand.New(rand.NewPCG(seed, 0))
		var h Hub[int]
		all := members(120)
		names := make([]Group, 40)
		in := make(map[Group]map[int]bool)
		for n := range names {
			names[n] = Group{"ru"[n%2], string(rune('A' + n))}
			in[names[n]] = make(map[int]bool)
		}
		for step := range 9000 {
			m, g := all[r.IntN(len(all))], names[min(r.IntN(len(names)), r.IntN(len(names)))]
			switch kind := r.IntN(40); {
			case kind == 0 || step > 7000 && kind < 5:
				h.Drop(m)
				for _, g := range names {
					delete(in[g], m.Value)
				}
			case kind < 5:
				h.Leave(m, g)
				delete(in[g], m.Value)
			case step < 7000:
				h.Join(m, g)
				in[g][m.Value] = true
			}
			if want := slices.Sorted(maps.Keys(in[g])); !same(h.Members(g), want...) {
				t.Fatalf("seed %d, step %d: group %v has %v, want %v", seed, step, g, h.Members(g), want)
			}
			if step%500 == 0 {
				compare(t, &h, all, in)
			}
		}
		for _, g := range h.groups {
			if n := cap(g.seats); n > minSeats && len(g.seats) < n/8 {
				t.Errorf("seed %d: a group of %d members has room for %d", seed, len(g.seats), n)
			}
		}
		for _, m := range all {
			h.Drop(m)
		}
		if !h.Empty() {
			t.Fatalf("seed %d: something is left after all have left", seed)
		}
	}
}

// compare checks the hub's answers about all members and groups.
func compare(t *testing.T, h *Hub[int], all []*Member[int], in map[Group]map[int]bool) {
	t.Helper()
	anywhere := make(map[int]bool)
	for g := range in {
		maps.Copy(anywhere, in[g])
	}
	everybody := slices.Sorted(maps.Keys(anywhere))
	if got := h.All(); !same(got, everybody...) {
		t.Fatalf("all are %v, want %v", got, everybody)
	}
	if got := h.MembersOfAny(slices.Collect(maps.Keys(in))); !same(got, everybody...) {
		t.Fatalf("members of any are %v, want %v", got, everybody)
	}
	for _, m := range all {
		var want []string
		for g := range in {
			if g.Kind == 'r' && in[g][m.Value] {
				want = append(want, g.Name)
			}
		}
		got := h.Groups(m, 'r')
		slices.Sort(got)
		slices.Sort(want)
		if !slices.Equal(got, want) {
			t.Fatalf("%d is in %v, want %v", m.Value, got, want)
		}
	}
}
