// Package socketauthtest helps an app to test its use of package socketauth: a handler by itself,
// and a whole flow over a server and real connections.
//
// # A handler by itself
//
// NewSocket returns a Recorder, whose Socket is authenticated and on no network, and Args makes the
// arguments that a client's event brings. The test calls the handler and looks at what it returned,
// what the socket was sent and which rooms it is in. So the handler has to be a function with a
// name; to test one that is a closure in srv.On, use NewServer as below.
//
//	func TestJoin(t *testing.T) {
//		rec := socketauthtest.NewSocket(t, jwt.MapClaims{"sub": "anna"})
//		reply, err := join(rec.Context(), rec.Socket, socketauthtest.Args("lobby"))
//		if reply != "welcome" || err != nil {
//			t.Errorf("got %v, %v", reply, err)
//		}
//		if got := rec.Socket.Rooms(); !slices.Equal(got, []string{"lobby"}) {
//			t.Errorf("rooms: %q", got)
//		}
//	}
//
// A handler that also emits to others uses rec.Server; what reaches the socket is recorded. For the
// app's own server, and for several sockets, start a Server.
//
// # A whole flow
//
// NewServer starts a server with the app's options, and Dial connects a client that is signed in as
// a user: it gets a code by IssueCode, connects and authenticates. The app registers its handlers,
// in a function that its main calls too:
//
//	func TestChat(t *testing.T) {
//		srv := socketauthtest.NewServer(t, options())
//		handle(srv.Server) // srv.On("chat", ...), as in main
//		anna, bert := srv.Dial(jwt.MapClaims{"sub": "anna"}), srv.Dial(jwt.MapClaims{"sub": "bert"})
//		if _, err := anna.Call("chat", "hello"); err != nil {
//			t.Fatal(err)
//		}
//		var from, text string
//		if err := bert.Wait("chat").Decode(&from, &text); err != nil || from != "anna" || text != "hello" {
//			t.Errorf("got %s: %s, %v", from, text, err)
//		}
//	}
//
// Call waits for the acknowledgement; an error that the handler returned comes back as a
// *socketauth.PublicError with the code that clients see. Wait waits for an event, and Events shows
// that one did not come, without a pause. For logins and requests through the middleware there are
// Server.Mux, Server.URL and Server.HTTPClient; for a client that comes back with its stored token,
// or that is to be refused, Connect and Client.Authenticate. These clients bind no session to a
// key, so an app with BindRequired has the options of its tests say BindOptional; for handlers both
// are the same.
//
// Nothing has to be closed: the end of the test closes the clients, shuts the server down, and
// fails the test if a goroutine of the library is left, for example because a handler did not
// return when its context had ended.
//
// # Timers
//
// In a bubble of testing/synctest the same calls work over connections in memory, so that a test of
// what happens after a day takes no time:
//
//	synctest.Test(t, func(t *testing.T) {
//		srv := socketauthtest.NewServer(t, options())
//		c := srv.Dial(jwt.MapClaims{"sub": "anna"})
//		time.Sleep(24 * time.Hour) // the default of TokenLifetime
//		c.Wait("unauthorized")
//		c.WaitClosed()
//	})
package socketauthtest
