package histories_test

import (
	"fmt"
	"os"
	"strconv"
	"testing"
	"testing/synctest"

	"github.com/z-open/socketauth"
	"github.com/z-open/socketauth/internal/histories"
)

func TestScratch(t *testing.T) {
	from, _ := strconv.Atoi(os.Getenv("FROM"))
	n, _ := strconv.Atoi(os.Getenv("N"))
	synctest.Test(t, func(t *testing.T) {
		var counts histories.Counts
		for seed := from; seed < from+n; seed++ {
			o := histories.Run(uint64(seed), socketauth.NewMemoryBlacklist())
			counts.Add(o.Counts)
			if o.Violation != "" {
				t.Errorf("seed %d: %s\n%s", seed, o.Violation, histories.Trace(uint64(seed), socketauth.NewMemoryBlacklist()))
				break
			}
		}
		fmt.Println(counts)
	})
}

func TestMutations(t *testing.T) {
	for m := histories.None; m <= histories.DecideThenWrite; m++ {
		synctest.Test(t, func(t *testing.T) {
			for seed := 0; seed < 20000; seed++ {
				o := histories.Run(uint64(seed), histories.NewMachine(m))
				if o.Violation != "" {
					fmt.Println(m, seed, o.Violation)
					return
				}
			}
			fmt.Println(m, "not found")
		})
	}
}
