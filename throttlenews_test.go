package socketauth_test

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/z-open/socketauth"
)

// guessEverywhere guesses at an account at every process for as long as d, twice a second, and
// returns how many guesses were let through. It never guesses at the moment at which the processes tell
// each other what has failed: what they have heard by then would depend on chance.
func guessEverywhere(processes []*process, address, username string, d time.Duration) (guesses int) {
	time.Sleep(time.Until(time.Now().Truncate(time.Second).Add(1100 * time.Millisecond)))
	for end := time.Now().Add(d); time.Now().Before(end); time.Sleep(time.Second / 2) {
		for _, p := range processes {
			guesses += p.guess(address, username)
		}
	}
	return guesses
}

// TestGuesserAtThreeProcesses checks that somebody who sends each guess to three processes has
// about one budget, that nobody else has to wait for it, and that a success is known everywhere.
func TestGuesserAtThreeProcesses(t *testing.T) {
	const home, bad = "203.0.113.1", "198.51.100.1"
	withCluster(t, 3, byHeader, func(p []*process) {
		if status, _ := p[0].tryLogin(home, "/login", "anna", "secret"); status != http.StatusOK {
			t.Fatal(status)
		}
		first := guessEverywhere(p, bad, "anna", time.Minute)
		then := guessEverywhere(p, bad, "anna", 10*time.Minute)
		t.Logf("%d guesses in the first minute, then %d in 10 minutes", first, then)
		if first > 12+6 || then > 60+3 { // the others' clocks do not tick with that of the test
			t.Errorf("%d guesses in the first minute, then %d in 10 minutes: more than one process lets through", first, then)
		}
		for n := range 10 { // uses up the account's budget, and that of the owner's address
			p[0].guess(fmt.Sprint("198.51.100.", 10+n), "anna")
			p[1].guess(home, fmt.Sprint("user", n))
			time.Sleep(time.Second)
		}
		for n, one := range p {
			if status, _ := one.tryLogin(home, "/login", "anna", "secret"); status != http.StatusOK {
				t.Errorf("the owner, at process %d, where they have logged in: %d", n, status)
			}
			if status, _ := one.tryLogin("203.0.113.2", "/login", "anna", "secret"); status != http.StatusOK {
				t.Errorf("the owner, at process %d, elsewhere: %d", n, status)
			}
		}
	})
}

// TestGuesserWithoutBroker checks that each process counts for itself while the broker is out of
// reach, and with the others again once it is back.
func TestGuesserWithoutBroker(t *testing.T) {
	withCluster(t, 2, byHeader, func(p []*process) {
		for _, one := range p {
			one.broker.disconnect()
		}
		time.Sleep(5 * time.Second)
		for n, one := range p {
			if guesses := one.guess("198.51.100.1", "anna"); guesses != 10 {
				t.Errorf("alone, process %d lets through %d guesses in a row", n, guesses)
			}
		}
		time.Sleep(2 * time.Second) // what failed while they were alone is not told afterwards
		for _, one := range p {
			one.broker.reconnect()
		}
		time.Sleep(5 * time.Second)
		if guesses := p[0].guess("198.51.100.2", "anna"); guesses != 5 {
			t.Errorf("together, process 0 lets through %d guesses before it has heard from the other", guesses)
		}
		time.Sleep(3 * time.Second)
		if guesses := p[1].guess("198.51.100.2", "anna"); guesses != 5 {
			t.Errorf("together, process 1 lets through %d more guesses", guesses)
		}
	})
}

// TestDeviceKnownToAllProcesses checks that a browser which was logged in at one process counts as
// known at the others, also where Cluster.Key is all that they share.
func TestDeviceKnownToAllProcesses(t *testing.T) {
	withCluster(t, 2, func(o *socketauth.Options[string]) {
		o.Secret = nil
		o.Keys = []socketauth.Key{{Method: jwt.SigningMethodHS256, Sign: testSecret, Verify: testSecret}}
		o.Cluster.Key = []byte(strings.Repeat("k", 32))
	}, func(p []*process) {
		owner := p[0].browser("203.0.113.1")
		if status := owner.login("anna", "secret"); status != http.StatusOK {
			t.Fatal(status)
		}
		guesser := p[1].browser("198.51.100.1")
		guesser.made = true
		for range 60 {
			guesser.login("anna", "wrong")
			time.Sleep(100 * time.Millisecond)
		}
		if status := guesser.login("anna", "wrong"); status != http.StatusTooManyRequests {
			t.Fatalf("the account's budget is not spent: %d", status)
		}
		owner.srv = p[1].testServer
		if status := owner.login("anna", "secret"); status != http.StatusOK {
			t.Errorf("the owner, in a browser that was logged in at another process: %d", status)
		}
	})
}
