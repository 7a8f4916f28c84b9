package socketauth_test

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/crypto/bcrypt"

	"github.com/z-open/socketauth"
)

const deviceCookieName = "socketauth_device"

// browser keeps cookies and is behind a proxy that the library was not told of.
type browser struct {
	srv       *testServer
	jar       http.CookieJar
	forwarded string // the address that the proxy adds to X-Forwarded-For
	made      bool   // X-Forwarded-For is made up, another one each time
	n         int
}

// browser returns a browser without cookies whose proxy adds forwarded to X-Forwarded-For.
func (srv *testServer) browser(forwarded string) *browser {
	srv.Helper()
	jar, err := cookiejar.New(nil)
	if err != nil {
		srv.Fatal(err)
	}
	return &browser{srv: srv, jar: jar, forwarded: forwarded}
}

func (b *browser) login(username, password string) int {
	r, _ := http.NewRequest(http.MethodPost, "http://server/login", strings.NewReader(fmt.Sprintf(`{"username":%q,"password":%q}`, username, password)))
	r.Header.Set("Content-Type", "application/json")
	switch b.n++; {
	case b.made:
		r.Header.Set("X-Forwarded-For", fmt.Sprint("10.0.", b.n>>8, ".", b.n&255))
	case b.forwarded != "":
		r.Header.Set("X-Forwarded-For", "198.51.100.7, "+b.forwarded)
	}
	client := http.Client{Jar: b.jar, Transport: &http.Transport{DialContext: b.srv.DialContext, DisableKeepAlives: true}}
	res, err := client.Do(r)
	if err != nil {
		b.srv.Error(err)
		return 0
	}
	_ = res.Body.Close()
	return res.StatusCode
}

// proof returns the value of the browser's device cookie.
func (b *browser) proof() string {
	for _, c := range b.jar.Cookies(&url.URL{Scheme: "http", Host: "server", Path: "/"}) {
		if c.Name == deviceCookieName {
			return c.Value
		}
	}
	return ""
}

func (b *browser) setProof(value string) {
	b.jar.SetCookies(&url.URL{Scheme: "http", Host: "server", Path: "/"}, []*http.Cookie{{Name: deviceCookieName, Value: value}})
}

// attack guesses at anna's password twice a second.
func (srv *testServer) attack(by *browser, d time.Duration) {
	for end := time.Now().Add(d); time.Now().Before(end); time.Sleep(time.Second / 2) {
		by.login("anna", "wrong")
	}
}

// TestOwnerBehindUnknownProxy checks that behind a proxy that the library was not told of, an
// attacker's guesses do not keep the account's owner out of a browser that they have logged in
// from.
func TestOwnerBehindUnknownProxy(t *testing.T) {
	for _, tt := range []struct {
		name           string
		told, attacker string
		made           bool // the attacker makes an address up for each guess
		fresh          bool // whether the owner can log in from a new browser
	}{
		{"the proxy tells nothing", "", "", false, false},
		{"the proxy tells addresses", "203.0.113.1", "203.0.113.2", false, true},
		{"the attacker makes addresses up", "203.0.113.1", "", true, false},
		{"the attacker has the owner's address", "203.0.113.1", "203.0.113.1", false, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			before := ""
			withServer(t, nil, func(srv *testServer) {
				owner := srv.browser(tt.told)
				if status := owner.login("anna", "secret"); status != http.StatusOK {
					t.Fatal(status)
				}
				before = owner.proof()
			})
			withServer(t, nil, func(srv *testServer) { // after a restart
				owner, fresh, attacker := srv.browser(tt.told), srv.browser(tt.told), srv.browser(tt.attacker)
				owner.setProof(before)
				attacker.made = tt.made
				srv.attack(attacker, time.Minute)
				in, freshIn := 0, 0
				for range 14 {
					srv.attack(attacker, 5*time.Second)
					for attacker.login("anna", "wrong") == http.StatusUnauthorized { // just before each of the owner's logins
					}
					if owner.login("anna", "secret") == http.StatusOK {
						in++
					}
					fresh.setProof("")
					if fresh.login("anna", "secret") == http.StatusOK {
						freshIn++
					}
				}
				if in != 14 {
					t.Errorf("the owner got in %d of 14 times", in)
				}
				if tt.fresh && freshIn != 14 {
					t.Errorf("the owner, at another browser, got in %d of 14 times", freshIn)
				}
				if owner.login("anna", "wrong") != http.StatusUnauthorized {
					t.Error("the owner may not slip")
				}
				in = 0
				for range 100 {
					if owner.login("anna", "wrong") == http.StatusUnauthorized {
						in++
					}
				}
				if in != 9 {
					t.Errorf("%d more guesses at the owner's browser", in)
				}
			})
		})
	}
}

// TestDeviceProof checks that the proof in the device cookie is good for the accounts it was made
// for, for 14 days, and cannot be made or changed by others.
func TestDeviceProof(t *testing.T) {
	withServer(t, func(o *socketauth.Options[string]) {
		o.FindUserByCredentials = func(_ context.Context, c socketauth.Credentials) (string, error) {
			if c.Get("password") != "secret" {
				return "", socketauth.ErrInvalidCredentials
			}
			return c.Get("username"), nil
		}
	}, func(srv *testServer) {
		attacker := srv.browser("")
		proofFor := func(username string) string {
			b := srv.browser("")
			if status := b.login(username, "secret"); status != http.StatusOK {
				t.Fatal(status)
			}
			return b.proof()
		}
		mine, other := proofFor("anna"), proofFor("bert")
		raw, err := base64.RawURLEncoding.DecodeString(mine)
		if err != nil {
			t.Fatalf("%q: %v", mine, err)
		}
		changed := func(at int) string {
			c := append([]byte(nil), raw...)
			c[at] ^= 1
			return base64.RawURLEncoding.EncodeToString(c)
		}
		several := srv.browser("")
		for _, name := range []string{"anna", "bert", "anna", "carl", "dora"} {
			several.login(name, "secret")
		}
		if n := strings.Count(several.proof(), ".") + 1; n != 4 {
			t.Errorf("%d proofs of four accounts", n)
		}
		srv.attack(attacker, time.Minute)
		passes := func(proof string) bool {
			b := srv.browser("")
			b.setProof(proof)
			srv.attack(attacker, 2*time.Second)
			for attacker.login("anna", "wrong") == http.StatusUnauthorized {
			}
			return b.login(" ANNA", "secret") == http.StatusOK
		}
		for name, tt := range map[string]struct {
			proof string
			want  bool
		}{
			"own":             {mine, true},
			"of several":      {several.proof(), true},
			"beside nonsense": {"x." + other + ".." + mine, true},
			"after too many":  {strings.Repeat("x.", 1000) + mine, false},
			"another's":       {other, false},
			"none":            {"", false},
			"nonsense":        {"x", false},
			"short":           {mine[:20], false},
			"another device":  {changed(0), false},
			"another end":     {changed(len(raw) - 17), false}, // the last byte before an HMAC of 16
			"another HMAC":    {changed(len(raw) - 1), false},
		} {
			if got := passes(tt.proof); got != tt.want {
				t.Errorf("%s: %v", name, got)
			}
		}
		time.Sleep(14*24*time.Hour - 10*time.Minute)
		srv.attack(attacker, time.Minute)
		if !passes(mine) {
			t.Error("it is forgotten too early")
		}
		time.Sleep(10 * time.Minute)
		srv.attack(attacker, time.Minute)
		if passes(mine) {
			t.Error("it has no end")
		}
	})
}

// TestDeviceCookie checks that the device cookie is set only where ClientIP is missing and only
// after a good login, with the right attributes, and is not logged.
func TestDeviceCookie(t *testing.T) {
	ask := func(srv *testServer, password, origin string) []*http.Cookie {
		r, _ := http.NewRequest(http.MethodPost, "http://server/login", strings.NewReader(`{"username":"anna","password":"`+password+`"}`))
		r.Header.Set("Content-Type", "application/json")
		r.Header.Set("Origin", origin)
		client := http.Client{Transport: &http.Transport{DialContext: srv.DialContext, DisableKeepAlives: true}}
		res, err := client.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		_ = res.Body.Close()
		return res.Cookies()
	}
	withServer(t, nil, func(srv *testServer) {
		if c := ask(srv, "wrong", "http://server"); len(c) != 0 {
			t.Errorf("a wrong password: %v", c)
		}
		for _, secure := range []bool{false, true} {
			c := ask(srv, "secret", map[bool]string{false: "http://server", true: "https://server"}[secure])
			if len(c) != 1 || c[0].Name != deviceCookieName || !c[0].HttpOnly || c[0].Secure != secure || c[0].SameSite != http.SameSiteStrictMode || c[0].Path != "" || c[0].MaxAge != 14*24*3600 {
				t.Errorf("secure %v: %v", secure, c)
			}
			if strings.Contains(srv.logs.String(), c[0].Value) {
				t.Error("it is logged")
			}
		}
	})
	withServer(t, func(o *socketauth.Options[string]) { o.ClientIP = func(*http.Request) string { return "203.0.113.1" } }, func(srv *testServer) {
		if c := ask(srv, "secret", "http://server"); len(c) != 0 {
			t.Errorf("with ClientIP: %v", c)
		}
	})
}

// TestManyNamesInFlight checks that behind a proxy that the library was not told of, made-up names
// in flight do not fill the queue of passwords for others.
func TestManyNamesInFlight(t *testing.T) {
	for _, tt := range []struct {
		name           string
		told, attacker string
		made           bool
		proof          bool // anna has logged in there before
	}{
		{"known, nothing is told", "", "", false, true},
		{"known, addresses made up", "203.0.113.1", "", true, true},
		{"new, addresses told", "203.0.113.1", "203.0.113.2", false, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			passwords := &socketauth.Passwords{Cost: bcrypt.MinCost, Concurrent: 1}
			var hashed, turn atomic.Int32 // how many passwords were looked at, and which of them was anna's
			withServer(t, func(o *socketauth.Options[string]) {
				o.FindUserByCredentials = func(ctx context.Context, c socketauth.Credentials) (string, error) {
					err := passwords.Compare(ctx, "", c.Get("password"))
					if errors.Is(err, socketauth.ErrInvalidCredentials) {
						n := hashed.Add(1)
						if c.Get("username") == "anna" {
							turn.Store(n)
							return "anna", nil
						}
					}
					return "", err
				}
			}, func(srv *testServer) {
				anna := srv.browser(tt.told)
				if tt.proof {
					if status := anna.login("anna", "secret"); status != http.StatusOK {
						t.Fatal(status)
					}
				}
				release, err := socketauth.Occupy(passwords)
				if err != nil {
					t.Fatal(err)
				}
				hashed.Store(0)
				var wg sync.WaitGroup
				attacker := srv.browser(tt.attacker)
				for n := range 200 {
					b := *attacker
					b.made, b.n = tt.made, n
					wg.Go(func() { b.login(fmt.Sprint("random", n), "x") })
				}
				synctest.Wait()
				status := make(chan int, 1)
				wg.Go(func() { status <- anna.login("anna", "secret") })
				synctest.Wait()
				release()
				wg.Wait()
				if got := <-status; got != http.StatusOK {
					t.Errorf("anna: %d", got)
				}
				if n := turn.Load(); n > 2 {
					t.Errorf("anna's turn was number %d", n)
				}
			})
		})
	}
}

// TestSeveralDeviceCookies checks that all device cookies of a request are read, since another path
// or another host of the site may have set some.
func TestSeveralDeviceCookies(t *testing.T) {
	withServer(t, nil, func(srv *testServer) {
		owner, attacker := srv.browser(""), srv.browser("")
		if status := owner.login("anna", "secret"); status != http.StatusOK {
			t.Fatal(status)
		}
		srv.attack(attacker, time.Minute)
		for name, cookie := range map[string]string{
			"first":             deviceCookieName + "=" + owner.proof() + "; " + deviceCookieName + "=x",
			"last":              deviceCookieName + "=x; " + deviceCookieName + "=" + owner.proof(),
			"after the longest": strings.Repeat(deviceCookieName+"="+strings.Repeat(owner.proof()[:53]+"A.", 4)+"; ", 3) + deviceCookieName + "=" + owner.proof(),
		} {
			srv.attack(attacker, 2*time.Second)
			for attacker.login("anna", "wrong") == http.StatusUnauthorized {
			}
			r, _ := http.NewRequest(http.MethodPost, "http://server/login", strings.NewReader(`{"username":"anna","password":"secret"}`))
			r.Header.Set("Content-Type", "application/json")
			r.Header.Set("Cookie", cookie)
			res, err := (&http.Transport{DialContext: srv.DialContext, DisableKeepAlives: true}).RoundTrip(r)
			if err != nil {
				t.Fatal(err)
			}
			_ = res.Body.Close()
			if res.StatusCode != http.StatusOK {
				t.Errorf("%s: %d", name, res.StatusCode)
			}
			seen := make(map[string]bool)
			for value := range strings.SplitSeq(res.Cookies()[0].Value, ".") {
				if seen[value] {
					t.Errorf("%s: a proof is kept twice", name)
				}
				seen[value] = true
			}
		}
	})
}

// TestAccountSpellingsShareTurns checks that the spellings of an account that a device was let in
// to share its turns at the passwords.
func TestAccountSpellingsShareTurns(t *testing.T) {
	passwords := &socketauth.Passwords{Cost: bcrypt.MinCost, Concurrent: 1}
	var hashed, turn atomic.Int32 // how many passwords were looked at, and which of them was anna's
	withServer(t, func(o *socketauth.Options[string]) {
		o.FindUserByCredentials = func(ctx context.Context, c socketauth.Credentials) (string, error) {
			err := passwords.Compare(ctx, "", c.Get("password"))
			if errors.Is(err, socketauth.ErrInvalidCredentials) {
				if n := hashed.Add(1); c.Get("username") == "anna" {
					turn.Store(n)
				}
				return c.Get("username"), nil
			}
			return "", err
		}
	}, func(srv *testServer) {
		anna, mallory := srv.browser(""), srv.browser("")
		if anna.login("anna", "secret") != http.StatusOK || mallory.login("mallory", "secret") != http.StatusOK {
			t.Fatal("the logins failed")
		}
		release, err := socketauth.Occupy(passwords)
		if err != nil {
			t.Fatal(err)
		}
		hashed.Store(0)
		var wg sync.WaitGroup
		for n := range 10 {
			b := *mallory
			wg.Go(func() { b.login(strings.Repeat(" ", n)+"mallory", "secret") })
		}
		synctest.Wait()
		wg.Go(func() { anna.login("anna", "secret") })
		synctest.Wait()
		release()
		wg.Wait()
		if n := turn.Load(); n != 2 {
			t.Errorf("anna's turn was number %d", n)
		}
	})
}
