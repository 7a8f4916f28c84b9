package socketauth_test

import (
	"context"
	"encoding/json"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/z-open/socketauth"
	"github.com/z-open/socketauth/blacklist"
)

func TestLogoutEndsTheSessionEverywhere(t *testing.T) {
	inWorld(t, nil, func(w *world) {
		for name, arg := range map[string]func(token string) []any{
			"token":   func(token string) []any { return []any{token} },
			"nothing": func(string) []any { return nil },
			"garbage": func(string) []any { return []any{map[string]any{"toString": 1}} },
			"null":    func(string) []any { return []any{nil} },
		} {
			a, token := w.in()
			a.close()
			a = w.dial("")
			a.authenticate(token)
			token = a.token()
			b := w.dial("")
			b.authenticate(token) // a second socket of the session
			token = b.token()
			a.next(`42["rotated"]`)
			bystander, _ := w.in()

			a.emit("logout", arg(token)...)
			for _, c := range []*client{a, b} {
				c.next(`42["logged_out"]`)
				c.gone()
			}
			bystander.alive()
			c := w.dial("")
			c.authenticate(token)
			if u := c.refusedAndGone("no_longer_valid"); !u.Terminal {
				t.Errorf("%s: not terminal", name)
			}
			if status, body, _ := w.get(token); status != 401 || !strings.Contains(body, "no_longer_valid") {
				t.Errorf("%s: middleware %d %s", name, status, body)
			}
			bystander.close()
		}
	})
}

func TestLogoutOfAnotherSessionRevokesNothing(t *testing.T) {
	inWorld(t, nil, func(w *world) {
		a, _ := w.in()
		b, foreign := w.inAs(jwt.MapClaims{"sub": "otto"})
		if got := a.ask("logout", foreign); !strings.Contains(got, "wrong_session") {
			t.Errorf("got %s", got)
		}
		if u := a.refusedWith("wrong_session"); u.Terminal {
			t.Error("terminal")
		}
		a.alive()
		b.alive()
		b.authenticate(foreign)
		b.token()
	})
}

func TestLogoutBeforeAuthentication(t *testing.T) {
	inWorld(t, nil, func(w *world) {
		code := w.code()
		holder := w.dial("")
		holder.authenticate(code)
		latest := holder.token()
		time.Sleep(time.Minute)
		for name, c := range map[string]struct {
			arg  any
			code string
		}{
			"nothing": {nil, "invalid_token"},
			"object":  {map[string]any{"toString": 1}, "invalid_token"},
			"garbage": {"garbage", "invalid_token"},
			"code":    {w.code(), "invalid_token"},
			"expired": {code, "token_expired"},
		} {
			stranger := w.dial("")
			stranger.emit("logout", c.arg)
			stranger.refusedAndGone(c.code)
			if t.Failed() {
				t.Fatal(name)
			}
		}
		holder.alive() // none of it has revoked anything
		stranger := w.dial("")
		stranger.emit("logout", latest)
		for _, c := range []*client{stranger, holder} {
			c.next(`42["logged_out"]`)
			c.gone()
		}
	})
}

func TestLogoutIsDoneForAClientThatLeftRightAway(t *testing.T) {
	// Guards: a page that logs out and closes must not leave its session alive.
	store := new(faultyStore)
	inWorld(t, func(o *socketauth.Options[string]) { store.Store = blacklist.NewMemory(); o.Blacklist = store }, func(w *world) {
		c, token := w.in()
		asked, gone := make(chan struct{}), make(chan struct{})
		store.fail(func(string) error {
			close(asked)
			<-gone
			return nil
		}, nil)
		c.emit("logout")
		<-asked
		c.close()
		synctest.Wait()
		close(gone)
		synctest.Wait()
		store.fail(nil, nil)
		c = w.dial("")
		c.authenticate(token)
		c.refusedAndGone("no_longer_valid")
	})
}

func TestManyLogoutsAtOnceAreOne(t *testing.T) {
	// Guards: of log-outs that a client sends together, each was recorded, and asked the store to end the session again.
	logouts, calls := 0, 0
	store := new(faultyStore)
	inWorld(t, func(o *socketauth.Options[string]) {
		store.Store = blacklist.NewMemory()
		o.Blacklist = store
		o.Audit = func(_ context.Context, e socketauth.AuditEvent) {
			if e.Kind == socketauth.AuditLogout {
				logouts++
			}
		}
	}, func(w *world) {
		c, _ := w.in()
		sent := make(chan struct{})
		store.fail(func(string) error {
			calls++
			<-sent
			return nil
		}, nil)
		for range 100 {
			c.emit("logout")
		}
		synctest.Wait()
		close(sent)
		c.next(`42["logged_out"]`)
		c.gone()
		synctest.Wait()
		if logouts != 1 || calls != 1 {
			t.Errorf("%d log-outs recorded, %d calls of the store", logouts, calls)
		}
	})
}

func TestLogoutWithAPredecessorEndsTheSession(t *testing.T) {
	// Guards: a confirming client whose next token never came logs out with the one it has.
	inWorldOfMinutes(t, socketauth.EndSession, nil, func(w *world, seen *audits) {
		c, token := w.in()
		c.close()
		c = w.dial("")
		c.confirms(token)
		c.close()
		time.Sleep(time.Minute)
		c = w.dial("")
		if got := c.ask("logout", token); got != "[]" {
			t.Errorf("got %s", got)
		}
		c.next(`42["logged_out"]`)
		c.gone()
		if n := seen.count("logout "); n != 1 {
			t.Errorf("audited %d times", n)
		}
		c = w.dial("")
		ack := c.ask("logout", token)
		var said []struct{ Error struct{ Code string } }
		if err := json.Unmarshal([]byte(ack), &said); err != nil || said[0].Error.Code != "no_longer_valid" {
			t.Errorf("once more: %s, %v", ack, err)
		}
	})
}

func TestSessionEndsOnAllServersOfItsCore(t *testing.T) {
	inWorld(t, nil, func(w *world) {
		mux := http.NewServeMux()
		other, err := w.Auth().SocketServe(nil, mux)
		if err != nil {
			t.Fatal(err)
		}
		w.Mux.Handle("second/", mux)
		c, token := w.in()
		d := w.openAt("second")
		d.send("40")
		d.next(`40{"sid":`)
		d.authenticate(token)
		d.token()
		c.next(`42["rotated"]`)
		c.emit("logout")
		for _, c := range []*client{c, d} {
			c.next(`42["logged_out"]`)
			c.gone()
		}
		if err := other.Shutdown(context.Background()); err != nil {
			t.Error(err)
		}
	})
}
