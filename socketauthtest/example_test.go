package socketauthtest_test

import (
	"context"
	"fmt"
	"io"
	"os"
	"testing"

	"github.com/golang-jwt/jwt/v5"

	"github.com/z-open/socketauth"
	"github.com/z-open/socketauth/socketauthtest"
)

// exampleT stands for the *testing.T that a test has, since examples have none.
type exampleT struct {
	testing.TB
	cleanups []func()
}

func (t *exampleT) Helper()                           {}
func (t *exampleT) Name() string                      { return "Example" }
func (t *exampleT) Context() context.Context          { return context.Background() }
func (t *exampleT) Output() io.Writer                 { return io.Discard }
func (t *exampleT) Cleanup(f func())                  { t.cleanups = append(t.cleanups, f) }
func (t *exampleT) Errorf(format string, args ...any) { fmt.Fprintf(os.Stdout, format+"\n", args...) }
func (t *exampleT) Fatalf(format string, args ...any) { panic(fmt.Sprintf(format, args...)) }

func (t *exampleT) end() {
	for n := len(t.cleanups) - 1; n >= 0; n-- {
		t.cleanups[n]()
	}
}

// handle registers the handlers of an app. Its main calls it, and so do its tests.
func handle(srv *socketauth.Server) {
	srv.On("join", join)
	srv.On("chat", func(_ context.Context, s *socketauth.Socket, args socketauth.Args) (any, error) {
		var text string
		if err := args.Decode(&text); err != nil {
			return nil, err
		}
		return nil, srv.To("lobby").Emit("chat", s.UserID(), text)
	})
}

// join is a handler: it lets a client into a room.
func join(_ context.Context, s *socketauth.Socket, args socketauth.Args) (any, error) {
	var room string
	if err := args.Decode(&room); err != nil {
		return nil, err
	}
	if room != "lobby" {
		return nil, &socketauth.PublicError{Code: "NO_SUCH_ROOM"}
	}
	s.Join(room)
	return "welcome", s.Emit("joined", room)
}

// A whole flow: clients of several users against the app's handlers.
func ExampleNewServer() {
	t := new(exampleT) // the *testing.T of a test
	defer t.end()      // which a test does by itself

	srv := socketauthtest.NewServer(t, socketauth.Options[any]{})
	handle(srv.Server)
	anna, bert := srv.Dial(jwt.MapClaims{"sub": "anna"}), srv.Dial(jwt.MapClaims{"sub": "bert"})
	otto := srv.Dial(jwt.MapClaims{"sub": "otto"})
	for _, c := range []*socketauthtest.Client{anna, bert} {
		if _, err := c.Call("join", "lobby"); err != nil {
			fmt.Println(err)
		}
	}
	anna.Emit("chat", "hello")
	var from, text string
	err := bert.Wait("chat").Decode(&from, &text)
	fmt.Println(from, text, err)
	fmt.Println("otto hears", otto.Events())

	_, err = otto.Call("join", "the cellar")
	fmt.Println("otto is told", err)
	// Output:
	// anna hello <nil>
	// otto hears []
	// otto is told NO_SUCH_ROOM
}

// A handler by itself.
func ExampleNewSocket() {
	t := new(exampleT) // the *testing.T of a test
	defer t.end()      // which a test does by itself

	rec := socketauthtest.NewSocket(t, jwt.MapClaims{"sub": "anna"})
	reply, err := join(rec.Context(), rec.Socket, socketauthtest.Args("lobby"))
	fmt.Println(reply, err, rec.Socket.Rooms(), rec.Events())

	_, err = join(rec.Context(), rec.Socket, socketauthtest.Args("the cellar"))
	fmt.Println(err)
	_, err = join(rec.Context(), rec.Socket, socketauthtest.Args())
	fmt.Println(err)
	// Output:
	// welcome <nil> [lobby] [joined]
	// NO_SUCH_ROOM
	// socketauth: bad arguments: got 0, need 1
}
