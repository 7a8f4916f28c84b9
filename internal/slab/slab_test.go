package slab

import (
	"math/rand/v2"
	"testing"
)

type pair struct{ next, value uint32 }

func (p *pair) Link() *uint32 { return &p.next }

// TestSlab checks that records in use keep what they have, that a number is not given out twice,
// that a record taken is zero, and that what was freed is used again.
func TestSlab(t *testing.T) {
	var s Slab[pair, *pair]
	random := rand.New(rand.NewPCG(1, 2))
	inUse := make(map[uint32]uint32)
	var most int
	for step := range uint32(20_000) {
		if random.IntN(5) < 3 {
			n := s.Take()
			if _, twice := inUse[n]; n == 0 || twice || *s.At(n) != (pair{}) {
				t.Fatalf("record %d of %d: %+v", n, s.Len(), *s.At(n))
			}
			inUse[n], *s.At(n) = step, pair{step, step}
		} else {
			for n := range inUse {
				s.Free(n)
				delete(inUse, n)
				break
			}
		}
		if most = max(most, len(inUse)); s.Len() != len(inUse) {
			t.Fatalf("%d in use, want %d", s.Len(), len(inUse))
		}
	}
	for n, want := range inUse {
		if *s.At(n) != (pair{want, want}) {
			t.Errorf("record %d: %+v, want %d", n, *s.At(n), want)
		}
	}
	if len(s.pages) != (most+pageSize-1)/pageSize {
		t.Errorf("%d pages for at most %d records", len(s.pages), most)
	}
}
