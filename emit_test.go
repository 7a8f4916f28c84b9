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

// TestOnlyAuthenticatedSockets checks that only authenticated sockets reach handlers and are
// reached by broadcasts.
func TestOnlyAuthenticatedSockets(t *testing.T) {
	withServer(t, nil, func(srv *testServer) {
		srv.On("chat", func(_ context.Context, s *socketauth.Socket, _ socketauth.Args) (any, error) {
			return "hello " + s.UserID(), nil
		})
		unauthenticated := srv.dial("")
		authenticated, _ := srv.authenticated()
		if got := unauthenticated.call("chat"); got != `[{"error":{"code":"unauthorized"}}]` {
			t.Errorf("an unauthenticated socket's event: %s", got)
		}
		if got := authenticated.call("chat"); got != `["hello anna"]` {
			t.Errorf("an authenticated socket's event: %s", got)
		}
		if got := authenticated.call("other"); got != `[{"error":{"code":"unknown_event"}}]` {
			t.Errorf("an event nobody handles: %s", got)
		}
		unauthenticated.emit("chat") // without acknowledgement: dropped
		for _, target := range []func() error{
			func() error { return srv.Emit("news", 1) },
			func() error { return srv.ToUser("anna").Emit("news", 1) },
		} {
			if err := target(); err != nil {
				t.Error(err)
			}
			authenticated.expect(`42["news",1]`)
		}
		unauthenticated.expectNothing()
	})
}

// TestEmit checks what is sent by Emit, that reserved names and what JSON cannot hold are errors,
// and that an ended socket is ErrClosed.
func TestEmit(t *testing.T) {
	withServer(t, nil, func(srv *testServer) {
		c, s := srv.authenticatedSocket(jwt.MapClaims{"sub": "anna"})
		if err := s.Emit("hello", "wörld \u2028 <&>", 5, nil, []byte{1, 2}); err != nil {
			t.Fatal(err)
		}
		c.expect("451-[\"hello\",\"wörld \\u2028 <&>\",5,null,{\"_placeholder\":true,\"num\":0}]")
		c.expect("bAQI=")
		for _, event := range reservedNames {
			if s.Emit(event) == nil || srv.Emit(event) == nil {
				t.Errorf("%q was sent", event)
			}
		}
		if s.Emit("hello", func() {}) == nil || srv.Emit("hello", make(chan int)) == nil {
			t.Error("what JSON cannot hold was sent")
		}
		c.expectNothing()
		s.Disconnect()
		c.expectDisconnected()
		if err := s.Emit("hello"); !errors.Is(err, socketauth.ErrClosed) {
			t.Errorf("after the end: %v", err)
		}
		if s.UserID() != "anna" {
			t.Error("a socket that has ended has lost its user ID")
		}
	})
}

// TestEmitWithAck checks that EmitWithAck returns the client's answer, or why there is none.
func TestEmitWithAck(t *testing.T) {
	withServer(t, nil, func(srv *testServer) {
		replies := make(chan string, 1)
		c, s := srv.authenticatedSocket(jwt.MapClaims{"sub": "anna"})
		run := func(ctx context.Context) string {
			go func() {
				args, err := s.EmitWithAck(ctx, "question", 1)
				var answer string
				if err == nil {
					err = args.Decode(&answer)
				}
				replies <- fmt.Sprint(answer, err)
			}()
			frame := c.expect("42")
			id, _, _ := strings.Cut(frame, "[")
			return id
		}
		id := run(srv.Context())
		c.send("43" + id + `["answer"]`)
		if got := <-replies; got != "answer<nil>" {
			t.Errorf("got %s", got)
		}
		c.send("43" + id + `["again"]`) // nothing waits for it any more
		c.send(`4399["stray"]`)

		ctx, cancel := context.WithCancel(srv.Context())
		run(ctx)
		cancel()
		if got := <-replies; !strings.Contains(got, "context canceled") {
			t.Errorf("got %s", got)
		}
		c.expectAuthenticated()

		run(srv.Context())
		c.close()
		if got := <-replies; !strings.Contains(got, socketauth.ErrClosed.Error()) {
			t.Errorf("got %s", got)
		}
		if _, err := s.EmitWithAck(srv.Context(), "question"); !errors.Is(err, socketauth.ErrClosed) {
			t.Errorf("after the end: %v", err)
		}
		if _, err := s.EmitWithAck(srv.Context(), "connect"); err == nil {
			t.Error("a reserved name was sent")
		}
	})
}

// TestRooms checks which sockets rooms, users and sessions reach.
func TestRooms(t *testing.T) {
	withServer(t, nil, func(srv *testServer) {
		a, sa := srv.authenticatedSocket(jwt.MapClaims{"sub": "anna"})
		b, sb := srv.authenticatedSocket(jwt.MapClaims{"sub": "bert"})
		c, _ := srv.authenticatedSocket(jwt.MapClaims{"sub": "anna"})
		sa.Join("red", "blue")
		sb.Join("red")
		tell := func(target socketauth.Target, want ...*client) {
			t.Helper()
			if err := target.Emit("x"); err != nil {
				t.Error(err)
			}
			for _, c := range want {
				c.expect(`42["x"]`)
			}
			for _, c := range []*client{a, b, c} {
				c.expectNothing()
			}
		}
		tell(srv.To("red"), a, b)
		tell(srv.To("blue"), a)
		tell(srv.To("anna"))
		tell(srv.ToUser("anna"), a, c)
		tell(srv.ToUser("red"))
		tell(srv.ToSession(sb.SessionID()), b)
		sa.Leave("red", "never there")
		tell(srv.To("red"), b)
		sb.Disconnect()
		b.expectDisconnected()
		sb.Join("red") // too late
		if n := len(socketauth.Members(srv.To("red"))); n != 0 {
			t.Errorf("%d in the room", n)
		}
	})
}

// TestEventTooLarge checks that an event too large to send is an error, and disconnects nobody.
func TestEventTooLarge(t *testing.T) {
	withServer(t, nil, func(srv *testServer) {
		large := strings.Repeat("x", 4<<20)
		srv.On("ask", func(context.Context, *socketauth.Socket, socketauth.Args) (any, error) { return large, nil })
		sockets := make(chan *socketauth.Socket, 1)
		srv.OnAuthenticated(func(_ context.Context, s *socketauth.Socket) error { sockets <- s; return s.Emit("early", large) })
		c, _ := srv.authenticated()
		srv.expectLogged("emit of OnAuthenticated failed")
		for name, emit := range map[string]func(string, ...any) error{
			"all": srv.Emit, "user": srv.ToUser("anna").Emit, "socket": (<-sockets).Emit,
		} {
			if err := emit("news", large); !errors.Is(err, engine.ErrTooLarge) {
				t.Errorf("%s: %v", name, err)
			}
		}
		if got := c.call("ask"); got != `[{"error":{"code":"server_error"}}]` {
			t.Errorf("the reply is %.100q", got)
		}
		c.expectAuthenticated()
	})
}
