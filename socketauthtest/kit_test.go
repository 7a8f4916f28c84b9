package socketauthtest_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/z-open/socketauth"
	"github.com/z-open/socketauth/socketauthtest"
)

// everywhere runs a test on the loopback interface and in a bubble of testing/synctest.
func everywhere(t *testing.T, test func(t *testing.T)) {
	t.Run("loopback", test)
	t.Run("bubble", func(t *testing.T) { synctest.Test(t, test) })
}

func codeOf(err error) string {
	if public, ok := errors.AsType[*socketauth.PublicError](err); ok {
		return public.Code
	}
	return ""
}

func TestWholeFlow(t *testing.T) {
	// Guards: login, authentication, a token that is stored and presented, the middleware, reuse, and
	// logout, as an app's test sees them.
	everywhere(t, func(t *testing.T) {
		srv := socketauthtest.NewServer(t, socketauth.Options[string]{
			FindUserByCredentials: func(_ context.Context, c socketauth.Credentials) (string, error) {
				if c.Get("password") != "secret" {
					return "", socketauth.ErrInvalidCredentials
				}
				return c.Get("username"), nil
			},
			Claim:      func(user string) (jwt.MapClaims, error) { return jwt.MapClaims{"sub": user}, nil },
			SocketPath: "/ws/",
		})
		srv.Mux.Handle("GET /api", srv.Auth().Middleware(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			claims, _ := socketauth.ClaimsFromContext(r.Context())
			_, _ = io.WriteString(w, claims["sub"].(string))
		})))
		res, err := srv.HTTPClient().Post(srv.URL+"/login", "application/json", strings.NewReader(`{"username":"anna","password":"secret"}`))
		if err != nil {
			t.Fatal(err)
		}
		defer res.Body.Close()
		var login struct{ Token string }
		if err := json.NewDecoder(res.Body).Decode(&login); err != nil {
			t.Fatal(err)
		}

		reasons := make(chan string, 10)
		srv.OnDisconnect(func(_ context.Context, _ *socketauth.Socket, reason string) { reasons <- reason })
		c := srv.Connect()
		if c.Token() != "" {
			t.Error("a token before authentication")
		}
		if _, err := c.Call("chat"); codeOf(err) != "unauthorized" {
			t.Errorf("before authentication: %v", err)
		}
		if err := c.Authenticate(login.Token); err != nil {
			t.Fatal(err)
		}
		stored := c.Token()
		c.Close()
		if got := <-reasons; got != "client disconnect" {
			t.Errorf("Close is seen as %q", got)
		}
		c = srv.Connect()
		if err := c.Authenticate(stored); err != nil || c.Token() == stored || c.Token() == "" {
			t.Errorf("coming back: %v, and token %q", err, c.Token())
		}

		r, err := http.NewRequest(http.MethodGet, srv.URL+"/api", nil)
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Authorization", "Bearer "+c.Token())
		res, err = srv.HTTPClient().Do(r)
		if err != nil {
			t.Fatal(err)
		}
		defer res.Body.Close()
		if body, err := io.ReadAll(res.Body); string(body) != "anna" || err != nil {
			t.Errorf("middleware: %d %s %v", res.StatusCode, body, err)
		}

		c.Emit("logout", c.Token())
		c.Wait("logged_out")
		c.WaitClosed()
		late := srv.Connect()
		if err := late.Authenticate(c.Token()); codeOf(err) != "no_longer_valid" {
			t.Errorf("after logout: %v", err)
		}
		var told struct{ Code string }
		if err := late.Wait("unauthorized").Decode(&told); err != nil || told.Code != "no_longer_valid" {
			t.Errorf("told %+v, %v", told, err)
		}
		late.WaitClosed()
	})
}

func TestEventsAndReplies(t *testing.T) {
	// Guards: arguments, attachments and acknowledgements pass both ways, and who does not hear of an
	// event is known without a pause.
	everywhere(t, func(t *testing.T) {
		srv := socketauthtest.NewServer(t, socketauth.Options[any]{})
		srv.On("echo", func(_ context.Context, s *socketauth.Socket, args socketauth.Args) (any, error) {
			var text string
			var data []byte
			if err := args.Decode(&text, &data); err != nil {
				return nil, err
			}
			return data, s.Emit("echoed", data, text)
		})
		srv.On("ask me", func(ctx context.Context, s *socketauth.Socket, _ socketauth.Args) (any, error) {
			reply, err := s.EmitWithAck(ctx, "what?")
			if err != nil {
				return nil, err
			}
			var data []byte
			err = reply.Decode(nil, &data)
			return string(data), err
		})
		c, other := srv.Dial(anna), srv.Dial(jwt.MapClaims{"sub": "bert"})
		reply, err := c.Call("echo", "grüß dich", []byte{0, 255})
		var data []byte
		if err != nil || reply.Decode(&data) != nil || !bytes.Equal(data, []byte{0, 255}) {
			t.Errorf("reply %v, %v", data, err)
		}
		var text string
		if err := c.Wait("echoed").Decode(&data, &text); err != nil || !bytes.Equal(data, []byte{0, 255}) || text != "grüß dich" {
			t.Errorf("event %q %v, %v", text, data, err)
		}
		if _, err := c.Call("echo"); codeOf(err) != "bad_arguments" {
			t.Errorf("without arguments: %v", err)
		}
		c.Reply("what?", nil, []byte("that"))
		if reply, err := c.Call("ask me"); err != nil || reply.Decode(&text) != nil || text != "that" {
			t.Errorf("reply %q, %v", text, err)
		}

		for _, event := range []string{"first", "second", "first"} {
			if err := srv.ToUser("anna").Emit(event, event); err != nil {
				t.Fatal(err)
			}
		}
		if got := c.Events(); !slices.Equal(got, []string{"what?", "first", "second", "first"}) {
			t.Errorf("events %q", got)
		}
		c.Wait("second")
		if got := other.Events(); len(got) != 0 {
			t.Errorf("the other hears %q", got)
		}
	})
}

func TestTimersInABubble(t *testing.T) {
	// Guards: the bubble's time goes on with a server and a client in it, which keep their
	// heartbeat up.
	synctest.Test(t, func(t *testing.T) {
		srv := socketauthtest.NewServer(t, socketauth.Options[any]{TokenLifetime: time.Hour})
		began := time.Now()
		c := srv.Dial(anna)
		time.Sleep(time.Hour - time.Minute)
		if err := c.Authenticate(c.Token()); err != nil {
			t.Error(err)
		}
		var told struct{ Code string }
		time.Sleep(time.Hour)
		if err := c.Wait("unauthorized").Decode(&told); err != nil || told.Code != "token_expired" {
			t.Errorf("told %+v, %v", told, err)
		}
		c.WaitClosed()
		if took := time.Since(began); took < 2*time.Hour-time.Minute || took > 2*time.Hour {
			t.Errorf("it took %v", took)
		}
	})
}

func TestServersBesideEachOther(t *testing.T) {
	// Guards: the end of one server takes no goroutine of another's for one of its own.
	srv := socketauthtest.NewServer(t, socketauth.Options[any]{})
	c := srv.Dial(anna)
	if failures := failuresOf(t, func(t testing.TB) { socketauthtest.NewServer(t, socketauth.Options[any]{}).Dial(anna) }); len(failures) != 0 {
		t.Errorf("got %q", failures)
	}
	if _, err := c.Call("anything"); codeOf(err) != "unknown_event" {
		t.Errorf("got %v", err)
	}
}

func TestRecorder(t *testing.T) {
	// Guards: a socket for the test of a handler by itself is as authenticated as any, and records
	// what becomes of it.
	everywhere(t, func(t *testing.T) {
		rec := socketauthtest.NewSocket(t, jwt.MapClaims{"sub": "anna", "role": "admin"})
		s, ctx := rec.Socket, rec.Context()
		if claims, ok := socketauth.ClaimsFromContext(ctx); !ok || claims["role"] != "admin" || s.UserID() != "anna" || s.SessionID() == "" || s.ID() == "" {
			t.Errorf("claims %v, %v; user %q", claims, ok, s.UserID())
		}
		if s.Request().UserAgent != "" || s.Request().RemoteAddr == "" {
			t.Errorf("request %+v", s.Request())
		}
		s.Join("b", "a", "c")
		s.Leave("c")
		if got := rec.Socket.Rooms(); !slices.Equal(got, []string{"a", "b"}) {
			t.Errorf("rooms %q", got)
		}
		emits := []error{
			s.Emit("news", "to it", []byte{1}), rec.Server.To("a").Emit("news", "to a"), rec.Server.To("c").Emit("news", "to c"),
			rec.Server.ToUser("anna").Emit("mail"), rec.Server.Emit("news", "to all"),
		}
		if err := errors.Join(emits...); err != nil {
			t.Error(err)
		}
		if got := rec.Events(); !slices.Equal(got, []string{"news", "news", "mail", "news"}) {
			t.Errorf("events %q", got)
		}
		news := rec.Emitted("news")
		var text string
		var data []byte
		if err := news[0].Decode(&text, &data); err != nil || text != "to it" || !bytes.Equal(data, []byte{1}) {
			t.Errorf("%q %v, %v", text, data, err)
		}

		rec.Reply("what?", "that", []byte{2})
		reply, err := s.EmitWithAck(ctx, "what?")
		if err != nil || reply.Decode(&text, &data) != nil || text != "that" || !bytes.Equal(data, []byte{2}) {
			t.Errorf("reply %q %v, %v", text, data, err)
		}
		given, cancel := context.WithCancel(ctx)
		cancel()
		if _, err := s.EmitWithAck(given, "unheard"); !errors.Is(err, context.Canceled) {
			t.Errorf("without a reply: %v", err)
		}

		reasons := make(chan string, 1)
		rec.Server.OnDisconnect(func(_ context.Context, _ *socketauth.Socket, reason string) { reasons <- reason })
		if rec.Closed() || ctx.Err() != nil {
			t.Error("closed too early")
		}
		s.Disconnect()
		if got := <-reasons; got != "server disconnect" || !rec.Closed() || ctx.Err() == nil {
			t.Errorf("reason %q, closed %v, %v", got, rec.Closed(), ctx.Err())
		}
		if err := s.Emit("news"); !errors.Is(err, socketauth.ErrClosed) {
			t.Errorf("after the end: %v", err)
		}
		for version, n := range rec.Server.Auth().Stats().Sockets {
			if n.Connecting != 0 || n.Authenticated != 0 {
				t.Errorf("version %s: %+v are left", version, n)
			}
		}
		if got := rec.Socket.Rooms(); len(got) != 0 {
			t.Errorf("rooms after the end: %q", got)
		}
	})
}

func TestRecorderIsClosed(t *testing.T) {
	// Guards: a handler under test that waits for its client, or for its context, sees the end.
	synctest.Test(t, func(t *testing.T) {
		rec := socketauthtest.NewSocket(t, anna)
		failed := make(chan error, 1)
		go func() {
			_, err := rec.Socket.EmitWithAck(context.Background(), "what?")
			failed <- err
		}()
		synctest.Wait() // until it waits for the reply
		if len(rec.Events()) != 1 {
			t.Fatalf("%d events", len(rec.Events()))
		}
		rec.Close()
		rec.Close()
		if err := <-failed; !errors.Is(err, socketauth.ErrClosed) {
			t.Errorf("got %v", err)
		}
		<-rec.Context().Done()
	})
}

func TestRecorderIsRevoked(t *testing.T) {
	// Guards: its session is one that the library knows.
	rec := socketauthtest.NewSocket(t, anna)
	if _, err := rec.Server.Auth().RevokeUser(t.Context(), "anna"); err != nil {
		t.Fatal(err)
	}
	var told struct{ Code string }
	if got := rec.Emitted("unauthorized"); len(got) != 1 || got[0].Decode(&told) != nil || told.Code != "session_revoked" || !rec.Closed() {
		t.Errorf("%+v, closed %v", told, rec.Closed())
	}
}

func TestArgs(t *testing.T) {
	// Guards: arguments are what a client could have sent.
	args := socketauthtest.Args("text", 1, nil, []byte{1, 2}, map[string]any{"a": 1})
	var text string
	var number int
	var data []byte
	var object struct{ A int }
	if err := args.Decode(&text, &number, nil, &data, &object); err != nil || text != "text" || number != 1 || !bytes.Equal(data, []byte{1, 2}) || object.A != 1 || args.Len() != 5 {
		t.Errorf("%q %d %v %v, %v", text, number, data, object, err)
	}
	if err := args.Decode(&number); !errors.Is(err, socketauth.ErrBadArguments) {
		t.Errorf("got %v", err)
	}
}
