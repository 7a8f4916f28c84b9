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

// byHeader reads the client's address from a header, as behind a proxy.
func byHeader(o *socketauth.Options[string]) {
	o.ClientIP = func(r *http.Request) string { return r.Header.Get("X-Real-IP") }
}

// tryLogin logs in, or registers, from an address.
func (srv *testServer) tryLogin(address, path, username, password string) (status int, retryAfter string) {
	srv.Helper()
	r, _ := http.NewRequest(http.MethodPost, "http://server"+path, strings.NewReader(fmt.Sprintf(`{"username":%q,"password":%q}`, username, password)))
	r.Header.Set("Content-Type", "application/json")
	r.Header.Set("X-Real-IP", address)
	client := http.Client{Transport: &http.Transport{DialContext: srv.DialContext, DisableKeepAlives: true}}
	res, err := client.Do(r)
	if err != nil {
		srv.Error(err)
		return 0, ""
	}
	_ = res.Body.Close()
	return res.StatusCode, res.Header.Get("Retry-After")
}

// guess tries wrong passwords until it is throttled, and returns after how many.
func (srv *testServer) guess(address, username string) int {
	srv.Helper()
	for n := range 200 {
		switch status, retry := srv.tryLogin(address, "/login", username, "wrong"); {
		case status == http.StatusTooManyRequests && retry != "" && retry != "0":
			return n
		case status != http.StatusUnauthorized:
			srv.Fatalf("status %d, Retry-After %q", status, retry)
		}
	}
	return 200
}

// tryBothNames logs in with both of the fields that may name an account.
func (srv *testServer) tryBothNames(address, username, email, password string) int {
	srv.Helper()
	r, _ := http.NewRequest(http.MethodPost, "http://server/login", strings.NewReader(fmt.Sprintf(`{"username":%q,"email":%q,"password":%q}`, username, email, password)))
	r.Header.Set("Content-Type", "application/json")
	r.Header.Set("X-Real-IP", address)
	client := http.Client{Transport: &http.Transport{DialContext: srv.DialContext, DisableKeepAlives: true}}
	res, err := client.Do(r)
	if err != nil {
		srv.Fatal(err)
	}
	_ = res.Body.Close()
	return res.StatusCode
}

// TestGuessingAtOneAccount checks that guesses at one account from one address are throttled, in
// any spelling and at registration too, and that the owner elsewhere is not.
func TestGuessingAtOneAccount(t *testing.T) {
	withServer(t, byHeader, func(srv *testServer) {
		if n := srv.guess("203.0.113.1", "anna"); n != 10 {
			t.Errorf("after %d guesses", n)
		}
		for _, username := range []string{" ANNA ", "Anna"} { // the same account
			if status, _ := srv.tryLogin("203.0.113.1", "/login", username, "wrong"); status != http.StatusTooManyRequests {
				t.Errorf("%q: %d", username, status)
			}
		}
		if status, _ := srv.tryLogin("203.0.113.1", "/register", "anna", "wrong"); status != http.StatusTooManyRequests {
			t.Errorf("a registration: %d, though it is one budget", status)
		}
		if status, _ := srv.tryLogin("203.0.113.1", "/login", "anna", "secret"); status != http.StatusTooManyRequests {
			t.Errorf("the right password: %d; the answer would tell it to a guesser", status)
		}
		srv.expectLogged("limit=attempts")
		if s := srv.Auth().Stats(); s.Limited["attempts"] != 5 || s.Logins["TOO_MANY_ATTEMPTS"] != 5 {
			t.Errorf("%+v", s)
		}
		if status, _ := srv.tryLogin("203.0.113.2", "/login", "anna", "secret"); status != http.StatusOK {
			t.Errorf("the owner, from elsewhere: %d", status)
		}
		time.Sleep(10 * time.Second)
		if status, _ := srv.tryLogin("203.0.113.1", "/login", "anna", "secret"); status != http.StatusOK {
			t.Errorf("ten seconds later: %d", status)
		}
	})
}

// TestNobodyLockedOut checks that neither guesses from many addresses nor those of a neighbour lock
// an owner out.
func TestNobodyLockedOut(t *testing.T) {
	withServer(t, byHeader, func(srv *testServer) {
		if status, _ := srv.tryLogin("203.0.113.9", "/login", "anna", "secret"); status != http.StatusOK {
			t.Fatal(status)
		}
		for n := range 40 { // a botnet
			srv.guess(fmt.Sprintf("198.51.100.%d", n), "anna")
		}
		if status, _ := srv.tryLogin("203.0.113.9", "/login", "anna", "secret"); status != http.StatusOK {
			t.Errorf("the owner, where they have logged in before: %d", status)
		}
		if status, _ := srv.tryLogin("203.0.113.10", "/login", "anna", "secret"); status != http.StatusOK {
			t.Errorf("the owner, elsewhere: %d", status)
		}
		for n := range 20 { // one address at many accounts
			srv.guess("203.0.113.20", fmt.Sprint("user", n))
		}
		began := time.Now()
		for { // a neighbour behind the same address, who waits for as long as Retry-After says
			status, retry := srv.tryLogin("203.0.113.20", "/login", "anna", "secret")
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

// TestKnownAddressNotThrottled checks that a user who has logged in from an address is not
// throttled there by what others do.
func TestKnownAddressNotThrottled(t *testing.T) {
	withServer(t, byHeader, func(srv *testServer) {
		const shared = "203.0.113.1"
		if status, _ := srv.tryLogin(shared, "/login", "anna", "secret"); status != http.StatusOK {
			t.Fatal(status)
		}
		for n := range 20 { // a neighbour uses up what the address may fail
			srv.guess(shared, fmt.Sprint("user", n))
		}
		if status, _ := srv.tryLogin(shared, "/login", "anna", "wrong"); status != http.StatusUnauthorized {
			t.Errorf("a slip of anna's: %d", status)
		}
		if status, _ := srv.tryLogin(shared, "/login", "anna", "secret"); status != http.StatusOK {
			t.Errorf("anna: %d", status)
		}
	})
}

// TestGuessesAtOnce checks that as few guesses pass when sent at once as one after another.
func TestGuessesAtOnce(t *testing.T) {
	withServer(t, byHeader, func(srv *testServer) {
		var through atomic.Int32
		var wg sync.WaitGroup
		for range 100 {
			wg.Go(func() {
				if status, _ := srv.tryLogin("203.0.113.1", "/login", "anna", "wrong"); status == http.StatusUnauthorized {
					through.Add(1)
				}
			})
		}
		wg.Wait()
		if n := through.Load(); n != 10 {
			t.Errorf("%d of 100 passed", n)
		}
	})
}

// TestOrdinaryUseNotThrottled checks that many good logins from one address are not throttled, nor
// those that fail by an outage.
func TestOrdinaryUseNotThrottled(t *testing.T) {
	withServer(t, byHeader, func(srv *testServer) {
		var wg sync.WaitGroup
		login := func() {
			wg.Go(func() {
				if status, _ := srv.tryLogin("203.0.113.1", "/login", "anna", "secret"); status != http.StatusOK {
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
		for range 30 { // an outage is no failed guess
			if status, _ := srv.tryLogin("203.0.113.1", "/login", "down", "x"); status != http.StatusInternalServerError {
				t.Errorf("status %d", status)
			}
		}
	})
}

// TestForgedTokensThrottled checks that forged tokens from one address are throttled, that expired
// and replaced ones are not, and that neither locks a user out.
func TestForgedTokensThrottled(t *testing.T) {
	withServer(t, func(o *socketauth.Options[string]) {
		o.ReusePolicy = socketauth.RejectOnly
		o.ClientIP = func(*http.Request) string { return "203.0.113.1" }
	}, func(srv *testServer) {
		live, dead := srv.authenticated()
		live.authenticate(dead)
		token := live.expectToken()
		expired := srv.code()
		time.Sleep(time.Minute)
		for range 100 {
			srv.expectTokenRefused(dead, "no_longer_valid")
			srv.expectTokenRefused(expired, "token_expired")
		}
		refused := make(map[string]int)
		for n := range 100 {
			c := srv.dial("")
			text := "x"
			if n%2 == 1 { // well made, for anna, by another key
				text, _ = jwt.NewWithClaims(jwt.SigningMethodHS256, jwt.MapClaims{"sub": "anna"}).SignedString([]byte("another key of thirty-two bytes."))
			}
			c.authenticate(text)
			frame, _ := c.packetWithin(time.Minute)
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
		c := srv.dial("") // a good token is accepted
		c.authenticate(token)
		c.expectToken()
		if status, _ := srv.tryLogin("", "/login", "anna", "secret"); status != http.StatusOK {
			t.Errorf("anna's own account: %d", status) // a forged "sub" does not count against anna
		}
		synctest.Wait()
	})
}

// TestAccountOption checks that Account names what guesses are counted by.
func TestAccountOption(t *testing.T) {
	withServer(t, func(o *socketauth.Options[string]) {
		byHeader(o)
		o.Account = func(c socketauth.Credentials) string { return c.Get("password") } // an unusual choice
	}, func(srv *testServer) {
		for n := range 10 {
			srv.tryLogin("203.0.113.1", "/login", fmt.Sprint(n), "wrong")
		}
		if status, _ := srv.tryLogin("203.0.113.1", "/login", "someone else", "wrong"); status != http.StatusTooManyRequests {
			t.Errorf("status %d", status)
		}
		if status, _ := srv.tryLogin("203.0.113.1", "/login", "anna", "secret"); status != http.StatusOK {
			t.Errorf("status %d", status)
		}
	})
}

// TestAccountPanics checks that a login whose Account panics, for example because a field is
// missing, fails rather than going on without being counted for an account.
func TestAccountPanics(t *testing.T) {
	for name, change := range map[string]func(*socketauth.Options[string]){
		"an address": byHeader, "an unknown proxy": func(*socketauth.Options[string]) {},
	} {
		withServer(t, func(o *socketauth.Options[string]) {
			change(o)
			o.Account = func(c socketauth.Credentials) string { return c["tenant"].(string) + "/" + c.Get("username") }
		}, func(srv *testServer) {
			for n := range 30 {
				if status, _ := srv.tryLogin(fmt.Sprint("203.0.113.", n), "/login", "anna", []string{"wrong", "secret"}[n%2]); status != http.StatusInternalServerError {
					t.Errorf("%s, login %d: %d", name, n, status)
				}
			}
			srv.expectLogged("hook=Account")
		})
	}
}

// TestLimitFailures checks the limits of failures for each account and address.
func TestLimitFailures(t *testing.T) {
	for _, tt := range []struct {
		limits socketauth.Limits
		want   int
	}{{socketauth.Limits{FailuresPerAccount: 5}, 3}, {socketauth.Limits{FailuresPerAccount: 20}, 10}, {socketauth.Limits{FailuresPerAccount: socketauth.NoLimit, FailuresPerAddress: 20}, 20}, {socketauth.Limits{FailuresPerAccount: socketauth.NoLimit, FailuresPerAddress: socketauth.NoLimit}, 200}} {
		withServer(t, func(o *socketauth.Options[string]) { byHeader(o); o.Limits = tt.limits }, func(srv *testServer) {
			if n := srv.guess("203.0.113.1", "anna"); n != tt.want {
				t.Errorf("%+v: after %d guesses", tt.limits, n)
			}
		})
	}
}

// TestUnusedFieldHidesNoAccount checks that a made-up user name beside the e-mail by which the app
// looks users up does not hide the account from the count.
func TestUnusedFieldHidesNoAccount(t *testing.T) {
	withServer(t, byHeader, func(srv *testServer) {
		through := 0
		for n := range 40 {
			r, _ := http.NewRequest(http.MethodPost, "http://server/login", strings.NewReader(fmt.Sprintf(`{"username":"x%d","email":"ada@example.com","password":"wrong"}`, n)))
			r.Header.Set("Content-Type", "application/json")
			r.Header.Set("X-Real-IP", fmt.Sprintf("203.0.113.%d", n%3))
			client := http.Client{Transport: &http.Transport{DialContext: srv.DialContext, DisableKeepAlives: true}}
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
			t.Errorf("%d guesses at one account passed", through)
		}
		if n := strings.Count(srv.logs.String(), "login refused"); n > 21 {
			t.Errorf("%d lines for what was held up", n)
		}
	})
}

// TestBothNamesOfLoginCount checks that both names of a login are counted with its address: else a
// guesser had twice as many guesses, and could lock out an owner who sends both.
func TestBothNamesOfLoginCount(t *testing.T) {
	withServer(t, byHeader, func(srv *testServer) {
		through := 0
		for n := range 40 {
			if srv.tryBothNames("203.0.113.1", fmt.Sprint("x", n), "ada@example.com", "wrong") == http.StatusUnauthorized {
				through++
			}
		}
		if through != 10 {
			t.Errorf("%d guesses from one address", through)
		}
		for range 40 { // from another address, at anna's account
			srv.guess("203.0.113.2", "anna@example.com")
			srv.guess("203.0.113.2", "anna")
			time.Sleep(time.Second)
		}
		for range 12 {
			if status := srv.tryBothNames("203.0.113.3", "anna", "anna@example.com", "secret"); status != http.StatusOK {
				t.Errorf("the owner, who sends both: %d", status)
			}
		}
	})
}

// TestGuessesOfWideNetwork checks that all of one IPv6 /48 share the guesses at one account.
func TestGuessesOfWideNetwork(t *testing.T) {
	withServer(t, byHeader, func(srv *testServer) {
		through := 0
		for n := range 200 {
			if status, _ := srv.tryLogin(fmt.Sprintf("2001:db8:1:%x::1", n), "/login", "anna", "wrong"); status == http.StatusUnauthorized {
				through++
			}
		}
		if through != 10 {
			t.Errorf("%d guesses", through)
		}
		if status, _ := srv.tryLogin("2001:db8:2::1", "/login", "anna", "secret"); status != http.StatusOK {
			t.Errorf("the owner, elsewhere: %d", status)
		}
	})
}

// TestOneAddressManyLogins checks that logins and registrations of one address, even good ones, do
// not fill the queue of passwords for others.
func TestOneAddressManyLogins(t *testing.T) {
	passwords := &socketauth.Passwords{Cost: bcrypt.MinCost}
	passwords.Concurrent = 1
	var hashed, order atomic.Int32 // how many passwords were hashed, and which of them was anna's
	withServer(t, func(o *socketauth.Options[string]) {
		byHeader(o)
		o.FindUserByCredentials = func(ctx context.Context, c socketauth.Credentials) (string, error) {
			_, err := passwords.Hash(ctx, c.Get("password"))
			if n := hashed.Add(1); c.Get("username") == "anna" {
				order.Store(n)
			}
			return c.Get("username"), err
		}
		o.Register = o.FindUserByCredentials
	}, func(srv *testServer) {
		release, err := socketauth.Occupy(passwords) // until release
		if err != nil {
			t.Fatal(err)
		}
		var wg sync.WaitGroup
		var told sync.Map
		try := func(address, path, username string) {
			wg.Go(func() {
				status, retry := srv.tryLogin(address, path, username, "secret")
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
		if s := srv.Auth().Stats(); s.Limited["attempts"] != 50 || strings.Count(srv.logs.String(), "limit=attempts") != 1 {
			t.Errorf("counted %v", s.Limited)
		}
	})
}
