package socketauth

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"reflect"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/z-open/socketauth/blacklist"
	"github.com/z-open/socketauth/internal/authn"
	"github.com/z-open/socketauth/internal/engine"
)

// inWithSocket is in, with the server's side of it.
func (w *world) inWithSocket(claims jwt.MapClaims) (*client, *Socket) {
	w.Helper()
	before := make(map[*Socket]bool)
	synctest.Wait() // those before it may be about to join
	for _, s := range w.hub.Members(everyone) {
		before[s] = true
	}
	c, _ := w.inAs(claims)
	synctest.Wait()
	for _, s := range w.hub.Members(everyone) {
		if !before[s] {
			return c, s
		}
	}
	w.Fatal("the socket is not there")
	return nil, nil
}

func TestOnlyAuthenticatedSocketsReachHandlersAndHearBroadcasts(t *testing.T) {
	inWorld(t, nil, func(w *world) {
		w.On("chat", func(_ context.Context, s *Socket, _ Args) (any, error) { return "hello " + s.UserID(), nil })
		stranger := w.dial("")
		friend, _ := w.in()
		if got := stranger.ask("chat"); got != `[{"error":{"code":"unauthorized"}}]` {
			t.Errorf("a stranger's event: %s", got)
		}
		if got := friend.ask("chat"); got != `["hello anna"]` {
			t.Errorf("a friend's event: %s", got)
		}
		if got := friend.ask("other"); got != `[{"error":{"code":"unknown_event"}}]` {
			t.Errorf("an event nobody handles: %s", got)
		}
		stranger.emit("chat") // without acknowledgement: dropped in silence
		for _, target := range []func() error{
			func() error { return w.Emit("news", 1) },
			func() error { return w.ToUser("anna").Emit("news", 1) },
		} {
			if err := target(); err != nil {
				t.Error(err)
			}
			friend.next(`42["news",1]`)
		}
		stranger.silence()
	})
}

func TestEventsBehindAnAuthenticateWaitForIt(t *testing.T) {
	// Guards: a client that emits right behind its authenticate, as clients with a queue do, is served in order.
	inWorld(t, nil, func(w *world) {
		w.On("chat", func(context.Context, *Socket, Args) (any, error) { return "hello", nil })
		c := w.dial("")
		c.authenticate(w.code())
		c.send(`421["chat"]`)
		c.token()
		c.next(`431["hello"]`)
	})
}

func TestSocketsTellWhoTheyAre(t *testing.T) {
	inWorld(t, func(o *Options[string]) {
		o.TenantID = func(context.Context, jwt.MapClaims) (string, error) { return "acme", nil }
		o.ClientIP = func(*http.Request) string { return "203.0.113.7" }
	}, func(w *world) {
		_, s := w.inWithSocket(jwt.MapClaims{"sub": "anna", "roles": []string{"a"}, "deep": map[string]any{"x": 1}})
		if s.UserID() != "anna" || s.TenantID() != "acme" || !isID(s.SessionID()) || !isID(s.ID()) || s.ID() == s.SessionID() {
			t.Errorf("%q %q %q %q", s.UserID(), s.TenantID(), s.SessionID(), s.ID())
		}
		s.Claims()["sub"] = "root"
		s.Claims()["deep"].(map[string]any)["x"] = 2
		s.Claims()["roles"].([]any)[0] = "admin"
		if c := s.Claims(); c["sub"] != "anna" || !reflect.DeepEqual(c["deep"], map[string]any{"x": 1.0}) || !reflect.DeepEqual(c["roles"], []any{"a"}) {
			t.Errorf("claims were changed from outside: %v", c)
		}
		if r := s.Request(); r.ClientIP != "203.0.113.7" || r.Host != "server" || r.RemoteAddr != "pipe" {
			t.Errorf("request %+v", r)
		}
		s.Set("room", 5)
		if s.Value("room") != 5 || s.Value("other") != nil {
			t.Error("values are lost")
		}
	})
}

func TestRequestKeepsSelectedHeadersAlone(t *testing.T) {
	c, err := Options[any]{Secret: testSecret}.config()
	if err != nil {
		t.Fatal(err)
	}
	r := httptest.NewRequest(http.MethodGet, "http://app.example/socket.io/", nil)
	r.RemoteAddr = "192.0.2.1:5555"
	for name, value := range map[string]string{
		"Origin": "https://app.example", "User-Agent": "curl", "X-Forwarded-For": "198.51.100.2", "Cookie": "session=hunter2", "Authorization": "Bearer hunter2",
	} {
		r.Header.Set(name, value)
	}
	r.Header["X-Request-Id"] = []string{"1", "2", "3", "4", "5"}
	r.Header.Set("Accept-Language", strings.Repeat("x", 900_000)) // strangers send them, and they are kept
	got := c.describe(r)
	want := Request{"192.0.2.1:5555", "192.0.2.1", "app.example", "https://app.example", "curl", http.Header{
		"X-Forwarded-For": {"198.51.100.2"}, "X-Request-Id": {"1", "2", "3", "4"}, "Accept-Language": {strings.Repeat("x", maxHeaderLength)},
	}}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v", got)
	}
}

func TestHandlersRunInOrderOneAtATimeAndHoldUpNothingElse(t *testing.T) {
	inWorld(t, nil, func(w *world) {
		var got []int // no lock: two handlers at a time would be a race
		hold := make(chan struct{})
		w.On("slow", func(context.Context, *Socket, Args) (any, error) { <-hold; return nil, nil })
		w.On("count", func(_ context.Context, _ *Socket, args Args) (any, error) {
			var n int
			err := args.Decode(&n)
			got = append(got, n)
			return nil, err
		})
		c, token := w.in()
		c.emit("slow")
		for n := range 100 {
			c.emit("count", n)
		}
		time.Sleep(10 * time.Minute) // heartbeats go on
		c.authenticate(token)        // and presentations
		c.token()
		other, _ := w.in() // and other sockets
		other.emit("count", 1000)
		synctest.Wait()
		close(hold)
		if ack := c.ask("count", 100); ack != "[]" {
			t.Errorf("got %s", ack)
		}
		for n, v := range got[1:] {
			if v != n {
				t.Fatalf("place %d has %d", n, v)
			}
		}
		if len(got) != 102 {
			t.Errorf("%d were handled", len(got))
		}
	})
}

func TestAcknowledgementsSayExactlyOneThing(t *testing.T) {
	inWorld(t, nil, func(w *world) {
		for event, h := range map[string]Handler{
			"value": func(context.Context, *Socket, Args) (any, error) { return map[string]int{"n": 5}, nil },
			"nil":   func(context.Context, *Socket, Args) (any, error) { return nil, nil },
			"public": func(context.Context, *Socket, Args) (any, error) {
				return nil, &PublicError{Code: "FULL", Err: errors.New("of people")}
			},
			"wrapped": func(context.Context, *Socket, Args) (any, error) {
				return nil, fmt.Errorf("joining: %w", &PublicError{Code: "FULL"})
			},
			"fails": func(context.Context, *Socket, Args) (any, error) { return "both", errors.New("database down") },
			"decode": func(_ context.Context, _ *Socket, args Args) (any, error) {
				var n int
				return nil, args.Decode(&n)
			},
			"unfit":     func(context.Context, *Socket, Args) (any, error) { return func() {}, nil },
			"panic":     func(context.Context, *Socket, Args) (any, error) { panic("a bug") },
			"marshal":   func(context.Context, *Socket, Args) (any, error) { return struct{ *time.Time }{}, nil }, // MarshalJSON on nil panics
			"typed nil": func(context.Context, *Socket, Args) (any, error) { var none *PublicError; return nil, none },
			"claims": func(ctx context.Context, _ *Socket, _ Args) (any, error) {
				claims, ok := ClaimsFromContext(ctx)
				return []any{claims["sub"], ok}, nil
			},
		} {
			w.On(event, h)
		}
		c, _ := w.in()
		for event, want := range map[string]string{
			"value": `[{"n":5}]`, "nil": `[]`, "public": `[{"error":{"code":"FULL"}}]`, "wrapped": `[{"error":{"code":"FULL"}}]`,
			"fails": `[{"error":{"code":"server_error"}}]`, "decode": `[{"error":{"code":"bad_arguments"}}]`,
			"unfit": `[{"error":{"code":"server_error"}}]`, "panic": `[{"error":{"code":"server_error"}}]`,
			"marshal": `[{"error":{"code":"server_error"}}]`, "typed nil": `[{"error":{"code":"server_error"}}]`, "claims": `[["anna",true]]`,
		} {
			if got := c.ask(event, "x"); got != want {
				t.Errorf("%s: %s", event, got)
			}
			c.silence()
		}
		w.logged("database down")
		w.logged("of people")
	})
}

func TestArgsDecode(t *testing.T) {
	inWorld(t, nil, func(w *world) {
		var n int
		var s string
		var b []byte
		var o struct{ X int }
		results := make(chan error, 1)
		w.On("args", func(_ context.Context, _ *Socket, args Args) (any, error) {
			switch args.Len() {
			case 4:
				results <- args.Decode(&n, nil, &o)
			case 2:
				results <- args.Decode(&s, &b)
			default:
				results <- args.Decode(&n, &s)
			}
			return nil, nil
		})
		c, _ := w.in()
		c.emit("args", 5, "skipped", map[string]int{"X": 7}, "ignored")
		if err := <-results; err != nil || n != 5 || o.X != 7 {
			t.Errorf("%v, %d, %+v", err, n, o)
		}
		c.send(`451-["args","file",{"_placeholder":true,"num":0}]`)
		c.send("bAAH/")
		if err := <-results; err != nil || s != "file" || !bytes.Equal(b, []byte{0, 1, 255}) {
			t.Errorf("%v, %q, %x", err, s, b)
		}
		for _, args := range [][]any{{5}, {"x", "y", "z"}, {}} {
			c.emit("args", args...)
			if err := <-results; !errors.Is(err, ErrBadArguments) {
				t.Errorf("%v: %v", args, err)
			}
		}
	})
}

func TestEmitToOneClient(t *testing.T) {
	inWorld(t, nil, func(w *world) {
		c, s := w.inWithSocket(jwt.MapClaims{"sub": "anna"})
		if err := s.Emit("hello", "wörld \u2028 <&>", 5, nil, []byte{1, 2}); err != nil {
			t.Fatal(err)
		}
		c.next("451-[\"hello\",\"wörld \\u2028 <&>\",5,null,{\"_placeholder\":true,\"num\":0}]")
		c.next("bAQI=")
		for _, event := range reserved {
			if s.Emit(event) == nil || w.Emit(event) == nil {
				t.Errorf("%q was sent", event)
			}
		}
		if s.Emit("hello", func() {}) == nil || w.Emit("hello", make(chan int)) == nil {
			t.Error("what JSON cannot hold was sent")
		}
		c.silence()
		s.Disconnect()
		c.gone()
		if err := s.Emit("hello"); !errors.Is(err, ErrClosed) {
			t.Errorf("after the end: %v", err)
		}
		if s.UserID() != "anna" {
			t.Error("a socket that has ended does not know who it was")
		}
	})
}

func TestEmitWithAck(t *testing.T) {
	inWorld(t, nil, func(w *world) {
		replies := make(chan string, 1)
		c, s := w.inWithSocket(jwt.MapClaims{"sub": "anna"})
		run := func(ctx context.Context) string {
			go func() {
				args, err := s.EmitWithAck(ctx, "question", 1)
				var answer string
				if err == nil {
					err = args.Decode(&answer)
				}
				replies <- fmt.Sprint(answer, err)
			}()
			frame := c.next("42")
			id, _, _ := strings.Cut(frame, "[")
			return id
		}
		id := run(w.Context())
		c.send("43" + id + `["answer"]`)
		if got := <-replies; got != "answer<nil>" {
			t.Errorf("got %s", got)
		}
		c.send("43" + id + `["again"]`) // for nobody
		c.send(`4399["stray"]`)

		ctx, cancel := context.WithCancel(w.Context())
		run(ctx)
		cancel()
		if got := <-replies; !strings.Contains(got, "context canceled") {
			t.Errorf("got %s", got)
		}
		c.alive()

		run(w.Context())
		c.close()
		if got := <-replies; !strings.Contains(got, ErrClosed.Error()) {
			t.Errorf("got %s", got)
		}
		if _, err := s.EmitWithAck(w.Context(), "question"); !errors.Is(err, ErrClosed) {
			t.Errorf("after the end: %v", err)
		}
		if _, err := s.EmitWithAck(w.Context(), "connect"); err == nil {
			t.Error("a reserved name was sent")
		}
	})
}

// forgetful is a connection that only counts what is given up.
type forgetful struct {
	engine.Conn
	forgotten int
}

func (f *forgetful) EmitAck(*engine.Message, func(engine.Args, error)) (func(), error) {
	return func() { f.forgotten++ }, nil
}

func TestEmitWithAckGivesUpWithItsContext(t *testing.T) {
	// Guards: a wait that is over must not leave its acknowledgement behind in the engine.
	conn := new(forgetful)
	s := &Socket{conn: conn, auth: authn.New(time.Now(), time.Second)}
	s.auth.Enter(&authn.Token{ExpiresAt: time.Now().Add(time.Hour)})
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := s.EmitWithAck(ctx, "question"); !errors.Is(err, context.Canceled) || conn.forgotten != 1 {
		t.Errorf("%v, given up %d times", err, conn.forgotten)
	}
}

func TestHandlerMayAskItsOwnClient(t *testing.T) {
	// Guards: acknowledgements never wait behind handlers.
	inWorld(t, nil, func(w *world) {
		w.On("ask me", func(ctx context.Context, s *Socket, _ Args) (any, error) {
			args, err := s.EmitWithAck(ctx, "what?")
			var answer string
			if err == nil {
				err = args.Decode(&answer)
			}
			return answer, err
		})
		c, _ := w.in()
		c.send(`427["ask me"]`)
		id, _, _ := strings.Cut(c.next("42"), "[")
		c.send("43" + id + `["this"]`)
		c.next(`437["this"]`)
	})
}

func TestRooms(t *testing.T) {
	inWorld(t, nil, func(w *world) {
		a, sa := w.inWithSocket(jwt.MapClaims{"sub": "anna"})
		b, sb := w.inWithSocket(jwt.MapClaims{"sub": "bert"})
		c, _ := w.inWithSocket(jwt.MapClaims{"sub": "anna"})
		sa.Join("red", "blue")
		sb.Join("red")
		tell := func(target Target, want ...*client) {
			t.Helper()
			if err := target.Emit("x"); err != nil {
				t.Error(err)
			}
			for _, c := range want {
				c.next(`42["x"]`)
			}
			for _, c := range []*client{a, b, c} {
				c.silence()
			}
		}
		tell(w.To("red"), a, b)
		tell(w.To("blue"), a)
		tell(w.To("anna"))
		tell(w.ToUser("anna"), a, c)
		tell(w.ToUser("red"))
		tell(w.ToSession(sb.SessionID()), b)
		sa.Leave("red", "never there")
		tell(w.To("red"), b)
		sb.Disconnect()
		b.gone()
		sb.Join("red") // too late
		if n := len(w.hub.Members(room("red"))); n != 0 {
			t.Errorf("%d in the room", n)
		}
	})
}

func TestOnAuthenticatedMayJoinAndEmit(t *testing.T) {
	inWorld(t, nil, func(w *world) {
		var ask error
		w.OnAuthenticated(func(ctx context.Context, s *Socket) error {
			s.Join("lobby")
			if err := w.To("lobby").Emit("too early"); err != nil {
				return err
			}
			_, ask = s.EmitWithAck(ctx, "question")
			claims, _ := ClaimsFromContext(ctx)
			return s.Emit("welcome", claims["sub"])
		})
		c, token := w.in()
		c.next(`42["welcome","anna"]`)
		c.silence()
		if !errors.Is(ask, ErrNotAuthenticated) {
			t.Errorf("asking before the client is in: %v", ask)
		}
		if err := w.To("lobby").Emit("hello"); err != nil {
			t.Error(err)
		}
		c.next(`42["hello"]`)
		c.authenticate(token)
		c.token()
		c.silence() // no second welcome
	})
}

func TestOnDisconnectIsCalledOnceAfterTheLastHandler(t *testing.T) {
	for want, end := range map[string]func(c *client, s *Socket){
		"client disconnect": func(c *client, _ *Socket) { c.send("41") },
		"transport close":   func(c *client, _ *Socket) { c.close() },
		"server disconnect": func(_ *client, s *Socket) { s.Disconnect() },
		"logged out":        func(c *client, _ *Socket) { c.emit("logout") },
		"token_expired":     func(_ *client, s *Socket) { time.Sleep(time.Until(s.newest().ExpiresAt) + time.Second) },
		"protocol error":    func(c *client, _ *Socket) { c.send("4x") },
		"shutdown":          func(_ *client, s *Socket) { _ = s.server.Shutdown(context.Background()) },
	} {
		t.Run(want, func(t *testing.T) {
			inWorld(t, nil, func(w *world) {
				var calls, handled atomic.Int32
				reasons := make(chan string, 2)
				w.On("work", func(ctx context.Context, _ *Socket, _ Args) (any, error) {
					<-ctx.Done()
					time.Sleep(time.Second)
					handled.Add(1)
					return nil, nil
				})
				w.OnDisconnect(func(ctx context.Context, s *Socket, reason string) {
					claims, _ := ClaimsFromContext(ctx)
					if ctx.Err() == nil || claims["sub"] != "anna" || s.UserID() != "anna" || handled.Load() != 1 {
						t.Errorf("context %v, claims %v, %d handled", ctx.Err(), claims, handled.Load())
					}
					calls.Add(1)
					reasons <- reason
				})
				c, s := w.inWithSocket(jwt.MapClaims{"sub": "anna"})
				c.emit("work")
				synctest.Wait()
				end(c, s)
				if got := <-reasons; got != want {
					t.Errorf("reason %q", got)
				}
				s.Disconnect()
				synctest.Wait()
				if calls.Load() != 1 {
					t.Errorf("called %d times", calls.Load())
				}
			})
		})
	}
}

func TestSocketWithTooMuchWaitingIsClosed(t *testing.T) {
	inWorld(t, nil, func(w *world) {
		w.On("slow", func(ctx context.Context, _ *Socket, _ Args) (any, error) { <-ctx.Done(); return nil, nil })
		bystander, _ := w.in()
		c, _ := w.in()
		for range authenticatedLimits.Items + 10 {
			if c.Write(`42["slow"]`) != nil {
				break
			}
		}
		c.gone()
		w.logged("limit=events")

		big := `42["slow","` + strings.Repeat("x", 900_000) + `"]`
		c, _ = w.in()
		for range authenticatedLimits.Cost/900_000 + 3 {
			if c.Write(big) != nil {
				break
			}
		}
		c.gone()
		bystander.alive()

		padded := `42["slow",` + strings.Repeat(" ", 900_000) + `1]` // what is waiting holds on to all of it
		c, _ = w.in()
		for range authenticatedLimits.Cost/900_000 + 3 {
			if c.Write(padded) != nil {
				break
			}
		}
		c.gone()
		bystander.alive()
	})
}

func TestPageThatSaysMuchAsSoonAsItIsOnlineGetsIn(t *testing.T) {
	// Guards: what comes behind a confirmation waits for the store and for OnAuthenticated, and was counted as a stranger's.
	const many = 500
	store := new(faultyStore)
	inWorld(t, func(o *Options[string]) {
		store.Store = blacklist.NewMemory()
		o.Blacklist = store
	}, func(w *world) {
		store.fail(func(string) error { time.Sleep(20 * time.Millisecond); return nil }, nil)
		w.OnAuthenticated(func(context.Context, *Socket) error { time.Sleep(20 * time.Millisecond); return nil })
		w.On("subscribe", func(context.Context, *Socket, Args) (any, error) { return "done", nil })
		c := w.dial("")
		c.confirms(w.code()).confirm()
		for n := range many {
			c.send(fmt.Sprintf(`42%d["subscribe"]`, n))
		}
		for n := range many {
			c.next(fmt.Sprintf(`43%d["done"]`, n))
		}
	})
}

func TestFaultOfTheLibraryEndsOneSocketAlone(t *testing.T) {
	inWorld(t, nil, func(w *world) {
		bystander, _ := w.in()
		c, s := w.inWithSocket(jwt.MapClaims{"sub": "anna"})
		s.guarded(func() { panic("a bug of ours") })()
		c.gone()
		bystander.alive()
		w.logged("a bug of ours")
	})
}

func TestUseOfASocketFromManyGoroutines(t *testing.T) {
	inWorld(t, nil, func(w *world) {
		c, s := w.inWithSocket(jwt.MapClaims{"sub": "anna"})
		done := make(chan struct{})
		for n := range 8 {
			go func() {
				for range 50 {
					s.Join("room")
					_ = s.Emit("x", n)
					_ = w.To("room").Emit("y")
					s.Set("k", n)
					s.Value("k")
					s.Claims()
					s.Leave("room")
				}
				done <- struct{}{}
			}()
		}
		s.Disconnect() // while they are at it
		for range 8 {
			<-done
		}
		for frame := range c.Packets() {
			if !strings.HasPrefix(frame, `42["x",`) && frame != `42["y"]` && frame != "41" {
				t.Errorf("got %q", frame)
			}
		}
	})
}

// TestEventThatIsTooLarge guards against one large event that disconnects all it is for.
func TestEventThatIsTooLarge(t *testing.T) {
	inWorld(t, nil, func(w *world) {
		large := strings.Repeat("x", 4<<20)
		w.On("ask", func(context.Context, *Socket, Args) (any, error) { return large, nil })
		sockets := make(chan *Socket, 1)
		w.OnAuthenticated(func(_ context.Context, s *Socket) error { sockets <- s; return s.Emit("early", large) })
		c, _ := w.in()
		w.logged("emit of OnAuthenticated failed")
		for name, emit := range map[string]func(string, ...any) error{
			"all": w.Emit, "user": w.ToUser("anna").Emit, "socket": (<-sockets).Emit,
		} {
			if err := emit("news", large); !errors.Is(err, engine.ErrTooLarge) {
				t.Errorf("%s: %v", name, err)
			}
		}
		if got := c.ask("ask"); got != `[{"error":{"code":"server_error"}}]` {
			t.Errorf("the reply is %.100q", got)
		}
		c.alive()
	})
}
