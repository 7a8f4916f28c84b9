package throttle

import (
	"fmt"
	"testing"
	"time"
	"unsafe"
)

// bots returns the addresses of a botnet.
func bots(n int) []string {
	all := make([]string, n)
	for i := range all {
		all[i] = fmt.Sprintf("10.%d.%d.%d", i>>16, i>>8&255, i&255)
	}
	return all
}

// Guards how many guesses 1 to 1,000 addresses have at one account: in a burst, and in an hour
// after it.
func TestGuessesAtOneAccount(t *testing.T) {
	for _, n := range []int{1, 2, 10, 100, 1000} {
		t.Run(fmt.Sprint(n), func(t *testing.T) {
			virtual(t, Limits{}, func(t *testing.T, g *Guard) {
				botnet := bots(n)
				attack := func(d time.Duration) (guesses int) {
					for range d / (5 * time.Second) { // each budget comes back at multiples of this
						for _, bot := range botnet {
							guesses += failAll(g, bot, "victim")
						}
						time.Sleep(5 * time.Second)
					}
					return guesses
				}
				first, hourly := attack(Defaults().Fresh), attack(time.Hour)
				t.Logf("%4d addresses: %6d guesses in the first 5 minutes, then %6d an hour", n, first, hourly)
				if bound := min(360*n, 720+12*n); hourly > bound {
					t.Errorf("%d guesses an hour, want at most %d", hourly, bound)
				}
				if bound := min(40*n, 20+60+2*n); first > bound {
					t.Errorf("%d guesses at first, want at most %d", first, bound)
				}
			})
		})
	}
}

// Guards how many guesses one address has at endless accounts in an hour, and how much memory they
// take.
func TestSprayFromOneAddress(t *testing.T) {
	for _, returning := range []bool{false, true} { // whether names come back when they may
		t.Run(fmt.Sprint("returning ", returning), func(t *testing.T) {
			virtual(t, Limits{}, func(t *testing.T, g *Guard) {
				guesses := 0
				try := func(name int) {
					if fail(g, here, fmt.Sprint("user", name)) {
						guesses++
					}
				}
				for name := range 180_000 { // 50 a second
					try(name)
					if returning {
						try(name - 100)
					}
					time.Sleep(20 * time.Millisecond)
				}
				entries := used(&g.addresses) + used(&g.accounts) + used(&g.pairs)
				t.Logf("50 accounts a second: %d guesses in the first hour, %d entries", guesses, entries)
				if bound := 60 + 8 + 3600; guesses > bound {
					t.Errorf("%d guesses, want at most %d", guesses, bound)
				}
				if bound := 1 + 2*guesses; entries > bound {
					t.Errorf("%d entries, want at most %d: refused attempts leave some behind", entries, bound)
				}
			})
		})
	}
}

func used[T any](t *table[T]) (n int) {
	for i := range t.slots {
		if t.slots[i].key != 0 {
			n++
		}
	}
	return n
}

// patient makes attempts as an honest client that comes back whenever it is told to, each time just
// after the attacker. It gives up after ten minutes.
func patient(g *Guard, address, account string, meanwhile func(time.Duration)) (waited time.Duration) {
	for waited < 10*time.Minute {
		wait := succeed(g, address, account)
		if wait == 0 {
			return waited
		}
		waited += wait
		meanwhile(wait)
	}
	return waited
}

// Guards that others at an address get in while one client fails as fast as it can.
func TestNeighbour(t *testing.T) {
	for _, c := range []struct {
		name            string
		attackedAccount func(i int) string
		known           bool // the neighbours have logged in at this address
		most            time.Duration
	}{
		{"guesses at one account", func(int) string { return "victim" }, false, 0},
		{"guesses at 20 accounts", func(i int) string { return fmt.Sprint("victim", i%20) }, false, 4 * time.Second},
		{"guesses at 100 accounts", func(i int) string { return fmt.Sprint("victim", i%100) }, false, 4 * time.Second},
		{"tokens", func(int) string { return "" }, false, 0},
		{"guesses at endless accounts", func(i int) string { return fmt.Sprint("victim", i) }, false, 4 * time.Second},
		{"guesses at endless accounts, known good", func(i int) string { return fmt.Sprint("victim", i) }, true, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			virtual(t, Limits{}, func(t *testing.T, g *Guard) {
				for i := range 10 {
					if c.known {
						succeed(g, here, fmt.Sprint("neighbour", i))
					}
				}
				i := 0
				attack := func(d time.Duration) {
					for end := time.Now().Add(d); !time.Now().After(end); time.Sleep(10 * time.Millisecond) {
						for range 10 {
							fail(g, here, c.attackedAccount(i))
							i++
						}
					}
				}
				attack(30 * time.Second)
				longest := time.Duration(0)
				for n := range 15 {
					if c.known {
						n %= 10
					}
					longest = max(longest, patient(g, here, fmt.Sprint("neighbour", n), attack))
					if longest > c.most {
						t.Fatalf("waited %v, want at most %v", longest, c.most)
					}
					attack(17 * time.Second)
				}
				t.Logf("1,000 tries a second: the longest a neighbour waited was %v", longest)
			})
		})
	}
}

// Guards that the owner of an account at which 200 addresses guess gets in: at a known address, at
// a fresh one, and there even after a wrong password.
func TestOwnerUnderAttack(t *testing.T) {
	virtual(t, Limits{}, func(t *testing.T, g *Guard) {
		d := Defaults()
		succeed(g, here, "owner")
		botnet := bots(200)
		attack := func(d time.Duration) {
			for end := time.Now().Add(d); !time.Now().After(end); time.Sleep(100 * time.Millisecond) {
				for _, bot := range botnet {
					fail(g, bot, "owner")
				}
			}
		}
		attack(time.Minute)
		if wait := succeed(g, here, "owner"); wait > 0 {
			t.Errorf("the owner waits %v at a known address", wait)
		}
		if wait := succeed(g, elsewhere, "owner"); wait > 0 {
			t.Errorf("the owner waits %v at a fresh address", wait)
		}
		if !fail(g, "192.0.2.77", "owner") {
			t.Error("no failure is allowed at a fresh address")
		}
		waited := patient(g, "192.0.2.77", "owner", attack)
		t.Logf("200 addresses, 2,000 tries a second: after a slip at a fresh address the owner waited %v", waited)
		if waited > d.Fresh {
			t.Errorf("waited %v, want at most %v", waited, d.Fresh)
		}

		for fail(g, "192.0.2.88", "owner") {
		}
		time.Sleep(d.Pair.Every) // the attack is over
		if wait := succeed(g, "192.0.2.88", "owner"); wait > 0 {
			t.Errorf("the owner waits another %v after the attack", wait)
		}
	})
}

// Guards that one address cannot spend the budget of an account, however long it tries.
func TestOneAddressSpendsNoAccount(t *testing.T) {
	virtual(t, Limits{}, func(t *testing.T, g *Guard) {
		for i := range 3600 {
			failAll(g, here, "owner")
			if i%60 == 0 { // elsewhere is neither fresh nor known good
				fail(g, elsewhere, "owner")
			}
			a, wait := g.Begin(elsewhere, "owner")
			if wait > 0 {
				t.Fatalf("after %d s the owner waits %v", i, wait)
			}
			a.Void()
			time.Sleep(time.Second)
		}
	})
}

// Guards that locked entries stay in the tables under a flood of others.
func TestFloods(t *testing.T) {
	virtual(t, Limits{}, func(t *testing.T, g *Guard) {
		drain(g, here)                          // a locked address
		pair := failAll(g, elsewhere, "victim") // a locked pair
		for i := range Defaults().Account.Burst {
			fail(g, fmt.Sprint("192.0.2.", i), "spent")
		}
		for i := range 200_000 {
			address := fmt.Sprintf("2001:%x:%x::", i>>16, i&0xffff) // a /48 each
			fail(g, address, fmt.Sprint("invented", i))
		}
		if fail(g, here, "anna") {
			t.Error("200,000 addresses replaced a locked one")
		}
		if fail(g, elsewhere, "victim") {
			t.Errorf("200,000 pairs replaced one that was locked after %d failures", pair)
		}
		if fail(g, "", "spent") {
			t.Error("200,000 accounts replaced a locked one")
		}
		t.Logf("entries after 200,000 addresses and accounts: %d, %d, %d", used(&g.addresses), used(&g.accounts), used(&g.pairs))
	})
}

// Guards that logging in to one account from each /64 of a /48 does not replace other known pairs.
func TestKnownPairsStay(t *testing.T) {
	virtual(t, Limits{}, func(t *testing.T, g *Guard) {
		home := func(n int) string { return fmt.Sprintf("2001:db8:%x::1", 1000+n) }
		const owners = 200
		for n := range owners {
			succeed(g, home(n), fmt.Sprint("owner", n))
			time.Sleep(time.Second)
		}
		for n := range subnets {
			succeed(g, subnet(n), "attacker")
		}
		if n := used(&g.known); n > owners+ways {
			t.Errorf("%d entries", n)
		}
		known := 0
		for n := range owners {
			drain(g, home(n))
			if succeed(g, home(n), fmt.Sprint("owner", n)) == 0 {
				known++
			}
		}
		if known < owners-ways {
			t.Errorf("%d of %d are still known", known, owners)
		}
	})
}

// Guards that successes, however many, do not replace failures.
func TestSuccessesReplaceNothing(t *testing.T) {
	virtual(t, Limits{}, func(t *testing.T, g *Guard) {
		fail(g, here, "victim")
		for i := range 50_000 {
			succeed(g, here, fmt.Sprint("own", i))
		}
		before := g.pairs.peek(max(1, g.secret.address(here)^g.secret.account("victim")))
		if before.key == 0 {
			t.Error("the failure was replaced")
		}
	})
}

func TestMemory(t *testing.T) {
	// Guards the amount of memory in the documentation.
	g := New(Limits{})
	address, account := unsafe.Sizeof(g.addresses.slots[0]), unsafe.Sizeof(g.accounts.slots[0])
	total := address*uintptr(len(g.addresses.slots)+len(g.pairs.slots)) + account*uintptr(len(g.accounts.slots)+len(g.known.slots))
	total += account * uintptr(len(g.waiting.slots))
	t.Logf("bytes: an address or a pair %d, an account or a known or waiting pair %d, a Guard %d", address, account, total)
	if address > 40 || account > 24 || total > 5_000_000 {
		t.Error("more than the documentation says")
	}
}
