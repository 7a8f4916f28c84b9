package socketauth

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/z-open/socketauth/blacklist"
)

func claimsOf(sub string) jwt.MapClaims { return jwt.MapClaims{"sub": sub} }

func TestSessionsOfAUser(t *testing.T) {
	inWorld(t, func(o *Options[string]) { o.TokenLifetime = time.Hour }, func(w *world) {
		began := time.Now()
		a, _ := w.in()
		time.Sleep(time.Minute)
		b, token := w.in()
		b.authenticate(token)
		b.token()
		time.Sleep(time.Minute)
		b2 := w.dial("")
		b2.confirms(w.tokenOf(b)).confirm()
		b2.alive()
		b.next(`42["rotated"]`)
		bert, _ := w.inAs(claimsOf("bert"))

		sessions, err := w.Auth().Sessions(w.Context(), "anna")
		if err != nil || len(sessions) != 2 {
			t.Fatalf("%+v, %v", sessions, err)
		}
		last, first := sessions[0], sessions[1]
		if last.Sockets != 2 || first.Sockets != 1 {
			t.Errorf("%d and %d sockets", last.Sockets, first.Sockets)
		}
		if !first.Since.Equal(began) || !first.LastSeen.Equal(began) || !first.ExpiresAt.Equal(began.Add(time.Hour)) {
			t.Errorf("%+v", first)
		}
		if !last.Since.Equal(began.Add(time.Minute)) || !last.LastSeen.Equal(began.Add(2*time.Minute)) {
			t.Errorf("%+v", last)
		}
		if last.UserID != "anna" || last.Address != "pipe" || last.UserAgent != "Go-http-client/1.1" || last.ID == first.ID {
			t.Errorf("%+v", last)
		}
		a.close()
		synctest.Wait()
		if sessions, _ = w.Auth().Sessions(w.Context(), "anna"); sessions[1].Sockets != 0 {
			t.Errorf("%d sockets after it has gone", sessions[1].Sockets)
		}
		b.emit("logout")
		b.next(`42["logged_out"]`)
		if sessions, _ = w.Auth().Sessions(w.Context(), "anna"); len(sessions) != 1 || sessions[0].ID != first.ID {
			t.Errorf("after the log-out: %+v", sessions)
		}
		time.Sleep(time.Hour)
		if sessions, _ = w.Auth().Sessions(w.Context(), "anna"); len(sessions) != 0 {
			t.Errorf("after the last expiry: %+v", sessions)
		}
		bert.refusedAndGone("token_expired")
	})
}

// socket is the server's side of a client.
func (w *world) socket(c *client) *Socket {
	w.Helper()
	synctest.Wait() // it is told before it has entered
	for _, s := range w.hub.Members(everyone) {
		if s.ID() == c.sid {
			return s
		}
	}
	w.Fatal("no such socket")
	return nil
}

func (w *world) sessionOf(c *client) string { w.Helper(); return w.socket(c).SessionID() }
func (w *world) tokenOf(c *client) string   { w.Helper(); return w.socket(c).newest().Text }

func TestRevokeSessionEndsItEverywhere(t *testing.T) {
	inWorld(t, nil, func(w *world) {
		other, _ := w.in()
		a, token := w.stays(w.code())
		b, token := w.stays(token)
		a.next(`42["rotated"]`)
		waiting := w.dial("")
		branch := waiting.confirms(token).token
		sid := w.sessionOf(b)
		ended, err := w.Auth().RevokeSession(w.Context(), sid)
		if err != nil || ended != (Ended{Sessions: 1, Sockets: 3}) {
			t.Errorf("%+v, %v", ended, err)
		}
		for _, c := range []*client{a, b, waiting} {
			if u := c.refusedAndGone("session_revoked"); !u.Terminal {
				t.Error("not terminal")
			}
		}
		for _, token := range []string{token, branch} {
			w.refuses(token, "session_revoked")
			if status, body, _ := w.get(token); status != 401 || !strings.Contains(body, "session_revoked") {
				t.Errorf("Middleware: %d %s", status, body)
			}
		}
		other.alive()
		if ended, err := w.Auth().RevokeSession(w.Context(), sid); err != nil || ended != (Ended{}) {
			t.Errorf("again: %+v, %v", ended, err)
		}
		if _, err := w.Auth().RevokeSession(w.Context(), ""); err == nil {
			t.Error("no session is no session")
		}
	})
}

func TestRevokeUserEndsTheirSessionsAndTheLoginsOfBefore(t *testing.T) {
	inWorld(t, nil, func(w *world) {
		a, tokenA := w.in()
		b, _ := w.stays(w.code())
		unused := w.code()
		bert, _ := w.inAs(claimsOf("bert"))
		time.Sleep(time.Microsecond)
		ended, err := w.Auth().RevokeUser(w.Context(), "anna")
		if err != nil || ended != (Ended{Sessions: 2, Sockets: 2}) {
			t.Errorf("%+v, %v", ended, err)
		}
		a.refusedAndGone("session_revoked")
		b.refusedAndGone("session_revoked")
		w.refuses(tokenA, "session_revoked")
		w.refuses(unused, "session_revoked")
		bert.alive()
		time.Sleep(time.Microsecond) // in the same second
		c, token := w.in()
		c.alive()
		c.close()
		w.stays(token)
		if _, err := w.Auth().RevokeUser(w.Context(), ""); err == nil {
			t.Error("nobody is no user")
		}
	})
}

func TestRevokeOthersLeavesOneSessionAlone(t *testing.T) {
	// Guards: logging out session by session leaves the login with the old password that has not traded its code yet.
	inWorld(t, nil, func(w *world) {
		mine, _ := w.in()
		second := w.dial("")
		second.confirms(w.tokenOf(mine)).confirm()
		second.alive()
		mine.next(`42["rotated"]`)
		other, token := w.in()
		bert, _ := w.inAs(claimsOf("bert"))
		untraded := w.code()
		time.Sleep(time.Millisecond)
		ended, err := w.Auth().RevokeOthers(w.Context(), "anna", w.sessionOf(mine))
		if err != nil || ended != (Ended{Sessions: 1, Sockets: 1}) {
			t.Errorf("%+v, %v", ended, err)
		}
		other.refusedAndGone("session_revoked")
		w.refuses(token, "session_revoked")
		w.refuses(untraded, "session_revoked")
		for _, c := range []*client{mine, second, bert} {
			c.alive()
		}
		w.stays(w.tokenOf(second))
		if ended, err := w.Auth().RevokeOthers(w.Context(), "anna", w.sessionOf(bert)); err != nil || ended.Sessions != 1 {
			t.Errorf("an exception that is another user's: %+v, %v", ended, err)
		}
		mine.next(`42["rotated"]`)
		mine.refusedAndGone("session_revoked")
		bert.alive()
		for _, ids := range [][2]string{{"anna", ""}, {"", "x"}} {
			if _, err := w.Auth().RevokeOthers(w.Context(), ids[0], ids[1]); err == nil || errors.Is(err, ErrUnavailable) {
				t.Errorf("%q: %v", ids, err)
			}
		}
	})
}

func TestRevokeAllEndsAll(t *testing.T) {
	inWorld(t, nil, func(w *world) {
		a, token := w.in()
		bert, _ := w.inAs(claimsOf("bert"))
		unused := w.code()
		stranger := w.dial("")
		time.Sleep(time.Microsecond)
		ended, err := w.Auth().RevokeAll(w.Context())
		if err != nil || ended != (Ended{Sessions: 2, Sockets: 2}) {
			t.Errorf("%+v, %v", ended, err)
		}
		a.refusedAndGone("session_revoked")
		bert.refusedAndGone("session_revoked")
		w.refuses(token, "session_revoked")
		w.refuses(unused, "session_revoked")
		time.Sleep(time.Microsecond)
		stranger.authenticate(w.code())
		stranger.token()
		stranger.alive()
	})
}

func TestLoginWhosePasswordWasCheckedBeforeTheRevocationIsDead(t *testing.T) {
	// Guards: auth_time is from before the look-up, so that a revocation during it wins.
	var at, goOn chan struct{}
	inWorld(t, func(o *Options[string]) {
		at, goOn = make(chan struct{}), make(chan struct{})
		find := o.FindUserByCredentials
		o.FindUserByCredentials = func(ctx context.Context, c Credentials) (string, error) {
			close(at)
			<-goOn
			return find(ctx, c)
		}
	}, func(w *world) {
		codes := make(chan string)
		go func() { codes <- w.login() }()
		<-at
		time.Sleep(time.Millisecond)
		if _, err := w.Auth().RevokeUser(w.Context(), "anna"); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Millisecond)
		close(goOn)
		w.refuses(<-codes, "session_revoked")
	})
}

func TestRevocationThatRacesAPresentationLeavesNoSurvivor(t *testing.T) {
	// Guards: a socket is registered before the store decides and looks again after it. Both orders are forced, by a store
	// that blocks before and after its decision, for each kind of presentation and of revocation.
	presentations := map[string]func(w *world) (start func() *client){
		"code": func(w *world) func() *client {
			code := w.code()
			return func() *client { c := w.dial(""); c.authenticate(code); return c }
		},
		"code, confirming": func(w *world) func() *client {
			code := w.code()
			return func() *client {
				c := w.dial("")
				c.emit("authenticate", map[string]any{"token": code, "confirm": true})
				return c
			}
		},
		"reconnect": func(w *world) func() *client {
			c, token := w.in()
			c.close()
			synctest.Wait()
			return func() *client { c := w.dial(""); c.authenticate(token); return c }
		},
		"on a live socket": func(w *world) func() *client {
			c, token := w.in()
			return func() *client { c.authenticate(token); return c }
		},
	}
	revocations := map[string]func(w *world, sid string) error{
		"session": func(w *world, sid string) error { _, err := w.Auth().RevokeSession(w.Context(), sid); return err },
		"user":    func(w *world, _ string) error { _, err := w.Auth().RevokeUser(w.Context(), "anna"); return err },
		"all":     func(w *world, _ string) error { _, err := w.Auth().RevokeAll(w.Context()); return err },
	}
	for name, present := range presentations {
		for kind, revoke := range revocations {
			for _, before := range []bool{true, false} {
				t.Run(fmt.Sprint(name, "/", kind, "/before=", before), func(t *testing.T) {
					store := new(faultyStore)
					inWorld(t, func(o *Options[string]) { store.Store = blacklist.NewMemory(); o.Blacklist = store }, func(w *world) {
						start := present(w)
						time.Sleep(time.Microsecond)
						at, goOn := make(chan struct{}), make(chan struct{})
						var sid string
						store.fail(nil, nil)
						store.seen = func(t blacklist.TokenRef) { sid = t.SessionID }
						block := func(call string) error {
							if call == "Present" {
								close(at)
								<-goOn
							}
							return nil
						}
						if before {
							store.fail(block, nil)
						} else {
							store.fail(nil, block)
						}
						c := start()
						<-at
						store.fail(nil, nil)
						if err := revoke(w, sid); err != nil {
							t.Fatal(err)
						}
						close(goOn)
						synctest.Wait()
						if n := len(w.hub.All()); n != 0 {
							t.Errorf("%d sockets survive", n)
						}
						var last string
						for frame := range c.Packets() {
							if strings.HasPrefix(frame, `42["unauthorized"`) {
								last = frame
							}
						}
						if !strings.Contains(last, "session_revoked") {
							t.Errorf("the last word was %q", last)
						}
						if sessions, err := w.Auth().Sessions(w.Context(), "anna"); err != nil || len(sessions) > 0 {
							t.Errorf("%v, %v", sessions, err)
						}
					})
				})
			}
		}
	}
}

func TestRevocationDuringOnAuthenticatedEndsTheSocket(t *testing.T) {
	inWorld(t, nil, func(w *world) {
		entered := make(chan struct{})
		w.OnAuthenticated(func(ctx context.Context, s *Socket) error {
			close(entered)
			<-ctx.Done()
			return nil
		})
		c := w.dial("")
		c.authenticate(w.code())
		<-entered
		time.Sleep(time.Microsecond)
		if ended, err := w.Auth().RevokeUser(w.Context(), "anna"); err != nil || ended.Sockets != 1 {
			t.Errorf("%+v, %v", ended, err)
		}
		c.refusedAndGone("session_revoked")
	})
}

func TestRevocationWhileTheStoreIsDown(t *testing.T) {
	store := new(faultyStore)
	inWorld(t, func(o *Options[string]) { store.Store = blacklist.NewMemory(); o.Blacklist = store }, func(w *world) {
		c, _ := w.in()
		store.fail(down, nil)
		if _, err := w.Auth().RevokeUser(w.Context(), "anna"); !errors.Is(err, ErrUnavailable) || !errors.Is(err, errStoreDown) {
			t.Error(err)
		}
		if _, err := w.Auth().Sessions(w.Context(), "anna"); !errors.Is(err, ErrUnavailable) || !errors.Is(err, errStoreDown) {
			t.Error(err)
		}
		c.alive()
		go func() { time.Sleep(time.Second); store.fail(nil, nil) }()
		if ended, err := w.Auth().RevokeUser(w.Context(), "anna"); err != nil || ended.Sockets != 1 { // it is asked again
			t.Errorf("%+v, %v", ended, err)
		}
		c.refusedAndGone("session_revoked")
	})
}

func TestRotatedGoesToTheOthersOnce(t *testing.T) {
	inWorld(t, nil, func(w *world) {
		a, token := w.stays(w.code())
		b, token := w.stays(token)
		a.next(`42["rotated"]`)
		stranger, _ := w.in()
		o := b.confirms(token)
		a.silence() // not before it is confirmed
		o.confirm()
		a.next(`42["rotated"]`)
		b.authenticate(o.token) // plainly: confirmed at once
		b.token()
		a.next(`42["rotated"]`)
		for _, c := range []*client{a, b, stranger} {
			c.silence()
		}
	})
}

// otherProcess is a store that hears of changes as one does that processes share.
type otherProcess struct {
	blacklist.Store
	mu    sync.Mutex
	heard func(blacklist.Change)
	watch func(ctx context.Context) error
}

func (o *otherProcess) Watch(ctx context.Context, heard func(blacklist.Change)) error {
	o.mu.Lock()
	o.heard = heard
	o.mu.Unlock()
	return o.watch(ctx)
}

func TestChangesOfOtherProcessesAreHeard(t *testing.T) {
	store := &otherProcess{watch: func(ctx context.Context) error { <-ctx.Done(); return nil }}
	inWorld(t, func(o *Options[string]) { store.Store = blacklist.NewMemory(); o.Blacklist = store }, func(w *world) {
		synctest.Wait()
		in := func() (*client, string) { c, _ := w.in(); return c, w.sessionOf(c) }
		for verdict, code := range map[blacklist.Verdict]string{blacklist.SessionCompromised: "token_reused", blacklist.Revoked: "session_revoked"} {
			c, sid := in()
			store.heard(blacklist.Change{SessionID: sid, Verdict: verdict, At: time.Now()})
			c.refusedAndGone(code)
		}
		c, sid := in()
		store.heard(blacklist.Change{SessionID: sid, Verdict: blacklist.LoggedOut, At: time.Now()})
		c.next(`42["logged_out"]`)
		c.gone()

		c, sid = in()
		store.heard(blacklist.Change{SessionID: sid, Verdict: blacklist.Accepted, TokenID: newID(), Generation: 9})
		c.next(`42["rotated"]`)
		d := w.dial("")
		d.confirms(w.code())
		store.heard(blacklist.Change{SessionID: w.hub.Groups(w.hub.All()[0], 's')[0], Verdict: blacklist.Accepted, TokenID: newID(), Generation: 1})
		store.heard(blacklist.Change{UserID: "anna", Verdict: blacklist.Revoked, At: time.Now()})
		for _, c := range []*client{c, d} {
			for frame := range c.Packets() {
				if strings.Contains(frame, "unauthorized") && !strings.Contains(frame, "session_revoked") && !strings.Contains(frame, "no_longer_valid") {
					t.Error(frame)
				}
			}
		}

		// Logins of after it stay, if the store says so too; and what was missed is looked up.
		c, sid = in()
		store.heard(blacklist.Change{UserID: "anna", Verdict: blacklist.Revoked, At: time.Now().Add(-time.Second)})
		store.heard(blacklist.Change{All: true, Verdict: blacklist.Revoked, At: time.Now().Add(-time.Second)})
		store.heard(blacklist.Change{Gap: true})
		c.silence()
		if _, err := store.Store.Revoke(w.Context(), blacklist.Revocation{SessionID: sid, Why: blacklist.Revoked, Keep: time.Hour}); err != nil {
			t.Fatal(err)
		}
		c.alive()
		store.heard(blacklist.Change{Gap: true})
		c.refusedAndGone("session_revoked")
	})
}

func TestRevocationByAnotherClockEndsALoginThatSeemsLater(t *testing.T) {
	// Guards: the time of a revocation is by the clock of the store or of another process. Where that says that a login came
	// later, the store knows better, and its answer ends the socket.
	store := &otherProcess{watch: func(ctx context.Context) error { <-ctx.Done(); return nil }}
	inWorld(t, func(o *Options[string]) { store.Store = blacklist.NewMemory(); o.Blacklist = store }, func(w *world) {
		for name, all := range map[string]bool{"anna": false, "": true} {
			c, _ := w.in()
			if _, err := store.Store.Revoke(w.Context(), blacklist.Revocation{UserID: name, All: all, Why: blacklist.Revoked, Keep: time.Hour}); err != nil {
				t.Fatal(err)
			}
			c.alive() // nobody has told the server
			store.heard(blacklist.Change{UserID: name, All: all, Verdict: blacklist.Revoked, At: time.Now().Add(-time.Minute)})
			c.refusedAndGone("session_revoked")
			time.Sleep(time.Second)
		}
	})
}

func TestWhatWasMissedIsAskedForUntilTheStoreAnswers(t *testing.T) {
	// Guards: the store is likely to be out of reach just when changes were missed; and many such moments are one look.
	faulty := new(faultyStore)
	store := &otherProcess{Store: faulty, watch: func(ctx context.Context) error { <-ctx.Done(); return nil }}
	inWorld(t, func(o *Options[string]) { faulty.Store = blacklist.NewMemory(); o.Blacklist = store }, func(w *world) {
		c, _ := w.in()
		other, _ := w.inAs(claimsOf("bert"))
		if _, err := faulty.Store.Revoke(w.Context(), blacklist.Revocation{SessionID: w.sessionOf(c), Why: blacklist.Revoked, Keep: time.Hour}); err != nil {
			t.Fatal(err)
		}
		var checks atomic.Int32
		faulty.fail(func(call string) error { checks.Add(1); return errStoreDown }, nil)
		for range 1000 {
			store.heard(blacklist.Change{Gap: true})
		}
		time.Sleep(10 * time.Minute)
		c.alive()
		if n := checks.Load(); n > 100 {
			t.Errorf("asked %d times", n)
		}
		faulty.fail(nil, nil)
		c.refusedAndGone("session_revoked")
		other.alive()
	})
}

func TestRevocationsAtOnceCountEachSocketOnce(t *testing.T) {
	inWorld(t, nil, func(w *world) {
		c, _ := w.in()
		sid := w.sessionOf(c)
		var sockets, sessions atomic.Int32
		var wg sync.WaitGroup
		for range 5 {
			wg.Go(func() {
				ended, err := w.Auth().RevokeSession(w.Context(), sid)
				if err != nil {
					t.Error(err)
				}
				sockets.Add(int32(ended.Sockets))
				sessions.Add(int32(ended.Sessions))
			})
		}
		wg.Wait()
		if sockets.Load() != 1 || sessions.Load() != 1 {
			t.Errorf("%d sockets, %d sessions", sockets.Load(), sessions.Load())
		}
	})
}

func TestAuditThatTakesItsTimeHoldsNobodyUp(t *testing.T) {
	// Guards: a socket is closed before Audit hears of it, and another client's confirmation does not wait for that.
	goOn := make(chan struct{})
	inWorld(t, func(o *Options[string]) {
		goOn = make(chan struct{})
		o.Audit = func(_ context.Context, e AuditEvent) {
			if e.Kind == AuditRefused {
				<-goOn
			}
		}
	}, func(w *world) {
		code := w.code()
		a, b := w.dial(""), w.dial("")
		a.confirms(code)
		won := b.confirms(code)
		won.confirm()
		b.alive()
		a.refusedAndGone("no_longer_valid")
		silent := w.dial("")
		silent.refusedAndGone("timeout")
		close(goOn)
	})
}

func TestWatchThatFailsIsBegunAnew(t *testing.T) {
	var calls atomic.Int32
	store := &otherProcess{watch: func(ctx context.Context) error {
		if calls.Add(1) == 1 {
			return errStoreDown
		}
		<-ctx.Done()
		return nil
	}}
	inWorld(t, func(o *Options[string]) { store.Store = blacklist.NewMemory(); o.Blacklist = store }, func(w *world) {
		time.Sleep(time.Minute)
		if n := calls.Load(); n != 2 {
			t.Errorf("watched %d times", n)
		}
		w.logged("cannot watch the blacklist")
	})
}

func TestAudit(t *testing.T) {
	var mu sync.Mutex
	var events []AuditEvent
	inWorld(t, func(o *Options[string]) {
		o.TokenLifetime = time.Hour
		o.Audit = func(ctx context.Context, e AuditEvent) {
			if err := ctx.Err(); err != nil {
				t.Error(err)
			}
			mu.Lock()
			defer mu.Unlock()
			events = append(events, e)
		}
	}, func(w *world) {
		var secrets []string
		expect := func(step string, want ...AuditKind) []AuditEvent {
			t.Helper()
			synctest.Wait()
			mu.Lock()
			defer mu.Unlock()
			got := slices.Clone(events)
			events = nil
			var kinds []AuditKind
			for _, e := range got {
				kinds = append(kinds, e.Kind)
				if e.Time.IsZero() || e.Address != "pipe" && e.Kind != AuditRevoked {
					t.Errorf("%s: %+v", step, e)
				}
			}
			if !slices.Equal(kinds, want) {
				t.Errorf("%s: %v, want %v", step, kinds, want)
			}
			return got
		}
		code := w.login()
		if e := expect("login", AuditLogin); e[0].UserID != "anna" || e[0].SessionID == "" {
			t.Errorf("%+v", e)
		}
		w.post("/login", `{"username":"anna","password":"wrong"}`)
		if e := expect("wrong password", AuditLoginFailed); e[0].Code != "USER_INVALID" || e[0].Account != "anna" || e[0].UserID != "" {
			t.Errorf("%+v", e)
		}
		w.post("/register", `{"username":"anna","password":"secret"}`)
		expect("register", AuditRegistered)
		c := w.dial("")
		c.authenticate(code)
		token := c.token()
		if e := expect("authenticate", AuditAuthenticated); e[0].UserID != "anna" || e[0].SocketID != c.sid || e[0].SessionID == "" {
			t.Errorf("%+v", e)
		}
		o := c.confirms(token)
		expect("offered")
		o.confirm()
		expect("confirmed", AuditRotated)
		w.refuses("x", "invalid_token")
		if e := expect("garbage", AuditRefused); e[0].Code != "invalid_token" || e[0].UserID != "" {
			t.Errorf("%+v", e)
		}
		w.get("x")
		expect("request", AuditRefused)
		time.Sleep(time.Minute)
		w.refuses(token, "token_reused")
		c.refusedAndGone("token_reused")
		if e := expect("reuse", AuditReuse, AuditRefused); e[0].UserID != "anna" || e[1].Code != "token_reused" || e[1].UserID != "anna" {
			t.Errorf("%+v", e)
		}
		c, token = w.in()
		expect("in", AuditAuthenticated)
		time.Sleep(time.Hour)
		c.refusedAndGone("token_expired")
		if e := expect("expiry", AuditExpired); e[0].UserID != "anna" {
			t.Errorf("%+v", e)
		}
		w.refuses(token, "token_expired")
		if e := expect("too late", AuditRefused); e[0].UserID != "anna" || e[0].Code != "token_expired" {
			t.Errorf("%+v", e)
		}
		c, token2 := w.in()
		c.emit("logout")
		c.next(`42["logged_out"]`)
		if e := expect("logout", AuditAuthenticated, AuditLogout); e[1].UserID != "anna" || e[1].SessionID != e[0].SessionID {
			t.Errorf("%+v", e)
		}
		c, token3 := w.in()
		if _, err := w.Auth().RevokeSession(w.Context(), w.sessionOf(c)); err != nil {
			t.Fatal(err)
		}
		if e := expect("revoke", AuditAuthenticated, AuditRevoked); e[1].UserID != "anna" || e[1].SessionID == "" {
			t.Errorf("%+v", e)
		}
		secrets = append(secrets, code, token, token2, token3, o.token, "secret", "wrong")
		for _, secret := range secrets {
			if strings.Contains(w.logs.String(), secret) {
				t.Errorf("the log has %s", secret)
			}
		}
	})
}

func TestAuditThatPanicsHarmsNothing(t *testing.T) {
	inWorld(t, func(o *Options[string]) { o.Audit = func(context.Context, AuditEvent) { panic("a bug") } }, func(w *world) {
		c, _ := w.in()
		c.alive()
		w.logged("hook=Audit")
	})
}
