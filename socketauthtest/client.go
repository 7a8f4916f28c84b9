package socketauthtest

import (
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/z-open/socketauth"
	"github.com/z-open/socketauth/internal/engine"
	"github.com/z-open/socketauth/internal/siotest"
	"github.com/z-open/socketauth/internal/testhook"
)

// Client is a client of a Server: one socket. It speaks Socket.IO over a websocket, as the browser
// client does. Its methods end the test, by testing.TB's Fatalf, if what they wait for does not
// come within 30 seconds. Call them only from the test's goroutine.
type Client struct {
	t    testing.TB
	conn *siotest.Client
	work sync.WaitGroup

	mu      sync.Mutex
	changed chan struct{} // closed and replaced with each change of what follows
	events  []event       // that came and were not waited for
	acks    map[string]engine.Args
	asked   int // acknowledgements so far
	token   string
	replies map[string][]any
	end     string // why nothing more comes; empty while more may
}

// event is an event that a client or a Recorder has received.
type event struct {
	name string
	args engine.Args
}

// String returns the event as JSON has it.
func (e event) String() string {
	values, _ := json.Marshal(e.args.Values)
	return fmt.Sprintf("%q %s", e.name, values)
}

func describe(events []event) string {
	if len(events) == 0 {
		return "no other event came"
	}
	var b strings.Builder
	for _, e := range events {
		fmt.Fprintf(&b, "\n\t%.300s", e)
	}
	return "what came and was not waited for:" + b.String()
}

func newClient(t testing.TB, conn *siotest.Conn) *Client {
	t.Helper()
	c := &Client{t: t, changed: make(chan struct{}), acks: make(map[string]engine.Args), replies: make(map[string][]any)}
	var err error
	if c.conn, err = conn.Start(t.Context()); err != nil {
		t.Fatalf("socketauthtest: connecting: %v", err)
	}
	c.work.Go(c.read)
	t.Cleanup(c.Close)
	return c
}

func (c *Client) read() {
	var d siotest.Decoder
	end := "the connection has ended"
	for packet := range c.conn.Packets() {
		if packet == "41" {
			end = "the server has disconnected the client"
			break
		}
		m, complete, err := d.Decode(packet)
		switch {
		case err != nil:
			end = err.Error()
			c.conn.Close()
		case complete:
			c.take(m)
		}
	}
	c.change(func() { c.end = end })
}

// take takes a message of the server's.
func (c *Client) take(m siotest.Message) {
	if m.Kind == siotest.Ack {
		c.change(func() { c.acks[m.ID] = m.Args })
		return
	}
	var name string
	if m.Kind != siotest.Event || len(m.Args.Values) == 0 || json.Unmarshal(m.Args.Values[0], &name) != nil {
		return
	}
	m.Args.Values = m.Args.Values[1:]
	var reply []any
	var answer bool
	c.change(func() {
		if name == "authenticated" && len(m.Args.Values) > 0 {
			_ = json.Unmarshal(m.Args.Values[0], &c.token)
		}
		c.events = append(c.events, event{name, m.Args})
		reply, answer = c.replies[name]
	})
	if answer && m.ID != "" {
		if packets, err := siotest.Encode(siotest.Ack, m.ID, reply...); err == nil { // Reply has tried
			_ = c.conn.Write(packets...)
		}
	}
}

// change makes a change under the lock, and known to who waits.
func (c *Client) change(f func()) {
	c.mu.Lock()
	defer c.mu.Unlock()
	f()
	close(c.changed)
	c.changed = make(chan struct{})
}

// await waits until ready, which is called with the lock held. It returns why it gave up, or "".
func (c *Client) await(ready func() bool) string {
	timer := time.NewTimer(patience)
	defer timer.Stop()
	for {
		c.mu.Lock()
		done, end, changed := ready(), c.end, c.changed
		c.mu.Unlock()
		switch {
		case done:
			return ""
		case end != "":
			return end
		}
		select {
		case <-changed:
		case <-timer.C:
			return fmt.Sprintf("nothing came within %v", patience)
		}
	}
}

// unread describes the events that were not waited for.
func (c *Client) unread() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return describe(c.events)
}

// Emit sends an event. A []byte among args goes as a binary attachment.
func (c *Client) Emit(event string, args ...any) {
	c.t.Helper()
	c.emit("", event, args)
}

func (c *Client) emit(id, event string, args []any) {
	c.t.Helper()
	packets, err := siotest.Encode(siotest.Event, id, append([]any{event}, args...)...)
	if err != nil {
		c.t.Fatalf("socketauthtest: Emit %q: %v", event, err)
	}
	if err := c.conn.Write(packets...); err != nil {
		c.t.Fatalf("socketauthtest: Emit %q: the connection has ended: %v; %s", event, err, c.unread())
	}
}

// Call sends an event that asks for an acknowledgement, and returns what the server replies. If
// that is {error:{code}}, which is how the library answers for a handler that fails, the error is a
// *socketauth.PublicError with that code.
//
// If no acknowledgement comes, Call ends the test. For a handler that ends the session of its own
// socket, whose acknowledgement reaches nobody, use Emit and then WaitClosed.
func (c *Client) Call(event string, args ...any) (socketauth.Args, error) {
	c.t.Helper()
	reply, failed := c.call(event, args)
	if failed != "" {
		c.t.Fatalf("socketauthtest: Call %q: no acknowledgement: %s; %s", event, failed, c.unread())
	}
	if len(reply.Values) == 1 {
		var answer struct{ Error struct{ Code string } }
		if json.Unmarshal(reply.Values[0], &answer) == nil && answer.Error.Code != "" {
			return argsOf(reply), &socketauth.PublicError{Code: answer.Error.Code}
		}
	}
	return argsOf(reply), nil
}

func (c *Client) call(event string, args []any) (reply engine.Args, failed string) {
	c.t.Helper()
	var id string
	c.change(func() { c.asked++; id = strconv.Itoa(c.asked) })
	c.emit(id, event, args)
	failed = c.await(func() (ok bool) {
		reply, ok = c.acks[id]
		delete(c.acks, id)
		return ok
	})
	return reply, failed
}

// Wait returns the arguments of the next event of that name that was not waited for before. Events
// of other names stay for calls that wait for them.
func (c *Client) Wait(event string) socketauth.Args {
	c.t.Helper()
	args, failed := c.next(event)
	if failed != "" {
		c.t.Fatalf("socketauthtest: Wait %q: %s; %s", event, failed, c.unread())
	}
	return argsOf(args)
}

// next is Wait, and says why it failed.
func (c *Client) next(name string) (args engine.Args, failed string) {
	failed = c.await(func() bool {
		n := slices.IndexFunc(c.events, func(e event) bool { return e.name == name })
		if n < 0 {
			return false
		}
		args = c.events[n].args
		c.events = slices.Delete(c.events, n, n+1)
		return true
	})
	return args, failed
}

// WaitClosed waits until the server has ended the connection.
func (c *Client) WaitClosed() {
	c.t.Helper()
	if failed := c.await(func() bool { return c.end != "" }); failed != "" {
		c.t.Fatalf("socketauthtest: WaitClosed: the connection goes on: %s; %s", failed, c.unread())
	}
}

// Events returns the names of the events that came and were not waited for, in order. All that the
// server emitted to this client before is among them, because Events asks it for an answer, which
// comes after that. It is the way to show that an event did not come.
func (c *Client) Events() []string {
	c.t.Helper()
	c.mu.Lock()
	over := c.end != ""
	c.mu.Unlock()
	if !over {
		// An event that nobody handles is answered at once.
		_, failed := c.call("socketauthtest", nil)
		c.mu.Lock()
		over = c.end != "" // meanwhile, and then all that came is there too
		c.mu.Unlock()
		if failed != "" && !over {
			c.t.Fatalf("socketauthtest: Events: the server does not answer: %s; %s", failed, c.unread())
		}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	names := make([]string, len(c.events))
	for n, e := range c.events {
		names[n] = e.name
	}
	return names
}

// Reply has each event of that name from now on acknowledged with values, if the server asks for
// it by EmitWithAck. Others are not acknowledged.
func (c *Client) Reply(event string, values ...any) {
	c.t.Helper()
	if _, err := siotest.Encode(siotest.Ack, "1", values...); err != nil {
		c.t.Fatalf("socketauthtest: Reply %q: %v", event, err)
	}
	c.change(func() { c.replies[event] = values })
}

// Authenticate presents a code or a token, and returns once the server has answered. If it
// refuses, the error is a *socketauth.PublicError with its code, and the event "unauthorized" may
// be waited for.
func (c *Client) Authenticate(token string) error {
	c.t.Helper()
	_, err := c.Call("authenticate", map[string]string{"token": token})
	if err != nil {
		return err
	}
	if _, failed := c.next("authenticated"); failed != "" {
		c.t.Fatalf("socketauthtest: Authenticate: no token came: %s; %s", failed, c.unread())
	}
	return nil
}

// Token returns the newest token that the server has sent: what the client of an app stores and
// presents when it comes back. It is empty before Authenticate.
func (c *Client) Token() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.token
}

// Close leaves the server, which hears of it as "client disconnect" and soon after of the end of
// the connection. It may be called again.
func (c *Client) Close() {
	c.mu.Lock()
	over := c.end != ""
	c.mu.Unlock()
	if !over {
		_ = c.conn.Write("41")
	}
	c.conn.Close()
	c.work.Wait()
}

// argsOf returns args as handlers get them.
func argsOf(args engine.Args) socketauth.Args { return testhook.Args(args).(socketauth.Args) }
