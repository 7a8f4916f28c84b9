package socketauth_test

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/z-open/socketauth"
)

// withDirectories is withDirectory for an app of so many processes, which ask the same directory.
func withDirectories(t *testing.T, many int, test func(p []*process, d *directory)) {
	t.Helper()
	d := new(directory)
	d.set("anna", "admin")
	withCluster(t, many, func(o *socketauth.Options[string]) { o.UpdateClaims = d.update }, func(p []*process) {
		for _, p := range p {
			followRoles(p.testServer)
		}
		test(p, d)
	})
}

// TestRefreshAcrossProcesses guards that once RefreshUser has returned, no process whose receipt
// came handles or delivers anything under older claims, whether it hears of that from the store
// first or from the process that asks; and that the receipt counts its sockets.
func TestRefreshAcrossProcesses(t *testing.T) {
	for name, deaf := range map[string]bool{"from the store": false, "by the question": true} {
		t.Run(name, func(t *testing.T) {
			withDirectories(t, 3, func(p []*process, d *directory) {
				p[1].store.deaf.Store(deaf)
				p[2].store.deaf.Store(deaf)
				a, token := p[0].confirmed(p[0].code())
				b, _ := p[1].confirmed(token)
				a.expect(`42["rotated"]`)
				second, _ := p[2].authenticated()
				bert, _ := p[1].authenticatedAs(claimsOf("bert"))
				d.set("anna", "guest")
				r, err := p[0].Auth().RefreshUser(p[0].Context(), "anna")
				expectReceipt(t, r, err, 2, 3, 3)
				if err := errors.Join(p[2].To("admin").Emit("secret"), p[0].ToUser("anna").Emit("news")); err != nil {
					t.Error(err)
				}
				for _, c := range []*client{a, b, second} {
					c.expect(refreshEvent)
					c.send(`4291["role"]`)
					c.expectNothing()
				}
				bert.expectAuthenticated()
				for _, c := range []*client{b, second, a} {
					if c == a { // of the same session as b
						a.expect(`42["rotated"]`)
						a.current = b.current
					}
					c.authenticate(c.current)
					c.expectToken()
					c.expect(`42["news"]`)
					c.expect(`4391["guest"]`)
				}
				r, err = p[1].Auth().RefreshSession(p[1].Context(), "anna", p[2].sessionOf(second))
				expectReceipt(t, r, err, 1, 1, 3)
				second.expect(refreshEvent)
				r, err = p[1].Auth().RefreshUser(p[1].Context(), "carl")
				expectReceipt(t, r, err, 0, 0, 3)
			})
		})
	}
}

// TestRefreshBesideUndecidedPresentation guards a socket whose session has another one that is just
// presenting a token: what that is about to be given is unknown to the store, so that a process
// which asks about it learns nothing of the session, and said that it had.
func TestRefreshBesideUndecidedPresentation(t *testing.T) {
	withDirectories(t, 2, func(p []*process, d *directory) {
		var waits atomic.Pointer[chan struct{}]
		p[1].OnAuthenticated(func(ctx context.Context, s *socketauth.Socket) error {
			if goOn := waits.Load(); goOn != nil {
				<-*goOn
			}
			return nil
		})
		p[1].store.deaf.Store(true)
		zero, _ := p[1].authenticated()
		b, token := p[1].confirmed(zero.current)
		goOn := make(chan struct{})
		waits.Store(&goOn)
		undecided := p[1].dial("")
		undecided.authenticate(token)
		synctest.Wait()
		zero.close() // its place in the session is taken by the one that came last
		synctest.Wait()
		d.set("anna", "guest")
		r, err := p[0].Auth().RefreshUser(p[0].Context(), "anna")
		expectReceipt(t, r, err, 1, 1, 2)
		b.expect(refreshEvent)
		b.send(`4291["role"]`)
		b.expectNothing()
		waits.Store(nil)
		close(goOn)
	})
}

// TestRefreshOfSilentProcess guards that the receipt names a process that does not answer, or whose
// store does not, and that its sockets are told once it hears of the change from the store;
// Middleware is exact there all the same.
func TestRefreshOfSilentProcess(t *testing.T) {
	withDirectories(t, 3, func(p []*process, d *directory) {
		a, _ := p[0].authenticated()
		b, token := p[1].authenticated()
		silent := p[1].node()
		p[1].broker.stop()
		p[1].store.deaf.Store(true)
		d.set("anna", "guest")
		r, err := p[0].Auth().RefreshUser(context.WithoutCancel(p[0].Context()), "anna")
		expectReceipt(t, r, err, 2, 1, 2, silent)
		a.expect(refreshEvent)
		if got := b.call("role"); got != `["admin"]` { // the residual, bounded by MaxStale where that is set
			t.Errorf("the process that was not heard: %s", got)
		}
		if status, _, _ := p[1].get(token); status != 401 {
			t.Errorf("its Middleware answers %d", status)
		}
		p[1].broker.reconnect()
		time.Sleep(3 * time.Second)
		p[1].store.fail(storeDown, nil)
		r, err = p[0].Auth().RefreshUser(context.WithoutCancel(p[0].Context()), "anna")
		expectReceipt(t, r, err, 2, 1, 2, silent)
		p[1].store.fail(nil, nil)
		r, err = p[0].Auth().RefreshUser(context.WithoutCancel(p[0].Context()), "anna")
		expectReceipt(t, r, err, 2, 2, 3)
		b.expect(refreshEvent)
		b.authenticate(token)
		b.expectToken()
		if got := b.call("role"); got != `["guest"]` {
			t.Errorf("afterwards the role is %s", got)
		}
	})
}

// TestRefreshElsewhereDuringPresentation guards that a presentation in another process, during
// which RefreshUser is called, ends with the claims of after it, whether that process's store has
// decided before or not.
func TestRefreshElsewhereDuringPresentation(t *testing.T) {
	for name, after := range map[string]bool{"before it is decided": false, "after": true} {
		t.Run(name, func(t *testing.T) {
			withDirectories(t, 2, func(p []*process, d *directory) {
				p[1].store.deaf.Store(true)
				raced := false
				race := func(call string) error {
					if call == "Present" && !raced {
						raced = true
						d.set("anna", "guest")
						r, err := p[0].Auth().RefreshUser(context.WithoutCancel(p[0].Context()), "anna")
						sessions := 0
						if after {
							sessions = 1
						}
						expectReceipt(t, r, err, sessions, 0, 2) // nobody is in yet
					}
					return nil
				}
				if after {
					p[1].store.fail(nil, race)
				} else {
					p[1].store.fail(race, nil)
				}
				c := p[1].dial("")
				c.authenticate(p[1].code())
				token := c.expectToken()
				if after {
					c.send(`4291["role"]`)
					c.expect(refreshEvent)
					c.expectNothing()
					c.authenticate(token)
					c.expectToken()
					c.expect(`4391["guest"]`)
				} else if got := c.call("role"); got != `["guest"]` {
					t.Errorf("the role is %s", got)
				}
			})
		})
	}
}
