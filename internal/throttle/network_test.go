package throttle

import (
	"fmt"
	"testing"
	"time"
)

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
			// The app has read the attacker's name.
			begin(g, here, both("victim", "attacker")...).Succeeded()
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
