package socketauth_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/golang-jwt/jwt/v5"

	"github.com/z-open/socketauth"
	"github.com/z-open/socketauth/internal/engine"
)

func TestOnlyAuthenticatedSocketsReachHandlersAndHearBroadcasts(t *testing.T) {
	inWorld(t, nil, func(w *world) {
		w.On("chat", func(_ context.Context, s *socketauth.Socket, _ socketauth.Args) (any, error) {
			return "hello " + s.UserID(), nil
		})
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

func TestEmitToOneClient(t *testing.T) {
	inWorld(t, nil, func(w *world) {
		c, s := w.inWithSocket(jwt.MapClaims{"sub": "anna"})
		if err := s.Emit("hello", "wörld \u2028 <&>", 5, nil, []byte{1, 2}); err != nil {
			t.Fatal(err)
		}
		c.next("451-[\"hello\",\"wörld \\u2028 <&>\",5,null,{\"_placeholder\":true,\"num\":0}]")
		c.next("bAQI=")
		for _, event := range reservedNames {
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
		if err := s.Emit("hello"); !errors.Is(err, socketauth.ErrClosed) {
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
		if got := <-replies; !strings.Contains(got, socketauth.ErrClosed.Error()) {
			t.Errorf("got %s", got)
		}
		if _, err := s.EmitWithAck(w.Context(), "question"); !errors.Is(err, socketauth.ErrClosed) {
			t.Errorf("after the end: %v", err)
		}
		if _, err := s.EmitWithAck(w.Context(), "connect"); err == nil {
			t.Error("a reserved name was sent")
		}
	})
}

func TestRooms(t *testing.T) {
	inWorld(t, nil, func(w *world) {
		a, sa := w.inWithSocket(jwt.MapClaims{"sub": "anna"})
		b, sb := w.inWithSocket(jwt.MapClaims{"sub": "bert"})
		c, _ := w.inWithSocket(jwt.MapClaims{"sub": "anna"})
		sa.Join("red", "blue")
		sb.Join("red")
		tell := func(target socketauth.Target, want ...*client) {
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
		if n := len(socketauth.Members(w.To("red"))); n != 0 {
			t.Errorf("%d in the room", n)
		}
	})
}

// TestEventThatIsTooLarge guards against one large event that disconnects all it is for.
func TestEventThatIsTooLarge(t *testing.T) {
	inWorld(t, nil, func(w *world) {
		large := strings.Repeat("x", 4<<20)
		w.On("ask", func(context.Context, *socketauth.Socket, socketauth.Args) (any, error) { return large, nil })
		sockets := make(chan *socketauth.Socket, 1)
		w.OnAuthenticated(func(_ context.Context, s *socketauth.Socket) error { sockets <- s; return s.Emit("early", large) })
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
