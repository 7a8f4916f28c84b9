package socketauth_test

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/z-open/socketauth"
)

// TestAudit checks which audit events there are of what, with what in them, and that the log has no
// secret.
func TestAudit(t *testing.T) {
	var mu sync.Mutex
	var events []socketauth.AuditEvent
	withServer(t, func(o *socketauth.Options[string]) {
		o.TokenLifetime = time.Hour
		o.Audit = func(ctx context.Context, e socketauth.AuditEvent) {
			if err := ctx.Err(); err != nil {
				t.Error(err)
			}
			mu.Lock()
			defer mu.Unlock()
			events = append(events, e)
		}
	}, func(srv *testServer) {
		var secrets []string
		expect := func(step string, want ...socketauth.AuditKind) []socketauth.AuditEvent {
			t.Helper()
			synctest.Wait()
			mu.Lock()
			defer mu.Unlock()
			got := slices.Clone(events)
			events = nil
			var kinds []socketauth.AuditKind
			for _, e := range got {
				kinds = append(kinds, e.Kind)
				if e.Time.IsZero() || e.Address != "pipe" && e.Kind != socketauth.AuditRevoked {
					t.Errorf("%s: %+v", step, e)
				}
			}
			if !slices.Equal(kinds, want) {
				t.Errorf("%s: %v, want %v", step, kinds, want)
			}
			return got
		}
		code := srv.loginCode()
		if e := expect("login", socketauth.AuditLogin); e[0].UserID != "anna" || e[0].SessionID == "" {
			t.Errorf("%+v", e)
		}
		srv.post("/login", `{"username":"anna","password":"wrong"}`)
		if e := expect("wrong password", socketauth.AuditLoginFailed); e[0].Code != "USER_INVALID" || e[0].Account != "anna" || e[0].UserID != "" {
			t.Errorf("%+v", e)
		}
		srv.post("/register", `{"username":"anna","password":"secret"}`)
		expect("register", socketauth.AuditRegistered)
		c := srv.dial("")
		c.authenticate(code)
		token := c.expectToken()
		if e := expect("authenticate", socketauth.AuditAuthenticated); e[0].UserID != "anna" || e[0].SocketID != c.sid || e[0].SessionID == "" {
			t.Errorf("%+v", e)
		}
		o := c.offerFor(token)
		expect("offered")
		o.confirm()
		expect("confirmed", socketauth.AuditRotated)
		srv.expectTokenRefused("x", "invalid_token")
		if e := expect("garbage", socketauth.AuditRefused); e[0].Code != "invalid_token" || e[0].UserID != "" {
			t.Errorf("%+v", e)
		}
		srv.get("x")
		expect("request", socketauth.AuditRefused)
		time.Sleep(time.Minute)
		srv.expectTokenRefused(token, "token_reused")
		c.expectRefused("token_reused")
		if e := expect("reuse", socketauth.AuditReuse, socketauth.AuditRefused); e[0].UserID != "anna" || e[1].Code != "token_reused" || e[1].UserID != "anna" {
			t.Errorf("%+v", e)
		}
		c, token = srv.authenticated()
		expect("in", socketauth.AuditAuthenticated)
		time.Sleep(time.Hour)
		c.expectRefused("token_expired")
		if e := expect("expiry", socketauth.AuditExpired); e[0].UserID != "anna" {
			t.Errorf("%+v", e)
		}
		srv.expectTokenRefused(token, "token_expired")
		if e := expect("too late", socketauth.AuditRefused); e[0].UserID != "anna" || e[0].Code != "token_expired" {
			t.Errorf("%+v", e)
		}
		c, token2 := srv.authenticated()
		c.emit("logout")
		c.expect(`42["logged_out"]`)
		if e := expect("logout", socketauth.AuditAuthenticated, socketauth.AuditLogout); e[1].UserID != "anna" || e[1].SessionID != e[0].SessionID {
			t.Errorf("%+v", e)
		}
		c, token3 := srv.authenticated()
		if _, err := srv.Auth().RevokeSession(srv.Context(), "anna", srv.sessionOf(c)); err != nil {
			t.Fatal(err)
		}
		if e := expect("revoke", socketauth.AuditAuthenticated, socketauth.AuditRevoked); e[1].UserID != "anna" || e[1].SessionID == "" {
			t.Errorf("%+v", e)
		}
		secrets = append(secrets, code, token, token2, token3, o.token, "secret", "wrong")
		for _, secret := range secrets {
			if strings.Contains(srv.logs.String(), secret) {
				t.Errorf("the log has %s", secret)
			}
		}
	})
}

// TestAuditPanics checks that a panic of Audit is logged and does no other harm.
func TestAuditPanics(t *testing.T) {
	withServer(t, func(o *socketauth.Options[string]) {
		o.Audit = func(context.Context, socketauth.AuditEvent) { panic("a bug") }
	}, func(srv *testServer) {
		c, _ := srv.authenticated()
		c.expectAuthenticated()
		srv.expectLogged("hook=Audit")
	})
}

// TestAuditBlocks checks that a socket is closed before Audit is told of it, and that no other
// client waits for Audit.
func TestAuditBlocks(t *testing.T) {
	goOn := make(chan struct{})
	withServer(t, func(o *socketauth.Options[string]) {
		goOn = make(chan struct{})
		o.Audit = func(_ context.Context, e socketauth.AuditEvent) {
			if e.Kind == socketauth.AuditRefused {
				<-goOn
			}
		}
	}, func(srv *testServer) {
		code := srv.code()
		a, b := srv.dial(""), srv.dial("")
		a.offerFor(code)
		won := b.offerFor(code)
		won.confirm()
		b.expectAuthenticated()
		a.expectRefused("no_longer_valid")
		silent := srv.dial("")
		silent.expectRefused("timeout")
		close(goOn)
	})
}

// TestAuditFlood checks that of a flood of bad tokens only the first are recorded, and that no
// event of others is lost by it.
func TestAuditFlood(t *testing.T) {
	var mu sync.Mutex
	recorded := make(map[string]int)
	for _, proxied := range []bool{false, true} {
		clear(recorded)
		from := "203.0.113.1" // where the flood comes from
		withServer(t, func(o *socketauth.Options[string]) {
			if !proxied {
				o.ClientIP = func(*http.Request) string { mu.Lock(); defer mu.Unlock(); return from }
			}
			o.Audit = func(_ context.Context, e socketauth.AuditEvent) {
				mu.Lock()
				defer mu.Unlock()
				recorded[fmt.Sprintf("%s %s", e.Kind, e.Code)]++
				if e.SessionID != "" {
					recorded[e.SessionID]++
				}
			}
		}, func(srv *testServer) {
			live, dead := srv.authenticated()
			session := srv.sessionOf(live)
			other, _ := srv.authenticatedAs(jwt.MapClaims{"sub": "bert"})
			others := srv.sessionOf(other)
			live.emit("logout")
			live.expect(`42["logged_out"]`)
			flood := func(n int) {
				for range n {
					if status, _, _ := srv.get("garbage"); status != http.StatusUnauthorized {
						t.Fatalf("garbage: %d", status)
					}
					if status, _, _ := srv.get(dead); status != http.StatusUnauthorized {
						t.Fatalf("a dead token: %d", status)
					}
				}
			}
			logins := recorded[session]
			flood(200)
			if n := recorded["refused invalid_token"]; n != 60 {
				t.Errorf("%d events of garbage", n)
			}
			if n := recorded[session] - logins; n != 60 {
				t.Errorf("%d events of a dead token", n)
			}
			if s := srv.Auth().Stats(); s.Requests["invalid_token"] != 200 || s.Requests["session_revoked"]+s.Requests["no_longer_valid"] != 200 || s.Limited["refusals_recorded"] != 280 {
				t.Errorf("%+v", s)
			}
			if n := strings.Count(srv.logs.String(), "limit=refusals_recorded"); n != 1 {
				t.Errorf("%d lines about it", n)
			}
			time.Sleep(20 * time.Second)
			flood(100)
			if n := recorded["refused invalid_token"]; n != 70 {
				t.Errorf("20 s later: %d events of garbage", n)
			}
			before := recorded[others] // meanwhile events of others are recorded
			token := other.current
			other.authenticate("42")
			other.expectRefused("invalid_token")
			if status, _, _ := srv.get(token); status != http.StatusOK {
				t.Errorf("a good token: %d", status)
			}
			if _, err := srv.Auth().RevokeUser(srv.Context(), "bert"); err != nil {
				t.Fatal(err)
			}
			srv.get(token)
			synctest.Wait()
			if n := recorded[others] - before; n != 2 {
				t.Errorf("%d events of another session", n)
			}
			if !proxied {
				mu.Lock()
				from = "203.0.113.2"
				mu.Unlock()
				if srv.get("garbage"); recorded["refused invalid_token"] != 72 {
					t.Errorf("garbage from another address was not recorded: %v", recorded)
				}
			}
			if status, _ := srv.tryLogin("", "/login", "anna", "secret"); status != http.StatusOK {
				t.Errorf("a login from there: %d", status)
			}
		})
	}
}
