package throttle

import (
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

const (
	here      = "198.51.100.1"
	elsewhere = "203.0.113.9"
)

// fail makes an attempt that fails, and reports whether it was let through.
func fail(g *Guard, address, account string) bool {
	a, wait := g.Begin(address, account)
	a.Failed()
	return wait == 0
}

// succeed makes an attempt that succeeds, and returns how long it was told to wait, if it was
// refused.
func succeed(g *Guard, address, account string) (wait time.Duration) {
	a, wait := g.Begin(address, account)
	a.Succeeded()
	return wait
}

// failAll makes attempts that fail until one is refused, and returns how many there were.
func failAll(g *Guard, address, account string) (failures int) {
	for fail(g, address, account) {
		failures++
	}
	return failures
}

// drain spends the budgets of an address, with accounts that no test uses otherwise.
func drain(g *Guard, address string) (failures int) {
	for fail(g, address, fmt.Sprint("drain ", time.Now(), failures)) {
		failures++
	}
	return failures
}

// virtual runs a test in fake time.
func virtual(t *testing.T, limits Limits, test func(t *testing.T, g *Guard)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) { test(t, New(limits)) })
}

func TestFailuresInARow(t *testing.T) {
	// Guards each budget: its burst, its rate, and that a lock does not grow.
	d := Defaults()
	for _, c := range []struct {
		name             string
		address, account func(i int) string
		rate             Rate
	}{
		{"of one account at one address", func(int) string { return here }, func(int) string { return "anna" }, d.Pair},
		{"of one account, exempt", func(int) string { return "" }, func(int) string { return "anna" }, d.Account},
		{"of tokens at one address", func(int) string { return here }, func(int) string { return "" }, d.Address},
	} {
		t.Run(c.name, func(t *testing.T) {
			virtual(t, Limits{}, func(t *testing.T, g *Guard) {
				for i := range c.rate.Burst {
					if !fail(g, c.address(i), c.account(i)) {
						t.Fatalf("failure %d was refused", i)
					}
				}
				if _, wait := g.Begin(c.address(0), c.account(0)); wait != c.rate.Every {
					t.Fatalf("retry after %v, want %v", wait, c.rate.Every)
				}
				for range 3 { // the lock does not grow
					time.Sleep(c.rate.Every)
					if !fail(g, c.address(0), c.account(0)) {
						t.Fatal("refused after the time it was told to wait")
					}
					if fail(g, c.address(0), c.account(0)) {
						t.Fatal("two were let through when one had come back")
					}
				}
			})
		})
	}
}

func TestSuccesses(t *testing.T) {
	// Guards that successes cost nothing, however many there are.
	virtual(t, Limits{}, func(t *testing.T, g *Guard) {
		attempts := make(chan *Attempt, 100)
		begin := func(account string) {
			a, wait := g.Begin(here, account)
			if wait > 0 {
				t.Fatalf("%s has to wait %v", account, wait)
			}
			attempts <- a
		}
		for i := range 40 {
			begin(fmt.Sprint("at once ", i))
		}
		for range 40 {
			(<-attempts).Succeeded()
		}
		for i := range 6000 { // 10 a second for ten minutes, each of which lasts 3 s
			begin(fmt.Sprint("one by one ", i))
			if i >= 30 {
				(<-attempts).Succeeded()
			}
			time.Sleep(time.Second / 10)
		}
		for range 6000 { // one account again and again
			if wait := succeed(g, here, "anna"); wait > 0 {
				t.Fatalf("anna has to wait %v", wait)
			}
		}
	})
}

func TestSuccessesGainNoFailures(t *testing.T) {
	// Guards that logging in to one account does not allow more failures at others.
	virtual(t, Limits{}, func(t *testing.T, g *Guard) {
		failures := 0
		for ; failures < 1000 && fail(g, here, "victim"); failures++ {
			if wait := succeed(g, here, "attacker"); wait > 0 {
				t.Fatalf("a successful login waits %v", wait)
			}
		}
		if failures != Defaults().Pair.Burst {
			t.Fatalf("%d failures", failures)
		}
	})
}

func TestVoid(t *testing.T) {
	// Guards that Void gives back what the attempt took, and makes nothing known good.
	virtual(t, Limits{}, func(t *testing.T, g *Guard) {
		for range 1000 {
			for _, at := range [][2]string{{here, "anna"}, {"", "anna"}, {here, ""}} {
				a, wait := g.Begin(at[0], at[1])
				if wait > 0 {
					t.Fatalf("%q has to wait %v", at, wait)
				}
				a.Void()
			}
		}
		failAll(g, here, "") // except the reserve
		for i := range 1000 {
			for _, account := range []string{"anna", fmt.Sprint("neighbour", i)} {
				a, wait := g.Begin(here, account)
				if wait > 0 {
					t.Fatalf("at a spent address, %s has to wait %v", account, wait)
				}
				a.Void()
			}
		}
		drain(g, here)
		if wait := succeed(g, here, "anna"); wait == 0 {
			t.Fatal("an attempt without a result made its pair known good")
		}
	})
}

// Guards that at a spent address, pairs that come back when they were told to have priority over
// new ones.
func TestComingBack(t *testing.T) {
	virtual(t, Limits{}, func(t *testing.T, g *Guard) {
		drain(g, here)
		wait := succeed(g, here, "anna")
		if wait < comeBack {
			t.Fatalf("told to come back after %v", wait)
		}
		succeed(g, here, "otto")
		if again := succeed(g, here, "anna"); again != wait {
			t.Fatalf("too early: told to wait %v, want %v", again, wait)
		}
		time.Sleep(wait)
		drain(g, here)
		if wait := succeed(g, here, "anna"); wait > 0 {
			t.Fatalf("came back, but was told to wait %v", wait)
		}
		time.Sleep(waitingFor + time.Second)
		drain(g, here)
		if wait := succeed(g, here, "otto"); wait < comeBack {
			t.Fatalf("came back much too late, and was told to wait %v", wait)
		}
	})
}

func TestFirstEndCounts(t *testing.T) {
	// Guards that only the first end of an attempt has an effect.
	end := map[string]func(*Attempt){"failed": (*Attempt).Failed, "succeeded": (*Attempt).Succeeded, "void": (*Attempt).Void}
	for first, then := range map[string]string{"failed": "succeeded", "succeeded": "failed", "void": "succeeded"} {
		t.Run(first+" then "+then, func(t *testing.T) {
			virtual(t, Limits{}, func(t *testing.T, g *Guard) {
				for range Defaults().Pair.Burst {
					a, _ := g.Begin(here, "anna")
					end[first](a)
					end[then](a)
				}
				if _, wait := g.Begin(here, "anna"); wait > 0 != (first == "failed") {
					t.Errorf("has to wait %v", wait)
				}
				drain(g, here)
				if _, wait := g.Begin(here, "anna"); wait == 0 != (first == "succeeded") {
					t.Errorf("at a spent address, has to wait %v", wait)
				}
			})
		})
	}
}

func TestUnendedAttempts(t *testing.T) {
	// Guards that what an attempt took comes back in time even if the attempt is never ended.
	virtual(t, Limits{}, func(t *testing.T, g *Guard) {
		d := Defaults()
		for range d.Pair.Burst {
			_, _ = g.Begin(here, "anna")
		}
		if fail(g, here, "anna") {
			t.Fatal("attempts in progress were not counted")
		}
		time.Sleep(time.Duration(d.Pair.Burst) * d.Pair.Every)
		if n := failAll(g, here, "anna"); n != d.Pair.Burst {
			t.Fatalf("%d failures", n)
		}
	})
}

func TestNothingToCount(t *testing.T) {
	// Guards that an attempt without an address or an account is let through.
	g := New(Limits{})
	for _, account := range []string{"", " \t"} {
		for range 1000 {
			if !fail(g, "", account) {
				t.Fatal("refused")
			}
		}
	}
}

// Guards that concurrent attempts are limited like successive ones.
func TestConcurrentAttempts(t *testing.T) {
	limits := Defaults()
	for _, every := range []*time.Duration{&limits.Address.Every, &limits.Reserve.Every, &limits.Account.Every, &limits.Pair.Every, &limits.Fresh} {
		*every = 24 * time.Hour // nothing comes back while the test runs
	}
	limits.UnderWay = 1000
	always := func(name string) func(int) string { return func(int) string { return name } }
	spray := limits.Address.Burst + limits.Reserve.Burst/2 // the rest is for pairs that come back
	for _, c := range []struct {
		name             string
		address, account func(i int) string
		least, most      int
	}{
		{"one account", always(here), always("anna"), limits.Pair.Burst, limits.Pair.Burst},
		{"one account, exempt", always(""), always("anna"), limits.Account.Burst, limits.Account.Burst},
		{"tokens", always(here), always(""), limits.Address.Burst, limits.Address.Burst},
		{"many accounts", always(here), func(i int) string { return fmt.Sprint(i) }, spray, spray},
		// Each address has its fresh attempt, and all share the account's budget.
		{"many addresses", func(i int) string { return fmt.Sprint("10.0.0.", i&127) }, always("anna"), 128, 128 + limits.Account.Burst},
	} {
		t.Run(c.name, func(t *testing.T) {
			g := New(limits)
			var through atomic.Int64
			var begun, ended sync.WaitGroup
			begun.Add(1000)
			for i := range 1000 {
				ended.Go(func() {
					a, wait := g.Begin(c.address(i), c.account(i))
					begun.Done()
					begun.Wait()
					if wait == 0 {
						through.Add(1)
					}
					a.Failed()
				})
			}
			ended.Wait()
			if n := int(through.Load()); n < c.least || n > c.most {
				t.Errorf("%d of 1000 got through, want %d to %d", n, c.least, c.most)
			}
			byAddress, byAccount := g.Refused()
			if n := int(through.Load()); int(byAddress+byAccount) != 1000-n {
				t.Errorf("refused %d and %d, but %d got through", byAddress, byAccount, n)
			}
		})
	}
}

func TestRefused(t *testing.T) {
	// Guards that refusals are counted by what caused them.
	g := New(Limits{})
	n := failAll(g, here, "anna")
	if byAddress, byAccount := g.Refused(); n == 0 || byAddress != 0 || byAccount != 1 {
		t.Errorf("an account spent: %d, %d", byAddress, byAccount)
	}
	drain(g, elsewhere)
	if byAddress, byAccount := g.Refused(); byAddress != 1 || byAccount != 1 {
		t.Errorf("an address spent: %d, %d", byAddress, byAccount)
	}
}

func TestKnownGood(t *testing.T) {
	// Guards what a known good pair may do, and for how long.
	virtual(t, Limits{}, func(t *testing.T, g *Guard) {
		d := Defaults()
		if wait := succeed(g, here, "Anna "); wait > 0 {
			t.Fatal("refused")
		}
		spend := func() {
			drain(g, here)
			for i := range d.Account.Burst {
				fail(g, fmt.Sprint("192.0.2.", i), "anna")
			}
		}
		spend()
		if n := failAll(g, here, "anna"); n != d.Pair.Burst {
			t.Errorf("a known good pair may fail %d times in a row, want %d", n, d.Pair.Burst)
		}
		time.Sleep(d.KnownFor - time.Second)
		spend()
		if wait := succeed(g, here, "anna"); wait > 0 {
			t.Errorf("a known good pair has to wait %v", wait)
		}
		time.Sleep(d.KnownFor + time.Second)
		spend()
		if fail(g, here, "anna") {
			t.Error("known good for longer than KnownFor")
		}
	})
}

func TestLimits(t *testing.T) {
	// Guards that limits that are not set have their defaults.
	if g := New(Limits{Fresh: -1, Pair: Rate{Burst: -1}}); g.limits != Defaults() {
		t.Errorf("not the defaults: %+v", g.limits)
	}
	own := Limits{Rate{1, 2}, Rate{3, 4}, Rate{5, 6}, Rate{7, 8}, 9, 10, 11}
	if g := New(own); g.limits != own {
		t.Errorf("not the given limits: %+v", g.limits)
	}
}

// Guards that a slow success does not give back what has come back by itself.
func TestBucketGiveBack(t *testing.T) {
	rate := Rate{Burst: 2, Every: time.Second}
	var b bucket
	b.take(0, rate)
	b.take(0, rate)
	b.take(10*time.Second, rate)
	b.take(10*time.Second, rate)
	b.giveBack(0, rate)
	b.giveBack(0, rate)
	if b.wait(10*time.Second, rate) == 0 {
		t.Error("earlier attempts gave back what was taken later")
	}
	b.giveBack(10*time.Second, rate)
	if b.wait(10*time.Second, rate) > 0 {
		t.Error("what was taken later is not given back")
	}
}

func TestConcurrentAttemptsOfAddress(t *testing.T) {
	// Guards the number of attempts in progress of one address, which keep others from the work
	// even if they succeed.
	g := New(Limits{UnderWay: 2})
	var begun []*Attempt
	for n := range 2 {
		a, wait := g.Begin("203.0.113.1", fmt.Sprint("user", n))
		if wait > 0 {
			t.Fatal(wait)
		}
		begun = append(begun, a)
	}
	if _, wait := g.Begin("203.0.113.1", "another"); wait != time.Second {
		t.Errorf("one too many waits %v", wait)
	}
	for _, address := range []string{"203.0.113.2", ""} {
		a, wait := g.Begin(address, "another")
		if wait > 0 {
			t.Errorf("address %q waits %v", address, wait)
		}
		a.Void()
	}
	begun[0].Succeeded()
	begun[0].Failed() // has no effect now
	a, wait := g.Begin("203.0.113.1", "another")
	if wait > 0 {
		t.Errorf("after one has ended: %v", wait)
	}
	if _, wait := g.Begin("203.0.113.1", "one more"); wait == 0 {
		t.Error("an attempt was ended twice")
	}
	a.Failed()
	begun[1].Void()
	if len(g.underWay) != 0 {
		t.Errorf("%v is left", g.underWay)
	}
}
