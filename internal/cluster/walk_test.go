package cluster

import "testing"

// walk lets a world run at random, and returns what is wrong with it.
func walk(t *testing.T, seed uint64, h harm) (deliveries, gaps int) {
	w := newWorld(seed, 3, h)
	for range 3000 {
		if w.act(); w.fault != "" {
			t.Fatalf("seed %d: %s", seed, w.fault)
		}
	}
	w.settle()
	if w.fault != "" {
		t.Fatalf("seed %d: %s", seed, w.fault)
	}
	for _, s := range w.sent {
		for n := range s.owed {
			missed := n.gaps[control] >= s.step
			for _, topic := range s.topics {
				missed = missed || n.gaps[topic] >= s.step
			}
			if !missed {
				t.Fatalf("seed %d: %s has not heard message %d of %s on %v, sent at step %d, and does not know it", seed, n.id.name, s.id, s.from.id.name, s.topics, s.step)
			}
		}
	}
	for _, n := range w.nodes {
		deliveries += len(n.got)
		gaps += n.gapCount
		others := 0
		for _, m := range n.members.list() {
			if m.phase == living {
				others++
				if other := w.find(m.id); !other.running {
					t.Fatalf("seed %d: %s takes %s, which has ended, for living", seed, n.id.name, m.name)
				}
			}
		}
		if others != len(w.nodes)-1 {
			t.Fatalf("seed %d: %s knows %d living nodes", seed, n.id.name, others)
		}
	}
	return deliveries, gaps
}

// TestWalk guards what is delivered by nodes whose network loses, doubles and refuses messages, on
// which somebody repeats recorded ones, and which start and stop: each at most once, in order, to
// nobody who started later; and whoever misses one hears that there is a gap.
func TestWalk(t *testing.T) {
	deliveries, gaps := 0, 0
	seeds := uint64(150)
	if raceEnabled {
		seeds = 15
	}
	for seed := range seeds {
		d, g := walk(t, seed, harm{lose: 20, double: 20, replay: 1, refuse: 30, restart: 60})
		deliveries, gaps = deliveries+d, gaps+g
	}
	for seed := range seeds / 3 {
		walk(t, seed, harm{lose: 100, replay: 1, restart: 300, pause: 40})
	}
	t.Logf("%d deliveries, %d gaps", deliveries, gaps)
	if deliveries < 100*int(seeds) || gaps < 10*int(seeds) {
		t.Error("too few to mean anything")
	}
}

// TestWalkWithoutHarm guards that no gap is reported where nothing is lost, whatever the order
// between topics and whoever repeats messages, and that nothing is lost then.
func TestWalkWithoutHarm(t *testing.T) {
	seeds := uint64(200)
	if raceEnabled {
		seeds = 20
	}
	for seed := range seeds {
		if _, gaps := walk(t, seed, harm{replay: 1}); gaps > 0 {
			t.Fatalf("seed %d: %d gaps", seed, gaps)
		}
	}
}
