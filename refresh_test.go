package socketauth_test

import (
	"context"
	"errors"
	"reflect"
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

// withDirectory runs a test against a server whose users have the roles of a directory. The sockets
// of each role are in a room of its name, and "role" replies with the role that its handler runs
// under.
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

// TestRefreshUser guards that once RefreshUser has returned, on each engine and transport, nothing
// is handled or delivered under older claims: it waits for the client's next token and
// OnClaimsChanged, and then comes in order, as far as the socket is still meant.
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

// TestRefreshSignsNobodyOut guards that after RefreshUser each token is still good to be presented,
// that Middleware refuses it until then, and which sockets are reached.
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

// TestRefreshArguments guards what RefreshUser and RefreshSession answer to what does not exist,
// whom RefreshSession is about, what fails, and what is recorded.
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
// Timeout after the first one that it has not answered, in such a way that it comes back, and has
// new claims then.
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

// TestHandlerDuringRefresh guards that RefreshUser does not wait for a handler that runs, also not
// for the one that calls it, that such a handler keeps its claims, and that its reply goes out at
// once, but what it emits later.
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

// TestEmitWithAckThatWaits guards that EmitWithAck returns when its context or the socket ends
// while its event waits for newer claims, and that an event for whose reply nobody waits is not
// sent any more.
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
