package intern

import (
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
)

// TestTable checks that equal texts have one number, different ones do not, and that a text is
// forgotten with the last that has it.
func TestTable(t *testing.T) {
	var table Table
	var done sync.WaitGroup
	for seed := range uint64(4) {
		done.Go(func() {
			random := rand.New(rand.NewPCG(seed, 2))
			held := make([]uint32, 100)
			texts := make([]string, len(held))
			for range 20_000 {
				n := random.IntN(len(held))
				texts[n] = fmt.Sprint("agent ", random.IntN(50))
				if random.IntN(5) == 0 {
					texts[n] = ""
				}
				held[n] = table.Replace(held[n], texts[n])
			}
			for n := range held {
				if got := table.Text(held[n]); got != texts[n] {
					t.Errorf("%q became %q", texts[n], got)
				}
				for other := range held {
					if (held[n] == held[other]) != (texts[n] == texts[other]) {
						t.Errorf("%q is %d and %q is %d", texts[n], held[n], texts[other], held[other])
					}
				}
			}
			if n := table.Len(); n > 50 {
				t.Errorf("%d texts", n)
			}
			for _, n := range held {
				table.Release(n)
			}
		})
	}
	done.Wait()
	if n := table.Len(); n != 0 {
		t.Errorf("%d texts are left", n)
	}
	for i := range table.stripes {
		if n := table.stripes[i].entries.Take(); n > 51 {
			t.Errorf("room for %d texts, of which there were at most 50", n-1)
		}
	}
}

// TestTableGrowsInPlace checks that a text that is added copies none of those that are there: as
// many as clients make up would all be copied in one step.
func TestTableGrowsInPlace(t *testing.T) {
	var table Table
	first := make([]*entry, stripes)
	for n := range 20_000 {
		table.Replace(0, fmt.Sprint("agent ", n))
		for i := range table.stripes {
			switch s := &table.stripes[i]; {
			case s.entries.Len() == 0:
			case first[i] == nil:
				first[i] = s.entries.At(1)
			case first[i] != s.entries.At(1):
				t.Fatalf("after %d texts they were moved", n+1)
			}
		}
	}
}

// TestReplaceBySame checks that the text that is there already allocates nothing.
func TestReplaceBySame(t *testing.T) {
	var table Table
	n := table.Replace(0, "agent")
	if allocs := testing.AllocsPerRun(100, func() { n = table.Replace(n, "agent") }); allocs != 0 {
		t.Errorf("%v allocations", allocs)
	}
	if table.Release(n); table.Len() != 0 {
		t.Error("it is held more than once")
	}
}
