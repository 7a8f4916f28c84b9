package socketauth

import "testing"

func TestCensusForgetsAConnectionThatIsLetInAsItEnds(t *testing.T) {
	// Guards: a connection that ended while its token was accepted was counted as authenticated for ever, and its stranger
	// as gone twice, so that there was room for one stranger too many each time.
	var c census
	l := Limits{}.withDefaults()
	v := &visit{engine: "3", network: "203.0.113.1"}
	if admitted, limit, oldest := c.admit(v, l); !admitted || oldest != nil {
		t.Fatal(limit)
	}
	c.leave(v)
	c.befriend(v)
	if n := c.count()["3"]; n != (SocketStats{}) || c.sockets+len(c.strangers) != 0 {
		t.Errorf("%+v, %d sockets, %d crowds", n, c.sockets, len(c.strangers))
	}
}

func TestCensusHasNoLimitForThoseOfNoNetwork(t *testing.T) {
	// Guards: those who come by a proxy that nobody told the library of must not share the places of one address.
	var c census
	l := Limits{StrangersPerAddress: 1}.withDefaults()
	for range 3 {
		if _, limit, _ := c.admit(&visit{engine: "4"}, l); limit != "" {
			t.Error(limit)
		}
	}
	for _, want := range []string{"", limitStrangersPerAddress} {
		if _, limit, _ := c.admit(&visit{engine: "4", network: "203.0.113.1"}, l); limit != want {
			t.Errorf("of one address: limit %q, want %q", limit, want)
		}
	}
}
