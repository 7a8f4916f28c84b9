package socketauth_test

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/z-open/socketauth"
)

// TestTokenPathLimits checks that a session may have its token replaced 60 times in a row, then
// once every two seconds; that no old token, no other session and nobody at the same address can
// spend that; and that tokens which nobody has signed count as failures of the address.
func TestTokenPathLimits(t *testing.T) {
	withTokens(t, func(o *socketauth.Options[string]) {
		o.ReusePolicy = socketauth.RejectOnly
		o.ClientIP = func(*http.Request) string { return "192.0.2.1" }
	}, func(srv *testServer) {
		stolen := srv.rotated(srv.code())
		token := srv.rotated(stolen)
		time.Sleep(time.Hour)
		for range 100 {
			srv.exchange(stolen).wants(t, 401, "no_longer_valid")
		}
		n := 0
		a := srv.exchange(token)
		for ; a.status == 200 && n < 200; n++ {
			a = srv.exchange(a.token)
		}
		if n != 60 {
			t.Errorf("%d in a row", n)
		}
		a.wants(t, 429, "too_many_attempts")
		if a.header.Get("Retry-After") != "2" {
			t.Errorf("Retry-After %s", a.header.Get("Retry-After"))
		}
		if got := srv.Auth().Stats().Limited["exchanges"]; got != 1 {
			t.Errorf("Stats: %d", got)
		}
		n = 0
		confirming := srv.rotated(srv.code()) // another session
		for ; srv.confirmToken(confirming).status == 204 && n < 200; n++ {
		}
		if n != 59 { // and that of rotated
			t.Errorf("%d confirmations in a row", n)
		}
		before := confirming
		confirming = srv.rotated(confirming)
		for range 100 { // which are accepted, since it did hold its generation
			srv.confirmToken(before)
		}
		srv.rotated(confirming)
		for range 100 {
			srv.exchange("garbage")
		}
		srv.exchange("garbage").wants(t, 429, "too_many_attempts")
		srv.end("garbage").wants(t, 429, "too_many_attempts")
		srv.rotated(srv.rotated(srv.code())) // a good token is never delayed
	})
}

// TestTokenPathLimitsHideNoReuse checks that a thief who exhausts what the session has of exchanges
// does not keep the owner's token, which was replaced, from being found.
func TestTokenPathLimitsHideNoReuse(t *testing.T) {
	withTokens(t, nil, func(srv *testServer) {
		owners := srv.rotated(srv.code())
		thiefs := srv.rotated(owners)
		time.Sleep(time.Minute)
		for a := srv.exchange(thiefs); a.status == 200; a = srv.exchange(a.token) {
			thiefs = a.token
		}
		srv.exchange(thiefs).wants(t, 429, "too_many_attempts")
		srv.exchange(owners).wants(t, 401, "token_reused")
		srv.exchange(thiefs).wants(t, 401, "token_reused")
	})
}

// TestTokenPathAtOnce checks that only so many requests with one token are served at the same time,
// and that others are refused without an effect.
func TestTokenPathAtOnce(t *testing.T) {
	release := make(chan struct{})
	var hold bool
	store := new(faultyStore)
	withTokens(t, store.use, func(srv *testServer) {
		token := srv.rotated(srv.code())
		store.fail(func(call string) error {
			if hold && call == "Present" {
				<-release
			}
			return nil
		}, nil)
		release, hold = make(chan struct{}), true
		var mu sync.Mutex
		var work sync.WaitGroup
		counts := make(map[int]int)
		for range 80 {
			work.Go(func() {
				a := srv.exchange(token)
				mu.Lock()
				defer mu.Unlock()
				counts[a.status]++
			})
		}
		synctest.Wait()
		other := srv.code()
		hold = false
		srv.rotated(other)
		close(release)
		work.Wait()
		if counts[200] != 50 || counts[429] != 30 {
			t.Errorf("%v", counts)
		}
		srv.rotated(token)
	})
}

// TestConfirmedOnce checks that requests with one unconfirmed token share one confirmation, that
// none of them is let through before that is accepted, and that one that is not accepted lets
// nobody through.
func TestConfirmedOnce(t *testing.T) {
	var mu sync.Mutex
	confirms := 0
	var release chan struct{}
	store := new(faultyStore)
	withTokens(t, store.use, func(srv *testServer) {
		old := srv.rotated(srv.code())
		won, lost := srv.exchanged(old), srv.exchanged(old)
		release, confirms = make(chan struct{}), 0
		store.fail(func(call string) error {
			if call == "Confirm" {
				mu.Lock()
				confirms++
				mu.Unlock()
				<-release
			}
			return nil
		}, nil)
		var work sync.WaitGroup
		statuses := make(chan int, 100)
		use := func(token string) {
			work.Go(func() { status, _, _ := srv.get(token); statuses <- status })
		}
		for range 20 {
			use(won)
		}
		synctest.Wait()
		if len(statuses) != 0 || confirms != 1 {
			t.Errorf("%d were answered, %d confirmations", len(statuses), confirms)
		}
		close(release)
		work.Wait()
		for range 20 {
			if status := <-statuses; status != 200 {
				t.Errorf("%d", status)
			}
		}
		if status, _, _ := srv.get(lost); status != 401 || confirms != 1 {
			t.Errorf("the branch that lost: %d, %d confirmations", status, confirms)
		}
		if status, _, _ := srv.get(won); status != 200 || confirms != 1 {
			t.Errorf("the branch that won, again: %d, %d confirmations", status, confirms)
		}
	})
}

// TestTokenPathStoreFails checks that nothing is accepted while the store fails, that only its
// reply being lost does no harm, and that nothing is used up.
func TestTokenPathStoreFails(t *testing.T) {
	store := new(faultyStore)
	withTokens(t, store.use, func(srv *testServer) {
		token := srv.rotated(srv.code())
		next := srv.exchanged(token)
		store.fail(storeDown, nil)
		srv.exchange(token).wants(t, 503, "unavailable")
		srv.confirmToken(next).wants(t, 503, "unavailable")
		srv.end(token).wants(t, 503, "unavailable")
		store.fail(func(call string) error {
			if call == "Confirm" {
				return errStoreDown
			}
			return nil
		}, nil)
		if status, body, _ := srv.get(next); status != 503 || !strings.Contains(body, "unavailable") {
			t.Errorf("Middleware: %d %s", status, body)
		}
		lost := map[string]bool{}
		store.fail(nil, func(call string) error {
			if lost[call] = !lost[call]; lost[call] {
				return errors.New("its reply is lost")
			}
			return nil
		})
		token = srv.rotated(token)
		srv.end(srv.rotated(token)).wants(t, 204, "")
	})
}

// TestConfirmationsHideNoReuse guards that many confirmations of a replaced token at once, which no
// store judges, do not keep away the exchange of that token, which is reuse and has to be noticed.
func TestConfirmationsHideNoReuse(t *testing.T) {
	store := new(faultyStore)
	release := make(chan struct{})
	withTokens(t, store.use, func(srv *testServer) {
		release = make(chan struct{})
		old := srv.rotated(srv.code())
		current := srv.rotated(old)
		current = srv.rotated(current)
		time.Sleep(time.Minute)
		store.fail(func(call string) error {
			if call == "Confirm" {
				<-release
			}
			return nil
		}, nil)
		var work sync.WaitGroup
		for range 50 {
			work.Go(func() { srv.confirmToken(old) })
		}
		synctest.Wait()
		srv.exchange(old).wants(t, 401, "token_reused")
		close(release)
		work.Wait()
		srv.exchange(current).wants(t, 401, "token_reused")
	})
}

// TestTokenPathContextEnds guards a request whose context ends while its client waits on, as by a
// time limit of middleware, and whose first step is lost: it was answered with a token that the
// store did not know, and the client lost its session.
func TestTokenPathContextEnds(t *testing.T) {
	store := new(faultyStore)
	withTokens(t, store.use, func(srv *testServer) {
		token := srv.rotated(srv.code())
		ctx, cancel := context.WithCancel(srv.Context())
		var once sync.Once
		store.fail(func(call string) (err error) {
			if call == "Present" {
				once.Do(func() { cancel(); err = errStoreDown })
			}
			return err
		}, nil)
		r := httptest.NewRequestWithContext(ctx, http.MethodPost, "/token", nil)
		r.Header.Set("Authorization", "Bearer "+token)
		w := httptest.NewRecorder()
		srv.Config.Handler.ServeHTTP(w, r)
		var answer struct{ Token string }
		if err := json.Unmarshal(w.Body.Bytes(), &answer); err != nil || w.Code != 200 {
			t.Fatalf("%d %s", w.Code, w.Body)
		}
		srv.confirmToken(answer.Token).wants(t, 204, "")
	})
}
