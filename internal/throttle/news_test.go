package throttle

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"testing"
	"testing/synctest"
	"time"
)

// processes are guards that exchange their news.
type processes []*Guard

func newProcesses(n int) processes {
	all := make(processes, n)
	for i := range all {
		all[i] = NewShared(Limits{}, [32]byte{1})
	}
	return all
}

// exchange tells each guard the news of the others.
func (p processes) exchange(t *testing.T) {
	t.Helper()
	for i := range p {
		p.tell(t, i)
	}
}

// tell tells the others the news of one guard.
func (p processes) tell(t *testing.T, i int) {
	t.Helper()
	news := p[i].Exchange(len(p) - 1)
	if news == nil {
		return
	}
	for j, to := range p {
		if i == j {
			continue
		}
		if err := to.Hear(news); err != nil {
			t.Fatal(err)
		}
	}
}

// run calls step 4 times a second for the time d. Once a second, each guard tells its news, not all
// at the same time.
func (p processes) run(t *testing.T, d time.Duration, step func()) {
	t.Helper()
	for n := range int(d / (time.Second / 4)) {
		step()
		time.Sleep(time.Second / 4)
		for i := range p {
			if n%4 == i%4 {
				p.tell(t, i)
			}
		}
	}
}

// Guards that a guesser who sends each guess to every process has about as many guesses as at one
// process.
func TestGuesserAtAllProcesses(t *testing.T) {
	for _, c := range []struct {
		name          string
		step          func(g *Guard) (guesses int)
		first, hourly int // at most in the first minute, and then in an hour
	}{
		{"1 address at one account", func(g *Guard) int { return failAll(g, here, "victim") }, 12 + 6, 360},
		{"40 addresses at one account", func(g *Guard) (guesses int) {
			for _, bot := range bots(40) {
				guesses += failAll(g, bot, "victim")
			}
			return guesses
		}, 21 + 12 + 3*40, 720 + 12*40},
		{"no address known", func(g *Guard) int { return failAll(g, "", "victim") }, 21 + 12, 720},
		{"tokens", func(g *Guard) int { return failAll(g, here, "") }, 3*60 + 30, 1800},
		{"a /48", func(g *Guard) int { return failAll(g, subnet(int(time.Now().UnixMilli())), "victim") }, 12 + 6, 360},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p := newProcesses(3)
				p.exchange(t)
				attack := func(d time.Duration) (guesses int) {
					p.run(t, d, func() {
						for _, g := range p {
							guesses += c.step(g)
						}
					})
					return guesses
				}
				first, hourly := attack(time.Minute), attack(time.Hour)
				t.Logf("%d guesses in the first minute, then %d an hour", first, hourly)
				if first > c.first || hourly > c.hourly {
					t.Errorf("want at most %d, then %d", c.first, c.hourly)
				}
				if hourly < c.hourly*9/10 {
					t.Errorf("%d an hour: less than one process lets through", hourly)
				}
			})
		})
	}
}

// Guards that a guesser who waits until all budgets are full, and then uses up each at once, gains
// little by the number of processes.
func TestGuesserInBursts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newProcesses(3)
		p.exchange(t)
		guesses := 0
		for range 18 { // 200 s each
			for _, g := range p {
				guesses += failAll(g, here, "victim")
			}
			p.run(t, 200*time.Second, func() {})
		}
		t.Logf("%d guesses in an hour", guesses)
		if most := 18 * (10 + 2); guesses > most {
			t.Errorf("%d guesses, want at most %d", guesses, most)
		}
	})
}

// Guards that attempts in progress at several processes count before any of them has failed.
func TestGuessesInProgressAtAllProcesses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newProcesses(4)
		p.exchange(t)
		var begun []*Attempt
		for _, g := range p {
			for range 100 {
				if a, wait := g.Begin(here, "victim"); wait == 0 {
					begun = append(begun, a)
				}
			}
		}
		if len(begun) != 4*3 {
			t.Errorf("%d guesses in progress", len(begun))
		}
		for _, a := range begun {
			a.Void()
		}
		if a, wait := p[0].Begin(here, "victim"); wait > 0 {
			t.Errorf("after attempts without a result: %v", wait)
		} else {
			a.Void()
		}
	})
}

// Guards that an attempt that ends late gives back only what it has taken itself.
func TestShareAfterSlowAttempt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newProcesses(1)[0]
		slow, _ := g.Begin(here, "anna")
		for range 2 {
			g.Exchange(1)
			time.Sleep(Interval)
		}
		g.Exchange(1)
		if n := failAll(g, here, "anna"); n != 5 {
			t.Errorf("%d failures in a row, want a share of 5", n)
		}
		slow.Void()
		if n := failAll(g, here, "anna"); n != 0 {
			t.Errorf("%d more", n)
		}
	})
}

// Guards that news lock nobody for longer than the budget's period for each process, whatever they
// say, and that the lock ends.
func TestNewsLockNotForLong(t *testing.T) {
	d := Defaults()
	for _, c := range []struct {
		others, counted int
	}{{1, 1}, {2, 2}, {7, 7}, {1000, maxDebt}} {
		synctest.Test(t, func(t *testing.T) {
			from, to := NewShared(Limits{}, [32]byte{}), NewShared(Limits{}, [32]byte{})
			to.Exchange(c.others)
			failAll(from, here, "victim")
			news := from.Exchange(1)
			for at := 1; at < len(news); at += entrySize {
				binary.BigEndian.PutUint16(news[at+1:], 0xffff) // more than can be
			}
			for range 100 {
				if err := to.Hear(news); err != nil {
					t.Fatal(err)
				}
			}
			_, wait := to.Begin(here, "victim")
			if most := time.Duration(c.counted+1) * d.Pair.Every; wait != most {
				t.Errorf("with %d others: locked for %v, want %v", c.others, wait, most)
			}
			if _, wait := to.Begin(here, ""); wait > time.Duration(c.counted+1)*d.Address.Every {
				t.Errorf("with %d others: the address is locked for %v", c.others, wait)
			}
			if _, wait := to.Begin(elsewhere, "victim"); wait > 0 {
				t.Errorf("the owner waits %v elsewhere", wait)
			}
			time.Sleep(wait)
			if a, wait := to.Begin(here, "victim"); wait > 0 {
				t.Errorf("after the time it was told to wait: another %v", wait)
			} else {
				a.Void()
			}
		})
	}
}

// Guards that a success marks its pair known good in all processes, and clears no failure.
func TestSuccessElsewhere(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newProcesses(2)
		failAll(p[1], elsewhere, "owner")
		for _, bot := range bots(100) {
			failAll(p[1], bot, "owner")
		}
		drain(p[1], here)
		if fail(p[1], here, "owner2") {
			t.Fatal("a fresh pair is let through")
		}
		succeed(p[0], here, "owner")
		succeed(p[0], elsewhere, "attacker")
		succeed(p[0], elsewhere, "owner")
		p.exchange(t)
		if wait := succeed(p[1], here, "owner"); wait > 0 {
			t.Errorf("the owner, who logged in at another process, waits %v", wait)
		}
		if fail(p[1], elsewhere, "owner") {
			t.Error("a success elsewhere cleared the failures of its pair")
		}
		if fail(p[1], here, "owner2") {
			t.Error("a success elsewhere cleared the failures of an address")
		}
		time.Sleep(Defaults().KnownFor)
		drain(p[1], here)
		if wait := succeed(p[1], here, "owner"); wait == 0 {
			t.Error("known good for longer than KnownFor")
		}
	})
}

// Guards that nothing is told but failures and successes, and that each is told once.
func TestWhatIsTold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newProcesses(2)
		for range 5 {
			a, _ := p[0].Begin(here, "anna")
			a.Void()
			a, _ = p[0].Begin(here, "anna")
			a.FailedHere()
		}
		if news := p[0].Exchange(1); news != nil {
			t.Errorf("told % x", news)
		}
		fail(p[0], here, "otto")
		if news := p[0].Exchange(1); len(news) != 1+4*entrySize { // address, account, pair, fresh
			t.Errorf("told % x", news)
		}
		if news := p[0].Exchange(1); news != nil {
			t.Errorf("told again % x", news)
		}
		if !fail(New(Limits{}), here, "anna") || New(Limits{}).Exchange(1) != nil {
			t.Error("a guard of its own has news")
		}
	})
}

// Guards that a process from which the others are gone, or that no longer exchanges news, has all
// of its budgets.
func TestAloneAgain(t *testing.T) {
	for _, alone := range []func(g *Guard){
		func(g *Guard) { g.Exchange(0) },
		func(*Guard) { time.Sleep(2 * Interval) },
	} {
		synctest.Test(t, func(t *testing.T) {
			g := newProcesses(1)[0]
			g.Exchange(9)
			if n := failAll(g, here, "anna"); n != 3 {
				t.Fatalf("%d failures in a row, want a share of 3", n)
			}
			alone(g)
			if n := failAll(g, here, "anna"); n != 7 {
				t.Errorf("%d more failures in a row", n)
			}
		})
	}
}

// Guards that news are bounded, and that those who failed most are in them.
func TestNewsAreBounded(t *testing.T) {
	p := newProcesses(2)
	failAll(p[0], here, "victim")
	for i := range 20_000 {
		fail(p[0], fmt.Sprintf("2001:%x:%x::", i>>16, i&0xffff), fmt.Sprint("invented", i))
	}
	if n := len(p[0].news.failed); n != maxEntries {
		t.Errorf("%d entries", n)
	}
	if n := len(p[0].news.now.by); n > maxTaken {
		t.Errorf("%d budgets are watched", n)
	}
	p.exchange(t)
	if fail(p[1], here, "victim") {
		t.Error("20,000 pairs with one failure each kept the news of a locked one from the others")
	}
}

// Guards that each malformed message is refused and changes nothing.
func TestMalformedNews(t *testing.T) {
	p := newProcesses(2)
	fail(p[0], here, "anna")
	good := p[0].Exchange(1)
	with := func(at int, b byte) []byte {
		data := bytes.Clone(good)
		data[at] = b
		return data
	}
	noKey := bytes.Clone(good)
	clear(noKey[len(noKey)-8:])
	noCount := bytes.Clone(good)
	clear(noCount[2:4])
	for name, data := range map[string][]byte{
		"empty":        {},
		"version":      with(0, 2),
		"kind 0":       with(1, 0),
		"unknown kind": with(1+entrySize, byte(kinds)),
		"no key":       noKey,
		"no failures":  noCount,
		"cut":          good[:len(good)-1],
		"longer":       append(bytes.Clone(good), 0),
		"too long":     append([]byte{newsVersion}, bytes.Repeat(good[1:1+entrySize], maxEntries+1)...),
	} {
		if err := p[1].Hear(data); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
	if n := used(&p[1].addresses) + used(&p[1].accounts) + used(&p[1].pairs); n != 0 {
		t.Errorf("%d entries from malformed news", n)
	}
	if err := New(Limits{}).Hear(good); err == nil {
		t.Error("a guard of its own hears news")
	}
}

// FuzzHear checks that no news panic, lock anything for long, or let through more than a guard that
// has heard nothing.
func FuzzHear(f *testing.F) {
	p := newProcesses(1)
	failAll(p[0], here, "victim")
	succeed(p[0], elsewhere, "owner")
	f.Add(p[0].Exchange(1))
	f.Add([]byte{newsVersion})
	f.Fuzz(func(t *testing.T, data []byte) {
		g := newProcesses(1)[0]
		g.Exchange(2)
		if g.Hear(data) != nil {
			return
		}
		for kind := ofAddress; kind < ofKnown; kind++ {
			for e := data[1:]; len(e) > 0; e = e[entrySize:] {
				b, _ := entry(e)
				if b.kind != kind {
					continue
				}
				bucket, rate := g.bucket(b, true)
				if wait := bucket.wait(g.now(), rate); wait > 3*rate.Every {
					t.Errorf("kind %d is locked for %v", kind, wait)
				}
			}
		}
		for e := data[1:]; len(e) > 0; e = e[entrySize:] {
			if b, _ := entry(e); b.kind == ofKnown && g.known.peek(b.key).free > g.now()+g.limits.KnownFor {
				t.Error("known good for too long")
			}
		}
		if n := failAll(g, here, "victim"); n > Defaults().Pair.Burst {
			t.Errorf("%d guesses", n)
		}
	})
}

// Guards how long others behind the attacker's address, and the owner, wait while guesses are sent
// to all processes. Each of their attempts comes to the next process.
func TestOthersAtAllProcesses(t *testing.T) {
	botnet := bots(200)
	for _, c := range []struct {
		name     string
		attacked func(i int) string
		address  func(i int) string
		most     time.Duration // that a fresh neighbour waits
	}{
		{"guesses at one account", func(int) string { return "victim" }, func(int) string { return here }, 0},
		{"tokens", func(int) string { return "" }, func(int) string { return here }, 0},
		{"guesses at 100 accounts", func(i int) string { return fmt.Sprint("victim", i%100) }, func(int) string { return here }, 4 * time.Second},
		{"guesses at endless accounts", func(i int) string { return fmt.Sprint("victim", i) }, func(int) string { return here }, 4 * time.Second},
		{"a botnet at one account", func(int) string { return "victim" }, func(i int) string { return botnet[i%len(botnet)] }, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p := newProcesses(3)
				p.exchange(t)
				succeed(p[0], here, "known")
				succeed(p[0], elsewhere, "victim")
				i := 0
				attack := func(d time.Duration) {
					p.run(t, d, func() {
						for range 100 {
							for _, g := range p {
								fail(g, c.address(i), c.attacked(i))
								i++
							}
						}
					})
				}
				attack(30 * time.Second)
				longest := time.Duration(0)
				for n := range 15 {
					waited := time.Duration(0)
					for next := n; ; next++ {
						wait := succeed(p[next%3], here, fmt.Sprint("neighbour", n))
						if wait == 0 {
							break
						}
						attack(wait.Round(time.Second/4) + time.Second/4)
						waited += wait.Round(time.Second/4) + time.Second/4
						if waited > 5*time.Minute {
							t.Fatal("a neighbour is locked out")
						}
					}
					longest = max(longest, waited)
					for _, g := range p {
						if wait := succeed(g, here, "known"); wait > 0 {
							t.Errorf("a neighbour who has logged in at another process waits %v", wait)
						}
						if wait := succeed(g, elsewhere, "victim"); wait > 0 {
							t.Errorf("the owner, where they have logged in at another process, waits %v", wait)
						}
					}
					attack(17 * time.Second)
				}
				t.Logf("the longest a neighbour waited was %v", longest)
				if longest > c.most {
					t.Errorf("want at most %v", c.most)
				}
			})
		})
	}
}
