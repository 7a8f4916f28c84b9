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
	for _, returning := range []bool{false, true} { // each name once, or again when it may come back
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

// subnets is how many /64s a /48 has.
const subnets = 1 << 16

func subnet(n int) string { return fmt.Sprintf("2001:db8:7:%x::1", n%subnets) }

// Guards that a /48 has the guesses of one address at an account: each of its 65,536 /64s had a
// fresh one.
func TestWideNetworkAtOneAccount(t *testing.T) {
	virtual(t, Limits{}, func(t *testing.T, g *Guard) {
		const home, neighbour = "2001:db8:7:ffff::1", "2001:db8:7:fffe::1"
		succeed(g, home, "victim")
		attack := func(d time.Duration) (guesses int) {
			for end := time.Now().Add(d); time.Now().Before(end); time.Sleep(5 * time.Second) {
				for n := range 200 {
					if fail(g, subnet(int(time.Now().Unix())+n), "victim") {
						guesses++
					}
				}
			}
			return guesses
		}
		first, hourly := attack(time.Minute), attack(time.Hour)
		t.Logf("a /48 at one account: %d guesses in the first minute, then %d an hour", first, hourly)
		if first > 10+6 || hourly > 360 {
			t.Errorf("%d guesses in a minute, then %d an hour", first, hourly)
		}
		if wait := succeed(g, elsewhere, "victim"); wait > 0 {
			t.Errorf("the owner waits %v elsewhere", wait)
		}
		if wait := succeed(g, home, "victim"); wait > 0 {
			t.Errorf("the owner waits %v in that /48, at a known address", wait)
		}
		if wait := succeed(g, neighbour, "neighbour"); wait > 0 {
			t.Errorf("a neighbour waits %v in that /48", wait)
		}
	})
}

// Guards that a /48 has the budgets of 16 addresses: each of its /64s had those of one.
func TestWideNetworkBudgets(t *testing.T) {
	for _, named := range []bool{true, false} {
		virtual(t, Limits{}, func(t *testing.T, g *Guard) {
			guesses, account := 0, ""
			for n := range 20_000 {
				if named {
					account = fmt.Sprint("user", n)
				}
				if fail(g, subnet(n), account) {
					guesses++
				}
			}
			want := 16 * 60
			if named {
				want += 16 * 8 / 2
			}
			if guesses != want {
				t.Errorf("%d guesses, want %d", guesses, want)
			}
			if !fail(g, "2001:db8:8::1", "x") {
				t.Error("another /48 has to wait")
			}
			if n := failAll(g, subnet(5), ""); n != 0 {
				t.Errorf("%d more", n)
			}
			time.Sleep(time.Second)
			if n := failAll(g, subnet(5), ""); n != 8 {
				t.Errorf("a second later: %d more", n)
			}
		})
	}
}

func TestConcurrentAttemptsOfWideNetwork(t *testing.T) {
	// Guards the number of attempts in progress of a /48, which was 50 in each /64.
	g := New(Limits{UnderWay: 2})
	begin := func(n int) *Attempt {
		a, _ := g.Begin(subnet(n), fmt.Sprint("user", n))
		return a
	}
	for n := range 2 * wideAddresses {
		if begin(n) == nil {
			t.Fatalf("number %d was refused", n)
		}
	}
	if begin(99) != nil {
		t.Error("one more attempt than 16 addresses may have")
	}
}

// Guards that an attempt that names two accounts counts for both, with its address.
func TestTwoAccounts(t *testing.T) {
	d := Defaults()
	for _, at := range []int{0, 1} { // as the first name or as the second
		both := func(victim, other string) []string {
			if at == 0 {
				return []string{victim, other}
			}
			return []string{other, victim}
		}
		begin := func(g *Guard, address string, accounts ...string) *Attempt {
			a, _ := g.Begin(address, accounts...)
			return a
		}
		virtual(t, Limits{}, func(t *testing.T, g *Guard) {
			guesses := 0
			for n := range 100 {
				if a := begin(g, here, both("victim", fmt.Sprint("other", n))...); a != nil {
					a.Failed()
					guesses++
				}
			}
			if guesses != d.Pair.Burst {
				t.Errorf("%d guesses from one address", guesses)
			}
			for range 100 { // the same account twice is one
				begin(g, elsewhere, "Anna", "anna").Failed()
			}
			time.Sleep(d.Pair.Every)
			if begin(g, elsewhere, "anna") == nil {
				t.Error("an account named twice was counted twice")
			}
		})
		virtual(t, Limits{}, func(t *testing.T, g *Guard) {
			owner := both("victim", "victim@example.com")
			begin(g, here, owner...).Succeeded()
			for n := range 200 { // of a botnet
				failAll(g, fmt.Sprint("192.0.2.", n), "victim")
			}
			for _, address := range []string{here, elsewhere} {
				if a := begin(g, address, owner...); a == nil {
					t.Errorf("the owner, at %s, is locked out", address)
				} else {
					a.Void()
				}
			}
		})
		virtual(t, Limits{}, func(t *testing.T, g *Guard) {
			begin(g, here, both("victim", "attacker")...).Succeeded() // the app has read the attacker's name
			for n := range 200 {
				failAll(g, fmt.Sprint("192.0.2.", n), "victim")
			}
			if n := failAll(g, here, "victim"); n > 1 {
				t.Errorf("with an own account, an attacker had %d guesses at another", n)
			}
			if n := failAll(g, here, "attacker"); n > d.Account.Burst {
				t.Errorf("%d guesses", n)
			}
		})
	}
}

// Guards that, if no address is known, one client that guesses does not lock out the account's
// owner, and that what a proxy says about clients, which may be made up, gains no guesses.
func TestUnlocatedClients(t *testing.T) {
	for _, c := range []struct {
		name          string
		told          func(n int) string
		first, hourly int
		ownerMayWait  bool // at a new device
	}{
		{"one client, as the proxy tells", func(int) string { return "attacker" }, 10 + 30, 360, false},
		{"made up", func(n int) string { return fmt.Sprint(n) }, 20 + 60, 720, true},
		{"nothing is told", func(int) string { return "" }, 20 + 60, 720, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			virtual(t, Limits{}, func(t *testing.T, g *Guard) {
				n := 0
				guess := func(told, device string) bool {
					a, wait := g.BeginUnlocated(told, device, "victim")
					a.Failed()
					return wait == 0
				}
				attack := func(d time.Duration) (guesses int) {
					for end := time.Now().Add(d); time.Now().Before(end); time.Sleep(time.Second / 2) {
						if n++; guess(c.told(n), "") {
							guesses++
						}
					}
					return guesses
				}
				first, hourly := attack(5*time.Minute), attack(time.Hour)
				t.Logf("2 tries a second: %d guesses in the first 5 minutes, then %d an hour", first, hourly)
				if first > c.first || hourly > c.hourly {
					t.Errorf("%d guesses at first and %d an hour, want at most %d and %d", first, hourly, c.first, c.hourly)
				}
				for range 14 {
					attack(time.Second)
					a, wait := g.BeginUnlocated("owner", "", "victim")
					a.Void()
					if wait > 0 && !c.ownerMayWait {
						t.Errorf("the owner waits %v", wait)
					}
					a, wait = g.BeginUnlocated("owner", "known", "victim")
					a.Void()
					if wait > 0 {
						t.Errorf("the owner waits %v at a known device", wait)
					}
				}
				for n := range 100 {
					if guess("owner", "known") != (n < 10) {
						t.Fatalf("guess %d at a known device", n)
					}
				}
				devices := 0
				for n := range 100 { // one user may have any number of devices
					if guess("", fmt.Sprint("known", n)) {
						devices++
					}
				}
				if devices != 10 {
					t.Errorf("%d more guesses at other known devices", devices)
				}
			})
		})
	}
}

// Guards that a login which names an own account, and another one in the second field, does not
// spend what the owner of the other account has at a known device.
func TestDeviceOfTwoAccounts(t *testing.T) {
	d := Defaults()
	for _, named := range [][]string{{"attacker", "victim"}, {"victim", "attacker"}} {
		virtual(t, Limits{}, func(t *testing.T, g *Guard) {
			guesses := 0
			for n := range 1000 {
				a, wait := g.BeginUnlocated("", fmt.Sprint("device", n%100), named...)
				a.Failed()
				if wait == 0 {
					guesses++
				}
			}
			if guesses != d.Account.Burst {
				t.Errorf("%d guesses at %v, want %d", guesses, named, d.Account.Burst)
			}
			for _, owner := range named {
				a, wait := g.BeginUnlocated("", "owner's", owner)
				a.Void()
				if wait > 0 {
					t.Errorf("%s, at a device known, waits %v", owner, wait)
				}
			}
		})
	}
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
			fail(g, fmt.Sprintf("2001:%x:%x::", i>>16, i&0xffff), fmt.Sprint("invented", i)) // a /48 each
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
