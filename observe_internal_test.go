package socketauth

import (
	"fmt"
	"testing"
)

// TestStatsNamesBounded checks that the counters by name are bounded, since codes come from the
// app, which may make them of what clients send.
func TestStatsNamesBounded(t *testing.T) {
	var c tally
	for n := range 10_000 {
		c.add(fmt.Sprint("code ", n))
	}
	c.add("code 0")
	all := c.all()
	if len(all) != maxNames+1 || all["code 0"] != 2 || all["other"] != 10_000-maxNames {
		t.Errorf("%d names, %d of the first, %d others", len(all), all["code 0"], all["other"])
	}
}
