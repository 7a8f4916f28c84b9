package admission

import (
	"math/rand/v2"
	"slices"
	"testing"
)

var unlimited = Limits{NoLimit, NoLimit, NoLimit}

func member(network, wide string) *Member {
	return &Member{Engine: "4", Network: network, Wide: wide}
}

// TestOldestMakesRoom guards that a newcomer past a limit is admitted and the oldest of those that
// the limit is for is evicted, in each kind of queue.
func TestOldestMakesRoom(t *testing.T) {
	l := unlimited
	l.UnauthenticatedPerNetwork = 2
	var p Pool
	here := make(map[string][]*Member)
	for _, step := range []struct{ network, evicted string }{
		{"a", ""}, {"a", ""}, {"a", "a"}, {"a", "a"}, {"b", ""}, {"b", ""}, {"", ""}, {"", ""}, {"", ""}, {"b", "b"},
	} {
		m := member(step.network, step.network)
		admitted, reached, oldest := p.Admit(m, l)
		if !admitted || (reached == UnauthenticatedPerNetwork) != (step.evicted != "") || (oldest != nil) != (step.evicted != "") {
			t.Fatalf("%+v: %v, limit %d, %v", step, admitted, reached, oldest)
		}
		if oldest != nil {
			if oldest != here[step.evicted][0] {
				t.Errorf("%+v: not the oldest was evicted", step)
			}
			here[step.evicted] = here[step.evicted][1:]
			p.Leave(oldest)
		}
		here[step.network] = append(here[step.network], m)
	}
}

// TestWideNetwork guards that an attacker with a whole IPv6 /48 has a bounded number of slots.
func TestWideNetwork(t *testing.T) {
	l := unlimited
	l.UnauthenticatedPerNetwork = 2
	var p Pool
	var all []*Member
	evicted := 0
	for n := range 100 {
		m := member(string(rune('a'+n)), "wide")
		_, _, oldest := p.Admit(m, l)
		if oldest != nil {
			if oldest != all[evicted] {
				t.Error("not the oldest was evicted")
			}
			evicted++
			p.Leave(oldest)
		}
		all = append(all, m)
	}
	if evicted != 100-2*Wide {
		t.Errorf("%d of 100 were evicted", evicted)
	}
}

// TestPromotedAsItEnds guards that a connection that ends while it is authenticated is not counted
// for ever.
func TestPromotedAsItEnds(t *testing.T) {
	var p Pool
	m := member("a", "")
	p.Admit(m, unlimited)
	p.Leave(m)
	p.Promote(m)
	if n := p.Counts()["4"]; n != (Count{}) || !p.Empty() || p.Proven(m) {
		t.Errorf("%+v, empty %v", n, p.Empty())
	}
}

// TestAgainstModel guards counts, limits and order in any order of calls, against lists that are
// searched each time.
func TestAgainstModel(t *testing.T) {
	for seed := range uint64(200) {
		r := rand.New(rand.NewPCG(seed, 1))
		l := Limits{Total: 8, Unauthenticated: 5, UnauthenticatedPerNetwork: 2}
		if seed%3 == 0 {
			l.Unauthenticated = NoLimit
		}
		if seed%5 == 0 {
			l.UnauthenticatedPerNetwork = NoLimit
		}
		var p Pool
		var here, waiting []*Member // all, and the unauthenticated that were not evicted, the oldest first
		in := make(map[*Member]bool)
		// next returns whom the model evicts for m.
		next := func(m *Member) *Member {
			for _, kind := range []string{m.Network, ""} {
				limit := l.UnauthenticatedPerNetwork
				if kind == "" {
					limit = l.Unauthenticated
				}
				var same []*Member
				for _, w := range waiting {
					if kind == "" || w.Network == kind {
						same = append(same, w)
					}
				}
				if limit != NoLimit && len(same)+1 > limit {
					return same[0]
				}
			}
			return nil
		}
		drop := func(s []*Member, m *Member) []*Member {
			return slices.DeleteFunc(s, func(o *Member) bool { return o == m })
		}
		enqueued := func(m *Member, oldest *Member) {
			want := next(m)
			if oldest != want {
				t.Fatalf("seed %d: %p was evicted, want %p", seed, oldest, want)
			}
			waiting = append(drop(waiting, want), m)
		}
		for range 100 {
			m := member([]string{"a", "b", ""}[r.IntN(3)], "")
			if len(here) > 0 && r.IntN(3) > 0 {
				m = here[r.IntN(len(here))]
			}
			switch known := slices.Contains(here, m); {
			case !known:
				admitted, reached, oldest := p.Admit(m, l)
				if admitted != (len(here) < l.Total) || !admitted && reached != Total {
					t.Fatalf("seed %d: admitted %v with %d here", seed, admitted, len(here))
				}
				if admitted {
					enqueued(m, oldest)
					here = append(here, m)
				}
			case r.IntN(2) == 0:
				p.Leave(m)
				here, waiting = drop(here, m), drop(waiting, m)
				delete(in, m)
			case in[m]:
				_, oldest := p.Demote(m, l)
				enqueued(m, oldest)
				delete(in, m)
			default:
				p.Promote(m)
				waiting = drop(waiting, m)
				in[m] = true
				if !p.Proven(m) {
					t.Fatalf("seed %d: not proven", seed)
				}
			}
			want := Count{Unauthenticated: len(here) - len(in), Authenticated: len(in)}
			if got := p.Counts()["4"]; got != want || p.Empty() != (len(here) == 0) {
				t.Fatalf("seed %d: %+v, want %+v, empty %v", seed, got, want, p.Empty())
			}
		}
	}
}

// TestDemoteOnlyAuthenticated guards that a connection does not take a second slot.
func TestDemoteOnlyAuthenticated(t *testing.T) {
	var p Pool
	waiting, gone := member("", ""), member("", "")
	p.Admit(waiting, unlimited)
	p.Admit(gone, unlimited)
	p.Promote(gone)
	p.Leave(gone)
	for _, m := range []*Member{waiting, gone} {
		if reached, oldest := p.Demote(m, Limits{1, 1, 1}); reached != None || oldest != nil {
			t.Errorf("limit %d, %v", reached, oldest)
		}
	}
	if n := p.Counts()["4"]; n != (Count{Unauthenticated: 1}) {
		t.Errorf("%+v", n)
	}
	if p.Leave(waiting); !p.Empty() {
		t.Error("a slot is left")
	}
}
