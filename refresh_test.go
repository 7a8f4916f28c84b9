package socketauth_test

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/z-open/socketauth"
	"github.com/z-open/socketauth/blacklist"
	"github.com/z-open/socketauth/internal/siotest"
)

// directory knows the role of each user, and how UpdateClaims fails.
type directory struct {
	mu    sync.Mutex
	roles map[string]string
	fail  func(ctx context.Context, old jwt.MapClaims) (jwt.MapClaims, error) // instead, unless nil
	calls []jwt.MapClaims                                                     // what it was given
}

func (d *directory) set(user, role string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.roles == nil {
		d.roles = make(map[string]string)
	}
	d.roles[user] = role
}

func (d *directory) failing(f func(ctx context.Context, old jwt.MapClaims) (jwt.MapClaims, error)) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.fail = f
}

// update is UpdateClaims.
func (d *directory) update(ctx context.Context, old jwt.MapClaims) (jwt.MapClaims, error) {
	d.mu.Lock()
	d.calls = append(d.calls, old)
	fail, role := d.fail, d.roles[old["sub"].(string)]
	d.mu.Unlock()
	if fail != nil {
		return fail(ctx, old)
	}
	if role != "" {
		old["role"] = role
	}
	return old, nil
}

// called returns what UpdateClaims was called with since the last time.
func (d *directory) called() []jwt.MapClaims {
	d.mu.Lock()
	defer d.mu.Unlock()
	calls := d.calls
	d.calls = nil
	return calls
}

// withDirectory runs a test against a server whose users have the roles of a directory. The sockets of
// each role are in a room of its name, and "role" replies with the role that its handler runs under.
func withDirectory(t *testing.T, change func(*socketauth.Options[string]), test func(srv *testServer, d *directory)) {
	t.Helper()
	d := new(directory)
	d.set("anna", "admin")
	withServer(t, func(o *socketauth.Options[string]) {
		o.UpdateClaims = d.update
		if change != nil {
			change(o)
		}
	}, func(srv *testServer) {
		followRoles(srv)
		test(srv, d)
	})
}

func followRoles(srv *testServer) {
	srv.OnAuthenticated(func(_ context.Context, s *socketauth.Socket) error {
		s.Join(role(s.Claims()))
		return nil
	})
	srv.OnClaimsChanged(func(_ context.Context, s *socketauth.Socket, old jwt.MapClaims) error {
		s.Leave(role(old))
		s.Join(role(s.Claims()))
		return nil
	})
	srv.On("role", func(ctx context.Context, _ *socketauth.Socket, _ socketauth.Args) (any, error) {
		claims, _ := socketauth.ClaimsFromContext(ctx)
		return role(claims), nil
	})
}

func role(c jwt.MapClaims) string { s, _ := c["role"].(string); return s }

// dialOn returns a client of that engine and transport, which has not authenticated.
func (srv *testServer) dialOn(version, transport string) *client {
	srv.Helper()
	started, err := srv.rawUnauthenticated(version, transport).Start(srv.Context())
	if err != nil {
		srv.Fatal(err)
	}
	srv.Cleanup(started.Close)
	return &client{Client: started, srv: srv}
}

// demote gives a user another role and has their claims brought up to date.
func (srv *testServer) demote(d *directory, user, role string) socketauth.Receipt {
	srv.Helper()
	d.set(user, role)
	r, err := srv.Auth().RefreshUser(srv.Context(), user)
	if err != nil {
		srv.Fatal(err)
	}
	return r
}

const refreshEvent = `42["refresh"]`

// TestRefreshUser guards that once RefreshUser has returned, on each engine and transport, nothing is
// handled or delivered under older claims: it waits for the client's next token and OnClaimsChanged, and
// then comes in order, as far as the socket is still meant.
func TestRefreshUser(t *testing.T) {
	for _, version := range []string{"3", "4"} {
		for _, transport := range siotest.Transports {
			t.Run(version+" "+transport, func(t *testing.T) {
				withDirectory(t, nil, func(srv *testServer, d *directory) {
					c := srv.dialOn(version, transport)
					c.authenticate(srv.code())
					token := c.expectToken()
					if got := c.call("role"); got != `["admin"]` {
						t.Errorf("at first the role is %s", got)
					}
					s := srv.socketOf(c)
					if got := srv.demote(d, "anna", "guest"); !reflect.DeepEqual(got, socketauth.Receipt{Sessions: 1, Sockets: 1, Nodes: 1}) {
						t.Errorf("%+v", got)
					}
					c.expect(refreshEvent)
					c.send(`4291["role"]`)
					c.send(`4292["role"]`)
					for _, err := range []error{
						srv.Emit("one"), srv.To("admin").Emit("secret"), s.Emit("two"), srv.ToUser("anna").Emit("three"),
						srv.To("guest").Emit("too early"), srv.To("guest", "admin").Emit("for both"), srv.ToSession(s.SessionID()).Emit("four"),
					} {
						if err != nil {
							t.Error(err)
						}
					}
					c.expectNothing()
					c.authenticate(token)
					c.expectToken()
					// It is in "guest" by now, and was in "admin".
					for _, name := range []string{"one", "two", "three", "for both", "four"} {
						c.expect(`42["` + name + `"]`)
					}
					c.expect(`4391["guest"]`)
					c.expect(`4392["guest"]`)
					if err := errors.Join(srv.To("admin").Emit("secret"), srv.To("guest").Emit("open")); err != nil {
						t.Error(err)
					}
					c.expect(`42["open"]`)
					c.expectNothing()
					time.Sleep(10 * time.Second) // the time for that has ended
					if got := c.call("role"); got != `["guest"]` {
						t.Errorf("afterwards the role is %s", got)
					}
					c.expectNothing()
				})
			})
		}
	}
}

// TestRefreshSignsNobodyOut guards that after RefreshUser each token is still good to be presented, that
// Middleware refuses it until then, and which sockets are reached.
func TestRefreshSignsNobodyOut(t *testing.T) {
	withDirectory(t, nil, func(srv *testServer, d *directory) {
		d.set("bert", "admin")
		one, token := srv.authenticated()
		other, second := srv.authenticated()
		bert, _ := srv.authenticatedAs(claimsOf("bert"))
		offered := srv.dial("")
		o := offered.offerFor(srv.code())
		code := srv.code()
		if status, _, _ := srv.get(token); status != 200 {
			t.Errorf("before: %d", status)
		}
		if got := srv.demote(d, "anna", "guest"); got.Sessions != 3 || got.Sockets != 2 {
			t.Errorf("%+v", got)
		}
		one.expect(refreshEvent)
		other.expect(refreshEvent)
		bert.expectAuthenticated()
		offered.expectUnauthenticated()
		if status, body, _ := srv.get(token); status != 401 || !strings.Contains(body, `"stale_token"`) {
			t.Errorf("Middleware answers %d %s", status, body)
		}
		one.authenticate(token)
		if got := role(claimsIn(t, one.expectToken())); got != "guest" {
			t.Errorf("the next token has the role %q", got)
		}
		if status, _, _ := srv.get(one.current); status != 200 {
			t.Errorf("Middleware answers the next token with %d", status)
		}
		other.close()
		for _, token := range []string{second, o.token, code} {
			c, _ := srv.confirmed(token)
			if got := c.call("role"); got != `["guest"]` {
				t.Errorf("after coming back the role is %s", got)
			}
		}
		offered.close()
	})
}

// claimsIn returns the claims of a token.
func claimsIn(t *testing.T, token string) jwt.MapClaims {
	t.Helper()
	claims := make(jwt.MapClaims)
	if _, _, err := jwt.NewParser().ParseUnverified(token, claims); err != nil {
		t.Fatal(err)
	}
	return claims
}

// TestRefreshArguments guards what RefreshUser and RefreshSession answer to what does not exist, whom
// RefreshSession is about, what fails, and what is recorded.
func TestRefreshArguments(t *testing.T) {
	store := new(faultyStore)
	var events []socketauth.AuditEvent
	withDirectory(t, func(o *socketauth.Options[string]) {
		store.Store = blacklist.NewMemory()
		o.Blacklist = store
		o.Audit = func(_ context.Context, e socketauth.AuditEvent) {
			if e.Kind == socketauth.AuditRefreshed {
				events = append(events, e)
			}
		}
	}, func(srv *testServer, d *directory) {
		auth, ctx := srv.Auth(), srv.Context()
		one, token := srv.authenticated()
		other, _ := srv.authenticated()
		sid := srv.sessionOf(one)
		for name, c := range map[string]struct {
			refresh func() (socketauth.Receipt, error)
			want    socketauth.Receipt
			fails   bool
		}{
			"nobody":                 {func() (socketauth.Receipt, error) { return auth.RefreshUser(ctx, "") }, socketauth.Receipt{}, true},
			"no session":             {func() (socketauth.Receipt, error) { return auth.RefreshSession(ctx, "anna", "") }, socketauth.Receipt{}, true},
			"a session of nobody":    {func() (socketauth.Receipt, error) { return auth.RefreshSession(ctx, "", sid) }, socketauth.Receipt{}, true},
			"an unknown user":        {func() (socketauth.Receipt, error) { return auth.RefreshUser(ctx, "carl") }, socketauth.Receipt{Nodes: 1}, false},
			"another user's session": {func() (socketauth.Receipt, error) { return auth.RefreshSession(ctx, "carl", sid) }, socketauth.Receipt{}, false},
			"what no session is":     {func() (socketauth.Receipt, error) { return auth.RefreshSession(ctx, "anna", "x") }, socketauth.Receipt{Nodes: 1}, false},
		} {
			if got, err := c.refresh(); !reflect.DeepEqual(got, c.want) || (err != nil) != c.fails {
				t.Errorf("%s: %+v, %v", name, got, err)
			}
		}
		one.expectAuthenticated()
		other.expectAuthenticated()

		store.fail(storeDown, nil)
		if _, err := auth.RefreshUser(ctx, "anna"); !errors.Is(err, socketauth.ErrUnavailable) {
			t.Errorf("without the store: %v", err)
		}
		store.fail(nil, nil)
		one.expectAuthenticated()

		events = nil
		r, err := auth.RefreshSession(ctx, "anna", sid)
		expectReceipt(t, r, err, 1, 1, 1)
		one.expect(refreshEvent)
		if got := other.call("role"); got != `["admin"]` {
			t.Errorf("the other session's socket answers %s", got)
		}
		if len(events) != 1 || events[0].UserID != "anna" || events[0].SessionID != sid {
			t.Errorf("recorded: %+v", events)
		}
		one.authenticate(token)
		one.expectToken()
		one.expectAuthenticated()
	})
}

// TestClientThatDoesNotRefresh guards that a client that knows nothing of "refresh" is disconnected
// Timeout after the first one that it has not answered, in such a way that it comes back, and has new
// claims then.
func TestClientThatDoesNotRefresh(t *testing.T) {
	for _, version := range []string{"3", "4"} {
		for _, transport := range siotest.Transports {
			t.Run(version+" "+transport, func(t *testing.T) {
				withDirectory(t, nil, func(srv *testServer, d *directory) {
					reasons := make(chan string, 1)
					srv.OnDisconnect(func(_ context.Context, _ *socketauth.Socket, reason string) { reasons <- reason })
					c := srv.dialOn(version, transport)
					c.authenticate(srv.code())
					token := c.expectToken()
					synctest.Wait()
					began := time.Now()
					srv.demote(d, "anna", "guest")
					c.send(`4291["role"]`)
					time.Sleep(3 * time.Second)
					srv.demote(d, "anna", "nobody") // which gives it no more time
					c.expect(refreshEvent)
					c.expect(refreshEvent)
					c.expectClosed() // without a packet that says that the server has disconnected it
					if took := time.Since(began); took < 5*time.Second || took > 7*time.Second {
						t.Errorf("disconnected after %v", took)
					}
					if reason := <-reasons; reason != "outdated" {
						t.Errorf("the reason is %q", reason)
					}
					c = srv.dialOn(version, transport)
					c.authenticate(token)
					c.expectToken()
					if got := c.call("role"); got != `["nobody"]` {
						t.Errorf("after coming back the role is %s", got)
					}
				})
			})
		}
	}
}

// TestHandlerDuringRefresh guards that RefreshUser does not wait for a handler that runs, also not for the
// one that calls it, that such a handler keeps its claims, and that its reply goes out at once, but what
// it emits later.
func TestHandlerDuringRefresh(t *testing.T) {
	withDirectory(t, nil, func(srv *testServer, d *directory) {
		srv.On("demote me", func(ctx context.Context, s *socketauth.Socket, _ socketauth.Args) (any, error) {
			d.set("anna", "guest")
			r, err := srv.Auth().RefreshUser(ctx, "anna")
			if err == nil {
				err = s.Emit("done", r.Sockets)
			}
			claims, _ := socketauth.ClaimsFromContext(ctx)
			return role(claims), err
		})
		asked := make(chan error, 1)
		srv.On("ask", func(ctx context.Context, s *socketauth.Socket, _ socketauth.Args) (any, error) {
			d.set("anna", "nobody")
			_, err := srv.Auth().RefreshUser(ctx, "anna")
			if err == nil {
				_, err = s.EmitWithAck(ctx, "question")
			}
			asked <- err
			return role(s.Claims()), nil
		})
		c, token := srv.authenticated()
		c.send(`4291["demote me"]`)
		c.expect(refreshEvent)
		c.expect(`4391["admin"]`)
		c.send(`4292["role"]`)
		c.expectNothing()
		c.authenticate(token)
		c.expectToken()
		c.expect(`42["done",1]`)
		c.expect(`4392["guest"]`)

		c.send(`4293["ask"]`)
		c.expect(refreshEvent)
		c.expectNothing()
		c.authenticate(c.current)
		c.expectToken()
		id := strings.TrimSuffix(c.expect("42"), `["question"]`)
		c.send("43" + id + "[]")
		c.expect(`4393["nobody"]`)
		if err := <-asked; err != nil {
			t.Error(err)
		}
	})
}

// TestEmitWithAckThatWaits guards that EmitWithAck returns when its context or the socket ends while its
// event waits for newer claims, and that an event for whose reply nobody waits is not sent any more.
func TestEmitWithAckThatWaits(t *testing.T) {
	withDirectory(t, nil, func(srv *testServer, d *directory) {
		c, s := srv.authenticatedSocket(claimsOf("anna"))
		srv.demote(d, "anna", "guest")
		c.expect(refreshEvent)
		ctx, cancel := context.WithTimeout(srv.Context(), time.Second)
		defer cancel()
		if _, err := s.EmitWithAck(ctx, "question"); !errors.Is(err, context.DeadlineExceeded) {
			t.Error(err)
		}
		c.authenticate(c.current)
		c.expectToken()
		c.expectNothing()
		srv.demote(d, "anna", "nobody")
		c.expect(refreshEvent)
		if _, err := s.EmitWithAck(srv.Context(), "question"); !errors.Is(err, socketauth.ErrClosed) { // after Timeout
			t.Error(err)
		}
		c.expectClosed()
	})
}

// TestUpdateClaims guards what UpdateClaims is called with and when, and what its results do to the
// token, to the session and to the client.
func TestUpdateClaims(t *testing.T) {
	withDirectory(t, nil, func(srv *testServer, d *directory) {
		d.set("anna", "")
		c := srv.dial("")
		c.authenticate(srv.codeFor(jwt.MapClaims{"sub": "anna", "n": int64(1<<62 + 1), "role": "x"}))
		first := c.expectToken()
		before, after := payloadOf(t, srv.codeFor(jwt.MapClaims{"sub": "anna", "n": int64(1<<62 + 1), "role": "x"})), payloadOf(t, first)
		if string(before["n"]) != string(after["n"]) || string(after["role"]) != `"x"` {
			t.Errorf("unchanged claims became %s, %s", after["n"], after["role"])
		}
		if calls := d.called(); len(calls) != 1 || calls[0]["sub"] != "anna" || calls[0]["role"] != "x" || calls[0]["token_use"] == nil {
			t.Errorf("called with %v", calls)
		}
		own := claimsIn(t, first)
		d.failing(func(_ context.Context, old jwt.MapClaims) (jwt.MapClaims, error) {
			return jwt.MapClaims{"list": []int{1}}, nil // "sub" and the library's claims are left out
		})
		c.authenticate(first)
		second := claimsIn(t, c.expectToken())
		if second["sub"] != "anna" || second["sid"] != own["sid"] || second["role"] != nil || fmt.Sprint(second["list"]) != "[1]" {
			t.Errorf("the claims are %v", second)
		}
		c.expectAuthenticated()
	})
}

// TestUpdateClaimsFails guards what each failure of UpdateClaims does, that none uses up the token that
// was presented or ends an authenticated client's connection, and that ErrInvalidCredentials ends the
// session.
func TestUpdateClaimsFails(t *testing.T) {
	for name, c := range map[string]struct {
		hook func(ctx context.Context, old jwt.MapClaims) (jwt.MapClaims, error)
		code string
		log  string
	}{
		"public": {func(context.Context, jwt.MapClaims) (jwt.MapClaims, error) {
			return nil, &socketauth.PublicError{Code: "banned"}
		}, "banned", ""},
		"unavailable": {func(context.Context, jwt.MapClaims) (jwt.MapClaims, error) { return nil, socketauth.ErrUnavailable }, "unavailable", ""},
		"any error":   {func(context.Context, jwt.MapClaims) (jwt.MapClaims, error) { return nil, errors.New("a bug") }, "server_error", "a bug"},
		"panics":      {func(context.Context, jwt.MapClaims) (jwt.MapClaims, error) { panic("a bug") }, "server_error", "a bug"},
		"nothing":     {func(context.Context, jwt.MapClaims) (jwt.MapClaims, error) { return nil, nil }, "server_error", "sub"},
		"another user": {func(_ context.Context, old jwt.MapClaims) (jwt.MapClaims, error) {
			old["sub"] = "bert"
			return old, nil
		}, "server_error", "sub"},
		"no text": {func(_ context.Context, old jwt.MapClaims) (jwt.MapClaims, error) { old["sub"] = 1; return old, nil }, "server_error", "sub"},
		"not JSON": {func(_ context.Context, old jwt.MapClaims) (jwt.MapClaims, error) {
			old["x"] = func() {}
			return old, nil
		}, "server_error", "func"},
		"a longer life": {func(_ context.Context, old jwt.MapClaims) (jwt.MapClaims, error) { old["exp"] = 1e10; return old, nil }, "server_error", "exp"},
		"a proof":       {func(_ context.Context, old jwt.MapClaims) (jwt.MapClaims, error) { old["acr"] = "phr"; return old, nil }, "server_error", "acr"},
		"a mark":        {func(_ context.Context, old jwt.MapClaims) (jwt.MapClaims, error) { old["mark"] = 1e15; return old, nil }, "server_error", "mark"},
		"exits":         {func(context.Context, jwt.MapClaims) (jwt.MapClaims, error) { runtime.Goexit(); return nil, nil }, "server_error", "ended its goroutine"},
		"hangs": {func(ctx context.Context, old jwt.MapClaims) (jwt.MapClaims, error) {
			<-ctx.Done()
			return nil, ctx.Err()
		}, "server_error", ""},
		"hangs on": {func(ctx context.Context, old jwt.MapClaims) (jwt.MapClaims, error) {
			time.Sleep(time.Minute)
			return old, nil
		}, "server_error", "not returned within Timeout"},
	} {
		t.Run(name, func(t *testing.T) {
			withDirectory(t, nil, func(srv *testServer, d *directory) {
				live, token := srv.authenticated()
				code := srv.code()
				d.failing(c.hook)
				live.authenticate(token)
				live.expectUnauthorized(c.code)
				if c.log != "" {
					srv.expectLogged(c.log)
				}
				live.expectAuthenticated()
				srv.dial(fmt.Sprintf(`{"token":%q}`, code)).expectRefused(c.code)
				d.failing(nil)
				d.set("anna", "guest")
				live.authenticate(token) // at once, also while the call before hangs
				live.expectToken()
				if got := live.call("role"); got != `["guest"]` {
					t.Errorf("the role is %s", got)
				}
				fresh := srv.dial("")
				fresh.authenticate(code)
				fresh.expectToken()
				time.Sleep(2 * time.Minute) // whatever hung
				live.expectAuthenticated()
			})
		})
	}
	t.Run("gone", func(t *testing.T) {
		withDirectory(t, nil, func(srv *testServer, d *directory) {
			one, token := srv.confirmed(srv.code())
			two, token := srv.confirmed(token)
			one.expect(`42["rotated"]`)
			other, _ := srv.authenticated()
			d.failing(func(context.Context, jwt.MapClaims) (jwt.MapClaims, error) {
				return nil, fmt.Errorf("%w: no such user", socketauth.ErrInvalidCredentials)
			})
			two.authenticate(token)
			one.expectRefused("session_revoked")
			two.expectRefused("session_revoked")
			other.expectAuthenticated() // another session, which UpdateClaims was not asked about
			d.failing(nil)
			srv.expectTokenRefused(token, "session_revoked")
		})
	})
}

// TestUpdateClaimsOfDeadTokens guards that UpdateClaims is not called for a token that the store would not
// accept, and that such a token comes to what it comes to without UpdateClaims: reuse ends the session,
// also that of a code.
func TestUpdateClaimsOfDeadTokens(t *testing.T) {
	withDirectory(t, nil, func(srv *testServer, d *directory) {
		revoked, dead := srv.authenticated()
		if _, err := srv.Auth().RevokeUser(srv.Context(), "anna"); err != nil {
			t.Fatal(err)
		}
		revoked.expectRefused("session_revoked")
		time.Sleep(time.Millisecond)
		for _, generation := range []int{0, 1} {
			tokens := []string{srv.code()}
			c := srv.dial("")
			for range 3 {
				c.authenticate(tokens[len(tokens)-1])
				tokens = append(tokens, c.expectToken())
			}
			d.called()
			time.Sleep(10 * time.Second)
			d.failing(func(context.Context, jwt.MapClaims) (jwt.MapClaims, error) {
				return nil, socketauth.ErrInvalidCredentials
			})
			srv.expectTokenRefused(dead, "session_revoked")
			c.expectAuthenticated()
			srv.expectTokenRefused(srv.foreignToken(), "no_longer_valid")
			srv.expectTokenRefused(tokens[generation], "token_reused")
			c.expectRefused("token_reused")
			if calls := d.called(); len(calls) != 0 {
				t.Errorf("UpdateClaims was called with %v", calls)
			}
			d.failing(nil)
		}
	})
}

// TestUpdateClaimsTakesLong guards that a client which has presented its token in time is not closed while
// UpdateClaims runs, because of that token's expiry; and that nothing is wrong if a client leaves then.
func TestUpdateClaimsTakesLong(t *testing.T) {
	withDirectory(t, nil, func(srv *testServer, d *directory) {
		c, s := srv.authenticatedSocket(claimsOf("anna"))
		goOn := make(chan struct{})
		d.failing(func(_ context.Context, old jwt.MapClaims) (jwt.MapClaims, error) { <-goOn; return old, nil })
		time.Sleep(time.Until(socketauth.ExpiresAt(s)) - time.Second)
		c.authenticate(c.current)
		time.Sleep(2 * time.Second)
		close(goOn)
		c.expectToken()
		c.expectAuthenticated()

		goOn = make(chan struct{})
		c.authenticate(c.current)
		synctest.Wait()
		c.close()
		synctest.Wait()
		close(goOn)
		synctest.Wait()
		if log := srv.logs.String(); strings.Contains(log, "level=ERROR") || strings.Contains(log, "level=WARN") {
			t.Errorf("logged:\n%s", log)
		}
	})
}

// TestEventsOfClosedSocketAreForgotten guards that nothing is kept of a socket that has ended while its
// events waited for newer claims, also of those that were queued behind a handler.
func TestEventsOfClosedSocketAreForgotten(t *testing.T) {
	withDirectory(t, nil, func(srv *testServer, d *directory) {
		goOn := make(chan struct{})
		srv.On("wait", func(context.Context, *socketauth.Socket, socketauth.Args) (any, error) { <-goOn; return nil, nil })
		c, s := srv.authenticatedSocket(claimsOf("anna"))
		c.send(`42["wait"]`)
		c.send(`42["role"]`)
		synctest.Wait()
		srv.demote(d, "anna", "guest")
		_ = s.Emit("x")
		if !socketauth.Waiting(s) {
			t.Error("nothing waits")
		}
		c.close()
		synctest.Wait()
		close(goOn)
		synctest.Wait()
		if socketauth.Waiting(s) {
			t.Error("something still waits")
		}
	})
}

// TestUpdateClaimsShared guards that sockets of a session that are brought up to date at once share a call
// of UpdateClaims, and those of another session do not.
func TestUpdateClaimsShared(t *testing.T) {
	withDirectory(t, nil, func(srv *testServer, d *directory) {
		one, token := srv.confirmed(srv.code())
		two, token := srv.confirmed(token)
		one.expect(`42["rotated"]`)
		other, foreign := srv.authenticated()
		srv.demote(d, "anna", "guest")
		d.called()
		goOn := make(chan struct{})
		d.failing(func(_ context.Context, old jwt.MapClaims) (jwt.MapClaims, error) { <-goOn; return old, nil })
		for _, c := range []*client{one, two} {
			c.expect(refreshEvent)
			c.emit("authenticate", map[string]any{"token": token, "confirm": true})
		}
		other.expect(refreshEvent)
		other.authenticate(foreign)
		synctest.Wait()
		if calls := d.called(); len(calls) != 2 {
			t.Errorf("%d calls, want one for each session", len(calls))
		}
		close(goOn)
		synctest.Wait()
		one.expectOffer().confirm()
		two.expectOffer()
		other.expectToken()
	})
}

// TestOnClaimsChanged guards when OnClaimsChanged is called and with what, at a rotation that nobody has
// asked for too; that what it emits and joins comes before later events; and what its errors do.
func TestOnClaimsChanged(t *testing.T) {
	withDirectory(t, func(o *socketauth.Options[string]) {
		o.TenantID = func(_ context.Context, c jwt.MapClaims) (string, error) { return "of " + role(c), nil }
	}, func(srv *testServer, d *directory) {
		var seen []string
		var fail error
		var left time.Duration
		srv.OnClaimsChanged(func(ctx context.Context, s *socketauth.Socket, old jwt.MapClaims) error {
			claims, _ := socketauth.ClaimsFromContext(ctx)
			seen = append(seen, fmt.Sprint(role(old), ">", role(s.Claims()), " ", role(claims), " ", s.TenantID()))
			at, _ := ctx.Deadline()
			left = time.Until(at)
			if _, err := s.EmitWithAck(ctx, "question"); !errors.Is(err, socketauth.ErrNotAuthenticated) {
				t.Errorf("EmitWithAck: %v", err)
			}
			_ = s.Emit("changed")
			_ = srv.To("guest").Emit("guests")
			return fail
		})
		c, token := srv.authenticated()
		c.authenticate(token)
		c.expectToken()
		c.expectAuthenticated() // nothing has changed
		d.set("anna", "guest")
		c.authenticate(c.current)
		c.send(`4291["role"]`)
		c.expectToken()
		c.expect(`42["changed"]`)
		c.expect(`42["guests"]`)
		c.expect(`4391["guest"]`)
		srv.demote(d, "anna", "guest") // which is nothing new
		c.expect(refreshEvent)
		c.authenticate(c.current)
		c.expectToken()
		c.expectAuthenticated()
		if want := []string{"admin>guest guest of guest"}; !slices.Equal(seen, want) || left != 5*time.Second {
			t.Errorf("called with %q, and %v left", seen, left)
		}
		for _, f := range []struct {
			err  error
			code string
		}{
			{&socketauth.PublicError{Code: "banned"}, "banned"}, {socketauth.ErrUnavailable, "unavailable"}, {errors.New("a bug"), "server_error"},
		} {
			fail = f.err
			srv.demote(d, "anna", "refused as "+f.code)
			c.expect(refreshEvent)
			c.send(`4292["role"]`)
			c.authenticate(c.current)
			c.expectToken()
			c.expectRefused(f.code)
			fail = nil
			next := srv.dial("")
			next.authenticate(c.current)
			next.expectToken()
			c = next
			if got := c.call("role"); got != `["refused as `+f.code+`"]` {
				t.Errorf("after coming back the role is %s", got)
			}
		}
		defer func() {
			if recover() == nil {
				t.Error("a nil function is taken")
			}
		}()
		srv.OnClaimsChanged(nil)
	})
}

// TestClaimsChangedElsewhere guards that a socket lives on the claims of the token that it has presented,
// after OnClaimsChanged, also if the next one is then not confirmed: until now its events waited for that.
func TestClaimsChangedElsewhere(t *testing.T) {
	store := new(faultyStore)
	withDirectory(t, func(o *socketauth.Options[string]) {
		store.Store = blacklist.NewMemory()
		o.Blacklist = store
	}, func(srv *testServer, d *directory) {
		c, token := srv.confirmed(srv.code())
		other, token := srv.confirmed(token)
		c.expect(`42["rotated"]`)
		d.set("anna", "guest")
		o := other.offerFor(token)
		o.confirm()
		other.expectAuthenticated()
		c.expect(`42["rotated"]`)
		next := c.offerFor(o.token)
		store.fail(storeDown, nil)
		next.confirm()
		c.expectUnauthorized("unavailable")
		store.fail(nil, nil)
		if got := c.call("role"); got != `["guest"]` {
			t.Errorf("the role is %s", got)
		}
		if err := errors.Join(srv.To("admin").Emit("secret"), srv.To("guest").Emit("open")); err != nil {
			t.Error(err)
		}
		c.expect(`42["open"]`)
		other.expect(`42["open"]`)

		// The same if the acknowledgement comes when the session is further.
		d.set("anna", "nobody")
		o = other.offerFor(next.token)
		o.confirm()
		other.expectAuthenticated()
		c.expect(`42["rotated"]`) // to next, which c does not wait to confirm any more
		c.expect(`42["rotated"]`) // to o
		next = c.offerFor(o.token)
		o = next
		for range 2 {
			o = other.offerFor(o.token)
			o.confirm()
			other.expectAuthenticated()
			c.expect(`42["rotated"]`)
		}
		c.send(`4291["role"]`)
		c.expectNothing() // until it is known whether OnClaimsChanged need not be asked about the next token
		next.confirm()
		c.expect(`4391["nobody"]`)
	})
}

// TestRefreshWhileOffered guards that a token which was offered before RefreshUser does not let its client
// in, or stay in, once it is confirmed: a client that was in is told to present it, another comes back.
func TestRefreshWhileOffered(t *testing.T) {
	withDirectory(t, nil, func(srv *testServer, d *directory) {
		c := srv.dial("")
		o := c.offerFor(srv.code())
		srv.demote(d, "anna", "guest")
		o.confirm()
		c.expectClosed() // in a way after which it comes back
		c, token := srv.confirmed(o.token)
		if got := c.call("role"); got != `["guest"]` {
			t.Errorf("the role is %s", got)
		}
		o = c.offerFor(token)
		srv.demote(d, "anna", "nobody")
		c.expect(refreshEvent)
		c.send(`4291["role"]`)
		o.confirm()
		c.expectNothing()
		last := c.offerFor(o.token)
		c.expectNothing()
		last.confirm()
		c.expect(`4391["nobody"]`)
	})
}

// TestRefreshDuringPresentation guards that a presentation during which RefreshUser is called ends with the
// claims of after it, whether the store has decided before or not; that OnAuthenticated's rooms are
// corrected by OnClaimsChanged; and that after three times the client is told to come back.
func TestRefreshDuringPresentation(t *testing.T) {
	for _, confirm := range []bool{false, true} {
		for _, after := range []bool{false, true} {
			t.Run(fmt.Sprintf("confirming %v, decided %v", confirm, after), func(t *testing.T) {
				store := new(faultyStore)
				withDirectory(t, func(o *socketauth.Options[string]) {
					store.Store = blacklist.NewMemory()
					o.Blacklist = store
				}, func(srv *testServer, d *directory) {
					raced := false
					race := func(call string) error {
						if call == "Present" && !raced {
							raced = true
							srv.demote(d, "anna", "guest")
						}
						return nil
					}
					if after {
						store.fail(nil, race)
					} else {
						store.fail(race, nil)
					}
					c := srv.dial("")
					c.emit("authenticate", map[string]any{"token": srv.code(), "confirm": confirm})
					switch {
					case confirm && after:
						o := c.expectOffer()
						o.confirm()
						c.expectClosed() // it comes back with what it has stored
						c, _ = srv.confirmed(o.token)
					case confirm:
						c.expectOffer().confirm()
					case after:
						token := c.expectToken()
						c.send(`4290["role"]`)
						c.expect(refreshEvent)
						c.expectNothing()
						c.authenticate(token)
						c.expectToken()
						c.expect(`4390["guest"]`)
					default:
						c.expectToken()
					}
					if got := c.call("role"); got != `["guest"]` {
						t.Errorf("the role is %s", got)
					}
					if err := errors.Join(srv.To("admin").Emit("secret"), srv.To("guest").Emit("open")); err != nil {
						t.Error(err)
					}
					c.expect(`42["open"]`)
				})
			})
		}
	}
	t.Run("again and again", func(t *testing.T) {
		withDirectory(t, nil, func(srv *testServer, d *directory) {
			c, token := srv.authenticated()
			d.called()
			d.failing(func(ctx context.Context, old jwt.MapClaims) (jwt.MapClaims, error) { // a bug of the app
				_, err := srv.Auth().RefreshUser(ctx, "anna")
				return old, err
			})
			c.authenticate(token)
			for range 3 {
				c.expect(refreshEvent)
			}
			c.expectUnauthorized("unavailable")
			if calls := d.called(); len(calls) != 3 {
				t.Errorf("UpdateClaims was called %d times, want 3", len(calls))
			}
			d.failing(nil)
			c.authenticate(token)
			c.expectToken()
			c.expectAuthenticated()
		})
	})
}

// TestRefreshFromHooks guards that RefreshUser may be called within OnAuthenticated and OnClaimsChanged:
// the client is let in, or stays, with claims of after that.
func TestRefreshFromHooks(t *testing.T) {
	withDirectory(t, nil, func(srv *testServer, d *directory) {
		var inHook string // the role that is given in the next hook
		give := func() error {
			if inHook == "" {
				return nil
			}
			d.set("anna", inHook)
			inHook = ""
			_, err := srv.Auth().RefreshUser(srv.Context(), "anna")
			return err
		}
		srv.OnAuthenticated(func(context.Context, *socketauth.Socket) error { return give() })
		srv.OnClaimsChanged(func(context.Context, *socketauth.Socket, jwt.MapClaims) error { return give() })
		inHook = "guest"
		c := srv.dial("")
		c.authenticate(srv.code())
		c.expectToken()
		if got := c.call("role"); got != `["guest"]` {
			t.Errorf("after OnAuthenticated: %s", got)
		}
		inHook = "nobody"
		srv.demote(d, "anna", "visitor")
		c.expect(refreshEvent)
		c.send(`4290["role"]`)
		c.authenticate(c.current)
		c.expectToken()
		c.expect(refreshEvent)
		c.expectNothing()
		c.authenticate(c.current)
		c.expectToken()
		c.expect(`4390["nobody"]`)
		if err := errors.Join(srv.To("guest", "visitor").Emit("secret"), srv.To("nobody").Emit("open")); err != nil {
			t.Error(err)
		}
		c.expect(`42["open"]`)
	})
}

// TestHeldLimits guards that what waits for a socket whose client does not refresh is bounded: too many
// messages disconnect it so that it comes back, too many events as ever.
func TestHeldLimits(t *testing.T) {
	withDirectory(t, nil, func(srv *testServer, d *directory) {
		reasons := make(chan string, 1)
		srv.OnDisconnect(func(_ context.Context, _ *socketauth.Socket, reason string) { reasons <- reason })
		for name, c := range map[string]struct {
			burst  func(c *client, s *socketauth.Socket)
			reason string
		}{
			"messages": {func(_ *client, s *socketauth.Socket) { emitMany(1025, func() { _ = s.Emit("x") }) }, "outdated"},
			"emits":    {func(*client, *socketauth.Socket) { emitMany(1025, func() { _ = srv.Emit("x") }) }, "outdated"},
			"large": {func(*client, *socketauth.Socket) {
				emitMany(9, func() { _ = srv.Emit("x", strings.Repeat("x", 1<<19)) })
			}, "outdated"},
			"enough": {func(*client, *socketauth.Socket) { emitMany(1024, func() { _ = srv.Emit("x") }) }, ""},
			"events": {func(c *client, _ *socketauth.Socket) {
				emitMany(1025, func() { c.send(`42["role"]`); synctest.Wait() })
			}, "too many events"},
			"few":       {func(c *client, _ *socketauth.Socket) { emitMany(1024, func() { c.send(`42["role"]`) }) }, ""},
			"left":      {func(c *client, _ *socketauth.Socket) { c.close() }, "transport close"},
			"logs out":  {func(c *client, _ *socketauth.Socket) { c.emit("logout", c.current) }, "logged out"},
			"is thrown": {func(_ *client, s *socketauth.Socket) { s.Disconnect() }, "server disconnect"},
		} {
			client, s := srv.authenticatedSocket(claimsOf("anna"))
			srv.demote(d, "anna", "guest")
			client.expect(refreshEvent)
			c.burst(client, s)
			synctest.Wait()
			select {
			case reason := <-reasons:
				if reason != c.reason {
					t.Errorf("%s: disconnected for %q, want %q", name, reason, c.reason)
				}
			default:
				if c.reason != "" {
					t.Errorf("%s: not disconnected", name)
				}
				time.Sleep(6 * time.Second)
				<-reasons
			}
			client.close()
		}
	})
}

func emitMany(n int, emit func()) {
	for range n {
		emit()
	}
}

// TestShutdownWhileHeld guards that Shutdown ends a socket that waits for newer claims, and one whose
// OnClaimsChanged runs: its context ends.
func TestShutdownWhileHeld(t *testing.T) {
	withDirectory(t, nil, func(srv *testServer, d *directory) {
		srv.OnClaimsChanged(func(ctx context.Context, _ *socketauth.Socket, _ jwt.MapClaims) error {
			<-ctx.Done()
			return ctx.Err()
		})
		c, token := srv.authenticated()
		other, s := srv.authenticatedSocket(claimsOf("anna"))
		srv.demote(d, "anna", "guest")
		c.expect(refreshEvent)
		other.expect(refreshEvent)
		_ = s.Emit("waits")
		c.authenticate(token)
		c.expectToken()
		synctest.Wait()
		if err := srv.Shutdown(context.Background()); err != nil {
			t.Error(err)
		}
	})
}

// TestRefreshCopiedClaims guards that RefreshUser works without UpdateClaims: the claims stay, and nothing is
// called.
func TestRefreshCopiedClaims(t *testing.T) {
	withServer(t, func(o *socketauth.Options[string]) { o.RefreshInterval = time.Minute }, func(srv *testServer) {
		srv.OnClaimsChanged(func(context.Context, *socketauth.Socket, jwt.MapClaims) error {
			t.Error("OnClaimsChanged was called")
			return nil
		})
		c, token := srv.authenticated()
		r, err := srv.Auth().RefreshUser(srv.Context(), "anna")
		expectReceipt(t, r, err, 1, 1, 1)
		c.expect(refreshEvent)
		c.authenticate(token)
		if next := c.expectToken(); next == token {
			t.Error("a token below the mark was kept")
		}
		c.expectAuthenticated()
		last := c.current
		c.authenticate(last)
		if c.expectToken() != last {
			t.Error("a young token was replaced")
		}
	})
}
