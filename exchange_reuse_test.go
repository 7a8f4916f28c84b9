package socketauth_test

import (
	"context"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"github.com/z-open/socketauth"
)

// TestTokenPathReuse checks that a replaced token is reuse, however it comes, also on a connection
// that was open before it was replaced, and that the session is over then.
func TestTokenPathReuse(t *testing.T) {
	for name, use := range map[string]func(srv *testServer, token string) tokenAnswer{
		"exchange": (*testServer).exchange,
		"end":      (*testServer).end,
	} {
		t.Run(name, func(t *testing.T) {
			seen := new(auditLog)
			withTokens(t, func(o *socketauth.Options[string]) { o.Audit = seen.hook }, func(srv *testServer) {
				stolen := srv.rotated(srv.code())
				c, current := srv.confirmed(stolen)
				time.Sleep(3 * time.Second)
				a := use(srv, stolen)
				a.wants(t, 401, "token_reused")
				if _, said := a.body["terminal"]; said {
					t.Errorf("%v", a.body)
				}
				c.expectRefused("token_reused")
				srv.exchange(current).wants(t, 401, "token_reused")
				srv.expectLogged("two clients have had the token")
				if n := seen.count("reuse token_reused"); n != 1 {
					t.Errorf("%d were recorded", n)
				}
			})
			withTokens(t, func(o *socketauth.Options[string]) { o.ReusePolicy = socketauth.RejectOnly }, func(srv *testServer) {
				stolen := srv.rotated(srv.code())
				current := srv.rotated(stolen)
				time.Sleep(3 * time.Second)
				use(srv, stolen).wants(t, 401, "no_longer_valid")
				srv.rotated(current)
			})
		})
	}
}

// TestTokenPathReuseTenantRefused checks that reuse is found before the tenant is refused, and that
// a token that was not replaced is only refused then.
func TestTokenPathReuseTenantRefused(t *testing.T) {
	suspended := false
	withTokens(t, func(o *socketauth.Options[string]) {
		o.TenantID = func(context.Context, jwt.MapClaims) (string, error) {
			if suspended {
				return "", nil
			}
			return "a tenant", nil
		}
	}, func(srv *testServer) {
		old := srv.rotated(srv.code())
		current := srv.rotated(old)
		time.Sleep(time.Minute)
		suspended = true
		srv.exchange(current).wants(t, 401, "invalid_tenant")
		srv.exchange(old).wants(t, 401, "token_reused")
		srv.exchange(current).wants(t, 401, "invalid_tenant")
		suspended = false
		srv.exchange(current).wants(t, 401, "token_reused")
	})
}

// TestTokenPathExpired checks that a token that has expired is refused, that it is reuse if it was
// replaced, and that a code never is.
func TestTokenPathExpired(t *testing.T) {
	withTokens(t, func(o *socketauth.Options[string]) { o.TokenLifetime = time.Hour }, func(srv *testServer) {
		code := srv.code()
		old := srv.rotated(code)
		time.Sleep(40 * time.Minute)
		current := srv.rotated(old)
		time.Sleep(30 * time.Minute)
		srv.exchange(code).wants(t, 401, "token_expired")
		srv.confirmToken(old).wants(t, 401, "token_expired")
		current = srv.rotated(current)
		srv.exchange(old).wants(t, 401, "token_reused")
		srv.exchange(current).wants(t, 401, "token_reused")

		unused := srv.rotated(srv.code())
		time.Sleep(time.Hour)
		srv.exchange(unused).wants(t, 401, "token_expired")
		srv.end(unused).wants(t, 401, "token_expired")
	})
}

// TestTokenPathDoubled checks that a request that a proxy sends twice, and delivers once more a
// second after the client has confirmed the answer, costs nobody the session, and says that it is
// not over.
func TestTokenPathDoubled(t *testing.T) {
	for name, use := range map[string]func(srv *testServer, token string) tokenAnswer{
		"exchange": (*testServer).exchange,
		"confirm":  (*testServer).confirmToken,
		"end":      (*testServer).end,
	} {
		t.Run(name, func(t *testing.T) {
			withTokens(t, nil, func(srv *testServer) {
				old := srv.rotated(srv.code())
				current := srv.rotated(old)
				time.Sleep(time.Second)
				a := use(srv, old)
				if name == "confirm" { // it did hold its generation
					a.wants(t, 204, "")
					current = srv.rotated(current)
					a = use(srv, old)
				}
				a.wants(t, 401, "no_longer_valid")
				if a.body["terminal"] != false {
					t.Errorf("%v", a.body)
				}
				srv.rotated(current)
			})
		})
	}
}

// TestTokenPathParallel checks that of calls in parallel with one token each is answered, that one
// answer can be confirmed, and that who confirms another is told that the session goes on.
func TestTokenPathParallel(t *testing.T) {
	withTokens(t, nil, func(srv *testServer) {
		old := srv.rotated(srv.code())
		var mu sync.Mutex
		var work sync.WaitGroup
		next := make(map[string]bool)
		for range 10 {
			work.Go(func() {
				token := srv.exchanged(old)
				mu.Lock()
				defer mu.Unlock()
				next[token] = true
			})
		}
		work.Wait()
		if len(next) != 10 {
			srv.Fatalf("%d tokens", len(next))
		}
		var won string
		for token := range next {
			switch a := srv.confirmToken(token); {
			case a.status == 204 && won == "":
				won = token
			default:
				if a.wants(t, 401, "no_longer_valid"); a.body["terminal"] != false {
					t.Errorf("%v", a.body)
				}
			}
		}
		srv.exchange(old).wants(t, 401, "no_longer_valid") // it was under way
		srv.rotated(won)
	})
}

// TestTokenPathLostReply checks that an answer that is lost costs nothing, whichever it is, and
// however often: a client that has not got the next token presents the one that it has.
func TestTokenPathLostReply(t *testing.T) {
	withTokens(t, nil, func(srv *testServer) {
		token := srv.code()
		for range 3 {
			for range 3 { // lost
				srv.exchanged(token)
			}
			next := srv.exchanged(token)
			for range 2 { // of the confirmation
				srv.confirmToken(next).wants(t, 204, "")
			}
			token = next
		}
		for range 3 { // never confirmed
			token = srv.exchanged(token)
		}
		srv.end(token).wants(t, 204, "")
		srv.end(token).wants(t, 204, "") // its answer was lost
		if s := srv.logs.String(); strings.Contains(s, "level=WARN") || strings.Contains(s, "level=ERROR") {
			t.Errorf("the log has warnings:\n%s", s)
		}
	})
}
