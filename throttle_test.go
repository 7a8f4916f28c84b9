package socketauth_test

import (
	"context"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"golang.org/x/crypto/bcrypt"

	"github.com/z-open/socketauth"
)

// byHeader has the address of each request named by a header, as behind a proxy.
func byHeader(o *socketauth.Options[string]) {
	o.ClientIP = func(r *http.Request) string { return r.Header.Get("X-Real-IP") }
}

// try logs in, or registers, from an address.
func (w *world) try(address, path, username, password string) (status int, retryAfter string) {
	w.Helper()
	r, _ := http.NewRequest(http.MethodPost, "http://server"+path, strings.NewReader(fmt.Sprintf(`{"username":%q,"password":%q}`, username, password)))
	r.Header.Set("Content-Type", "application/json")
	r.Header.Set("X-Real-IP", address)
	client := http.Client{Transport: &http.Transport{DialContext: w.DialContext, DisableKeepAlives: true}}
	res, err := client.Do(r)
	if err != nil {
		w.Error(err)
		return 0, ""
	}
	_ = res.Body.Close()
	return res.StatusCode, res.Header.Get("Retry-After")
}

// guess tries wrong passwords until it is held up, and says after how many.
func (w *world) guess(address, username string) int {
	w.Helper()
	for n := range 200 {
		switch status, retry := w.try(address, "/login", username, "wrong"); {
		case status == http.StatusTooManyRequests && retry != "" && retry != "0":
			return n
		case status != http.StatusUnauthorized:
			w.Fatalf("status %d, Retry-After %q", status, retry)
		}
	}
	return 200
}

// tryBoth logs in with both of the fields that may name an account.
func (w *world) tryBoth(address, username, email, password string) int {
	w.Helper()
	r, _ := http.NewRequest(http.MethodPost, "http://server/login", strings.NewReader(fmt.Sprintf(`{"username":%q,"email":%q,"password":%q}`, username, email, password)))
	r.Header.Set("Content-Type", "application/json")
	r.Header.Set("X-Real-IP", address)
	client := http.Client{Transport: &http.Transport{DialContext: w.DialContext, DisableKeepAlives: true}}
	res, err := client.Do(r)
	if err != nil {
		w.Fatal(err)
	}
	_ = res.Body.Close()
	return res.StatusCode
}

func TestGuessingAtOneAccountIsHeldUp(t *testing.T) {
	inWorld(t, byHeader, func(w *world) {
		if n := w.guess("203.0.113.1", "anna"); n != 10 {
			t.Errorf("after %d guesses", n)
		}
		for _, username := range []string{" ANNA ", "Anna"} { // the same account
			if status, _ := w.try("203.0.113.1", "/login", username, "wrong"); status != http.StatusTooManyRequests {
				t.Errorf("%q: %d", username, status)
			}
		}
		if status, _ := w.try("203.0.113.1", "/register", "anna", "wrong"); status != http.StatusTooManyRequests {
			t.Errorf("a registration: %d, though it is one budget", status)
		}
		if status, _ := w.try("203.0.113.1", "/login", "anna", "secret"); status != http.StatusTooManyRequests {
			t.Errorf("the right password: %d; the answer would tell who guesses", status)
		}
		w.logged("limit=attempts")
		if s := w.Auth().Stats(); s.Limited["attempts"] != 5 || s.Logins["TOO_MANY_ATTEMPTS"] != 5 {
			t.Errorf("%+v", s)
		}
		if status, _ := w.try("203.0.113.2", "/login", "anna", "secret"); status != http.StatusOK {
			t.Errorf("the owner, from elsewhere: %d", status)
		}
		time.Sleep(10 * time.Second)
		if status, _ := w.try("203.0.113.1", "/login", "anna", "secret"); status != http.StatusOK {
			t.Errorf("ten seconds later: %d", status)
		}
	})
}

func TestNobodyIsLockedOutByOthers(t *testing.T) {
	inWorld(t, byHeader, func(w *world) {
		if status, _ := w.try("203.0.113.9", "/login", "anna", "secret"); status != http.StatusOK {
			t.Fatal(status)
		}
		for n := range 40 { // a botnet
			w.guess(fmt.Sprintf("198.51.100.%d", n), "anna")
		}
		if status, _ := w.try("203.0.113.9", "/login", "anna", "secret"); status != http.StatusOK {
			t.Errorf("the owner, where they have logged in before: %d", status)
		}
		if status, _ := w.try("203.0.113.10", "/login", "anna", "secret"); status != http.StatusOK {
			t.Errorf("the owner, elsewhere: %d", status)
		}
		for n := range 20 { // one address at many accounts
			w.guess("203.0.113.20", fmt.Sprint("user", n))
		}
		began := time.Now()
		for { // a neighbour behind the same address, who comes back as told
			status, retry := w.try("203.0.113.20", "/login", "anna", "secret")
			if status == http.StatusOK {
				break
			}
			seconds, err := strconv.Atoi(retry)
			if err != nil || time.Since(began) > 10*time.Second {
				t.Fatalf("a neighbour: status %d after %v, Retry-After %q", status, time.Since(began), retry)
			}
			time.Sleep(time.Duration(seconds) * time.Second)
		}
	})
}

func TestWhoHasLoggedInFromAnAddressIsNotHeldUpThereByOthers(t *testing.T) {
	// Guards: a log-in that went well has to be told to what counts failures, or it makes nobody known.
	inWorld(t, byHeader, func(w *world) {
		const shared = "203.0.113.1"
		if status, _ := w.try(shared, "/login", "anna", "secret"); status != http.StatusOK {
			t.Fatal(status)
		}
		for n := range 20 { // of a neighbour, who spends the budget of the address
			w.guess(shared, fmt.Sprint("user", n))
		}
		if status, _ := w.try(shared, "/login", "anna", "wrong"); status != http.StatusUnauthorized {
			t.Errorf("a slip of anna's: %d", status)
		}
		if status, _ := w.try(shared, "/login", "anna", "secret"); status != http.StatusOK {
			t.Errorf("anna: %d", status)
		}
	})
}

func TestGuessesAtOnceAreAsFewAsInARow(t *testing.T) {
	// Guards: to look first and to count later would let as many through as can be sent meanwhile.
	inWorld(t, byHeader, func(w *world) {
		var through atomic.Int32
		var wg sync.WaitGroup
		for range 100 {
			wg.Go(func() {
				if status, _ := w.try("203.0.113.1", "/login", "anna", "wrong"); status == http.StatusUnauthorized {
					through.Add(1)
				}
			})
		}
		wg.Wait()
		if n := through.Load(); n != 10 {
			t.Errorf("%d of 100 came through", n)
		}
	})
}

func TestOrdinaryUseIsNotHeldUp(t *testing.T) {
	inWorld(t, byHeader, func(w *world) {
		var wg sync.WaitGroup
		login := func() {
			wg.Go(func() {
				if status, _ := w.try("203.0.113.1", "/login", "anna", "secret"); status != http.StatusOK {
					t.Errorf("status %d", status)
				}
			})
		}
		for range 40 { // at once
			login()
		}
		wg.Wait()
		for range 300 { // ten a second
			login()
			time.Sleep(time.Second / 10)
		}
		wg.Wait()
		for range 30 { // an outage is nobody's guess
			if status, _ := w.try("203.0.113.1", "/login", "down", "x"); status != http.StatusInternalServerError {
				t.Errorf("status %d", status)
			}
		}
	})
}

func TestTokensThatNobodySignedAreHeldUpAndDeadOnesAreNot(t *testing.T) {
	inWorld(t, func(o *socketauth.Options[string]) {
		o.ReusePolicy = socketauth.RejectOnly
		o.ClientIP = func(*http.Request) string { return "203.0.113.1" }
	}, func(w *world) {
		live, dead := w.in()
		live.authenticate(dead)
		token := live.token()
		expired := w.code()
		time.Sleep(time.Minute)
		for range 100 {
			w.refuses(dead, "no_longer_valid")
			w.refuses(expired, "token_expired")
		}
		refused := make(map[string]int)
		for n := range 100 {
			c := w.dial("")
			text := "x"
			if n%2 == 1 { // well made, for anna, by another key
				text, _ = jwt.NewWithClaims(jwt.SigningMethodHS256, jwt.MapClaims{"sub": "anna"}).SignedString([]byte("another key of thirty-two bytes."))
			}
			c.authenticate(text)
			frame, _ := c.frameWithin(time.Minute)
			for _, code := range []string{"invalid_token", "too_many_attempts"} {
				if strings.Contains(frame, `"code":"`+code+`"`) {
					refused[code]++
				}
			}
			if strings.Contains(frame, "too_many_attempts") && !strings.Contains(frame, `"retryAfter":`) {
				t.Error(frame)
			}
		}
		if refused["invalid_token"] != 60 || refused["too_many_attempts"] != 40 {
			t.Errorf("%v", refused)
		}
		c := w.dial("") // who has a good one is let in
		c.authenticate(token)
		c.token()
		if status, _ := w.try("", "/login", "anna", "secret"); status != http.StatusOK {
			t.Errorf("anna's own account: %d", status) // a forged "sub" is not held against her
		}
		synctest.Wait()
	})
}

func TestAccountIsNamedByTheApp(t *testing.T) {
	inWorld(t, func(o *socketauth.Options[string]) {
		byHeader(o)
		o.Account = func(c socketauth.Credentials) string { return c.Get("password") } // as odd as can be
	}, func(w *world) {
		for n := range 10 {
			w.try("203.0.113.1", "/login", fmt.Sprint(n), "wrong")
		}
		if status, _ := w.try("203.0.113.1", "/login", "someone else", "wrong"); status != http.StatusTooManyRequests {
			t.Errorf("status %d", status)
		}
		if status, _ := w.try("203.0.113.1", "/login", "anna", "secret"); status != http.StatusOK {
			t.Errorf("status %d", status)
		}
	})
}

func TestAccountThatPanicsLetsNobodyGuess(t *testing.T) {
	// Guards: where Options.Account panicked, because of a field that is missing for example, the login went on, and was
	// counted for no account.
	for name, change := range map[string]func(*socketauth.Options[string]){
		"an address": byHeader, "an unknown proxy": func(*socketauth.Options[string]) {},
	} {
		inWorld(t, func(o *socketauth.Options[string]) {
			change(o)
			o.Account = func(c socketauth.Credentials) string { return c["tenant"].(string) + "/" + c.Get("username") }
		}, func(w *world) {
			for n := range 30 {
				if status, _ := w.try(fmt.Sprint("203.0.113.", n), "/login", "anna", []string{"wrong", "secret"}[n%2]); status != http.StatusInternalServerError {
					t.Errorf("%s, login %d: %d", name, n, status)
				}
			}
			w.logged("hook=Account")
		})
	}
}

func TestLimitsOfFailures(t *testing.T) {
	for _, tt := range []struct {
		limits socketauth.Limits
		want   int
	}{{socketauth.Limits{FailuresPerAccount: 5}, 3}, {socketauth.Limits{FailuresPerAccount: 20}, 10}, {socketauth.Limits{FailuresPerAccount: socketauth.NoLimit, FailuresPerAddress: 20}, 20}, {socketauth.Limits{FailuresPerAccount: socketauth.NoLimit, FailuresPerAddress: socketauth.NoLimit}, 200}} {
		inWorld(t, func(o *socketauth.Options[string]) { byHeader(o); o.Limits = tt.limits }, func(w *world) {
			if n := w.guess("203.0.113.1", "anna"); n != tt.want {
				t.Errorf("%+v: after %d guesses", tt.limits, n)
			}
		})
	}
}

func TestFieldThatTheAppDoesNotReadHidesNoAccount(t *testing.T) {
	// Guards: where an app looks users up by their e-mail, a made-up user name beside it must not be what is counted.
	inWorld(t, byHeader, func(w *world) {
		through := 0
		for n := range 40 {
			r, _ := http.NewRequest(http.MethodPost, "http://server/login", strings.NewReader(fmt.Sprintf(`{"username":"x%d","email":"ada@example.com","password":"wrong"}`, n)))
			r.Header.Set("Content-Type", "application/json")
			r.Header.Set("X-Real-IP", fmt.Sprintf("203.0.113.%d", n%3))
			client := http.Client{Transport: &http.Transport{DialContext: w.DialContext, DisableKeepAlives: true}}
			res, err := client.Do(r)
			if err != nil {
				t.Fatal(err)
			}
			_ = res.Body.Close()
			if res.StatusCode == http.StatusUnauthorized {
				through++
			}
		}
		if through > 20 {
			t.Errorf("%d guesses at one account came through", through)
		}
		if n := strings.Count(w.logs.String(), "login refused"); n > 21 {
			t.Errorf("%d lines for what was held up", n)
		}
	})
}

func TestBothNamesOfALoginCountForItsAddress(t *testing.T) {
	// Guards: the second of two names was counted without the address, which gave a guesser twice as many guesses, and
	// let one address lock out an owner who sends both.
	inWorld(t, byHeader, func(w *world) {
		through := 0
		for n := range 40 {
			if w.tryBoth("203.0.113.1", fmt.Sprint("x", n), "ada@example.com", "wrong") == http.StatusUnauthorized {
				through++
			}
		}
		if through != 10 {
			t.Errorf("%d guesses from one address", through)
		}
		for range 40 { // another address, at anna
			w.guess("203.0.113.2", "anna@example.com")
			w.guess("203.0.113.2", "anna")
			time.Sleep(time.Second)
		}
		for range 12 {
			if status := w.tryBoth("203.0.113.3", "anna", "anna@example.com", "secret"); status != http.StatusOK {
				t.Errorf("the owner, who sends both: %d", status)
			}
		}
	})
}

func TestGuessesOfAWideNetwork(t *testing.T) {
	// Guards: an IPv6 /48 has 65,536 networks of /64, each of which had guesses of its own at one account.
	inWorld(t, byHeader, func(w *world) {
		through := 0
		for n := range 200 {
			if status, _ := w.try(fmt.Sprintf("2001:db8:1:%x::1", n), "/login", "anna", "wrong"); status == http.StatusUnauthorized {
				through++
			}
		}
		if through != 10 {
			t.Errorf("%d guesses", through)
		}
		if status, _ := w.try("2001:db8:2::1", "/login", "anna", "secret"); status != http.StatusOK {
			t.Errorf("the owner, elsewhere: %d", status)
		}
	})
}

func TestOneAddressCannotHaveAllTurnsOfTheHooks(t *testing.T) {
	// Guards: logins that succeed, and registrations, of one address must not fill the queue of passwords for all.
	passwords := &socketauth.Passwords{Cost: bcrypt.MinCost}
	passwords.Concurrent = 1
	var hashed, order atomic.Int32 // how many were, and when anna's
	inWorld(t, func(o *socketauth.Options[string]) {
		byHeader(o)
		o.FindUserByCredentials = func(ctx context.Context, c socketauth.Credentials) (string, error) {
			_, err := passwords.Hash(ctx, c.Get("password"))
			if n := hashed.Add(1); c.Get("username") == "anna" {
				order.Store(n)
			}
			return c.Get("username"), err
		}
		o.Register = o.FindUserByCredentials
	}, func(w *world) {
		release, err := socketauth.Occupy(passwords) // by something that takes its time
		if err != nil {
			t.Fatal(err)
		}
		var wg sync.WaitGroup
		var told sync.Map
		try := func(address, path, username string) {
			wg.Go(func() {
				status, retry := w.try(address, path, username, "secret")
				count, _ := told.LoadOrStore(fmt.Sprint(address, " ", status, " ", retry), new(atomic.Int32))
				count.(*atomic.Int32).Add(1)
			})
		}
		for n := range 100 {
			try("203.0.113.1", []string{"/login", "/register"}[n%2], fmt.Sprint("mine", n))
		}
		synctest.Wait()
		try("203.0.113.2", "/login", "anna")
		synctest.Wait()
		release()
		wg.Wait()
		if n := order.Load(); n > 10 {
			t.Errorf("another address came as number %d", n)
		}
		for name, want := range map[string]int32{"203.0.113.1 200 ": 50, "203.0.113.1 429 1": 50, "203.0.113.2 200 ": 1} {
			if count, ok := told.Load(name); !ok || count.(*atomic.Int32).Load() != want {
				t.Errorf("%q is not %d: %v", name, want, count)
			}
		}
		if s := w.Auth().Stats(); s.Limited["attempts"] != 50 || strings.Count(w.logs.String(), "limit=attempts") != 1 {
			t.Errorf("counted %v", s.Limited)
		}
	})
}
