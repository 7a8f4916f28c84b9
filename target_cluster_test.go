package socketauth_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/z-open/socketauth"
	"github.com/z-open/socketauth/internal/engine"
	"github.com/z-open/socketauth/internal/siotest"
)

// TestEmitAcrossProcesses checks that emits reach the sockets of every process, each once, on both
// engines and all transports, in exactly the form that they have in the process that emits.
func TestEmitAcrossProcesses(t *testing.T) {
	for _, version := range []string{"3", "4"} {
		for _, transport := range siotest.Transports {
			t.Run(version+" "+transport, func(t *testing.T) {
				withCluster(t, 3, nil, func(p []*process) {
					for _, p := range p {
						p.OnAuthenticated(func(_ context.Context, s *socketauth.Socket) error {
							s.Join("red", "blue", "of "+s.UserID())
							return nil
						})
					}
					var clients []*siotest.Conn
					for n, p := range p {
						clients = append(clients, p.rawAuthenticated(version, transport, fmt.Sprint("user", n)))
					}
					synctest.Wait()
					args := []any{"wörld \u2028 <&>", 1e21, nil, []byte{0, 255, 'x'}, map[string]any{"a": []int{1}}, []byte{}}
					end := p[0].All() // what comes after everything else
					for name, to := range map[string]struct {
						target socketauth.Target
						want   []int
					}{
						"all":           {p[0].All(), []int{0, 1, 2}},
						"room":          {p[0].To("red"), []int{0, 1, 2}},
						"rooms":         {p[0].To("red", "blue", "red"), []int{0, 1, 2}},
						"some rooms":    {p[0].To("of user0", "of user2", "none"), []int{0, 2}},
						"user":          {p[0].ToUser("user1"), []int{1}},
						"no rooms":      {p[0].To(), nil},
						"nobody's user": {p[0].ToUser("red"), nil},
					} {
						if err := errors.Join(to.target.Emit("x", args...), end.Emit("end", name)); err != nil {
							t.Fatal(err)
						}
						synctest.Wait()
						var frames [3][]string
						for n, c := range clients {
							for {
								frame, err := c.Read()
								if err != nil {
									t.Fatal(err)
								}
								if strings.HasPrefix(frame, `42["end"`) {
									break
								}
								frames[n] = append(frames[n], frame)
							}
							if got := len(frames[n]) > 0; got != slices.Contains(to.want, n) {
								t.Errorf("%s: client %d got %q", name, n, frames[n])
							}
							if len(frames[n]) > 0 && !slices.Equal(frames[n], frames[to.want[0]]) {
								t.Errorf("%s: client %d got %q, and another %q", name, n, frames[n], frames[to.want[0]])
							}
							if len(frames[n]) != 0 && len(frames[n]) != 3 { // the text and two attachments
								t.Errorf("%s: client %d got %q", name, n, frames[n])
							}
						}
					}
				})
			})
		}
	}
}

// TestOthersAcrossProcesses guards that Except, and To of a socket, leave out sockets of this
// process and nobody of others, in Emit and in Sockets, and that Volatile changes nothing of that.
func TestOthersAcrossProcesses(t *testing.T) {
	clusterOnEngines(t, 3, nil, func(p []*process) {
		var clients []*client
		var sockets []*socketauth.Socket
		for n, p := range p {
			c, s := p.authenticatedSocket(claimsOf(fmt.Sprint("user", n)))
			s.Join("red", "blue")
			clients, sockets = append(clients, c), append(sockets, s)
		}
		more, s := p[0].authenticatedSocket(claimsOf("more"))
		s.Join("red")
		clients = append(clients, more)
		for name, to := range map[string]struct {
			target socketauth.Target
			want   []int
		}{
			"others in a room":  {sockets[0].To("red"), []int{1, 2, 3}},
			"others in rooms":   {sockets[1].To("blue", "red"), []int{0, 2, 3}},
			"others in none":    {sockets[0].To(), nil},
			"all but one":       {p[0].All().Except(sockets[0]), []int{1, 2, 3}},
			"all but two":       {p[0].All().Except(sockets[0], s), []int{1, 2}},
			"room but one":      {p[0].To("blue").Except(sockets[0]), []int{1, 2}},
			"volatile, but one": {p[0].All().Volatile().Except(s).Volatile(), []int{0, 1, 2}},
		} {
			if err := to.target.Emit("x", name); err != nil {
				t.Error(err)
			}
			synctest.Wait()
			for n, c := range clients {
				if slices.Contains(to.want, n) {
					c.expect(`42["x","` + name)
				}
				c.expectNothing()
			}
			if peers, err := to.target.Sockets(p[0].Context()); err != nil || len(peers) != len(to.want) {
				t.Errorf("%s: %d sockets, %v, want %d", name, len(peers), err, len(to.want))
			}
		}
	})
}

// TestEmitToSessionAcrossProcesses checks that ToSession reaches the session's sockets in all
// processes, and no other session's.
func TestEmitToSessionAcrossProcesses(t *testing.T) {
	withCluster(t, 2, nil, func(p []*process) {
		a, token := p[0].confirmed(p[0].code())
		b, _ := p[1].confirmed(token)
		a.expect(`42["rotated"]`)
		other, _ := p[1].authenticated()
		if err := p[0].ToSession(p[0].sessionOf(a)).Emit("x"); err != nil {
			t.Error(err)
		}
		a.expect(`42["x"]`)
		b.expect(`42["x"]`)
		other.expectNothing()
	})
}

// TestEmitOrder checks that what each process emits arrives in order everywhere.
func TestEmitOrder(t *testing.T) {
	withCluster(t, 2, nil, func(p []*process) {
		var clients []*client
		for _, p := range p {
			c, _ := p.authenticated()
			clients = append(clients, c)
		}
		const many = 500
		for n := range many {
			for i, p := range p {
				if err := p.Emit("x", i, n); err != nil {
					t.Fatal(err)
				}
			}
			if n%50 == 0 {
				synctest.Wait()
			}
		}
		for _, c := range clients {
			next := [2]int{}
			for range 2 * many {
				var args []json.RawMessage
				var i, n int
				if err := json.Unmarshal([]byte(c.expect("42")), &args); err != nil || json.Unmarshal(args[1], &i) != nil || json.Unmarshal(args[2], &n) != nil {
					t.Fatal(args, err)
				}
				if n != next[i] {
					t.Fatalf("got %d of process %d, want %d", n, i, next[i])
				}
				next[i]++
			}
		}
	})
}

// TestEmitRefusedAcrossProcesses checks that what cannot be sent is an error, and reaches nobody,
// if all sockets are in other processes.
func TestEmitRefusedAcrossProcesses(t *testing.T) {
	withCluster(t, 2, nil, func(p []*process) {
		c, _ := p[1].authenticated()
		for _, event := range reservedNames {
			if p[0].Emit(event) == nil {
				t.Errorf("%q was sent", event)
			}
		}
		if p[0].Emit("x", func() {}) == nil || p[0].Emit("x", map[string]any{"_placeholder": true}, []byte{}) == nil {
			t.Error("what cannot be encoded was sent")
		}
		for _, large := range []any{strings.Repeat("x", 1<<20), make([]byte, 1<<20), strings.Repeat("x", 5<<20)} {
			if err := p[0].Emit("x", large); !errors.Is(err, engine.ErrTooLarge) {
				t.Errorf("too large: %v", err)
			}
		}
		c.expectNothing()
		if err := p[0].Emit("x", strings.Repeat("x", 900<<10)); err != nil {
			t.Error(err)
		}
		c.expect(`42["x","xxx`)
		c.expectAuthenticated()
	})
}

// TestTopicsFollowRooms checks that a process subscribes to what its sockets are in, and to nothing
// else.
func TestTopicsFollowRooms(t *testing.T) {
	withCluster(t, 2, nil, func(p []*process) {
		topics := func() int {
			time.Sleep(time.Second)
			return p[0].broker.topics(p[0].broker)
		}
		before := topics()
		a, sa := p[0].authenticatedSocket(claimsOf("anna"))
		b, sb := p[0].authenticatedSocket(claimsOf("anna"))
		if got := topics() - before; got != 4 { // all, the user, two sessions
			t.Errorf("%d topics of two sockets", got)
		}
		sa.Join("red")
		sb.Join("red", "blue")
		if got := topics() - before; got != 6 {
			t.Errorf("%d topics with two rooms", got)
		}
		sb.Leave("red", "blue")
		if got := topics() - before; got != 5 {
			t.Errorf("%d topics with one room", got)
		}
		c, _ := p[1].authenticated()
		if err := p[1].To("red").Emit("x"); err != nil {
			t.Error(err)
		}
		a.expect(`42["x"]`)
		b.expectNothing()
		c.expectNothing()
		for _, c := range []*client{a, b} {
			c.close()
		}
		if got := topics(); got != before {
			t.Errorf("%d topics are left", got-before)
		}
	})
}

// TestForeignMessages checks that nothing that somebody else puts on the broker reaches a socket:
// recorded messages, changed ones, and what is no message at all.
func TestForeignMessages(t *testing.T) {
	withCluster(t, 2, nil, func(p []*process) {
		a, _ := p[0].authenticated()
		b, _ := p[1].authenticated()
		started := len(p[0].broker.recorded())
		if err := p[0].Emit("x"); err != nil {
			t.Error(err)
		}
		a.expect(`42["x"]`)
		b.expect(`42["x"]`)
		if _, err := p[0].Auth().Sessions(p[0].Context(), "anna"); err != nil { // asks a question
			t.Error(err)
		}
		recorded := p[0].broker.recorded()[started:]
		topics := make(map[string]bool)
		for _, m := range recorded {
			topics[m.topic] = true
		}
		before := p[1].Auth().Stats().Bus.Rejected
		for _, m := range recorded {
			for topic := range topics {
				p[0].broker.publish(topic, m.data)
			}
			for _, n := range []int{0, 1, 2, 5, 30, len(m.data) / 2, len(m.data) - 1} {
				changed := slices.Clone(m.data)
				changed[n] ^= 1
				p[0].broker.publish(m.topic, changed)
				p[0].broker.publish(m.topic, m.data[:n])
			}
		}
		synctest.Wait()
		a.expectNothing()
		b.expectNothing()
		if after := p[1].Auth().Stats().Bus.Rejected; after < before+uint64(len(recorded)) {
			t.Errorf("%d messages are counted as rejected", after-before)
		}
		p[1].logs.expect(t, "messages between processes are refused")
	})
}

// TestBrokerDown checks that without the broker a process serves its own sockets, says so in the
// log, and counts what was not sent; and that later messages arrive again.
func TestBrokerDown(t *testing.T) {
	withCluster(t, 2, nil, func(p []*process) {
		a, _ := p[0].authenticated()
		b, _ := p[1].authenticated()
		p[0].broker.disconnect()
		for range 3 {
			if err := p[0].Emit("lost"); err != nil {
				t.Error(err)
			}
			a.expect(`42["lost"]`)
			synctest.Wait()
		}
		if n := p[0].Auth().Stats().Bus.Dropped; n < 3 {
			t.Errorf("%d messages are counted as dropped", n)
		}
		if n := strings.Count(p[0].logs.String(), "errBrokerDown") + strings.Count(p[0].logs.String(), errBrokerDown.Error()); n != 1 {
			t.Errorf("the log says %d times that the broker is down:\n%s", n, p[0].logs)
		}
		p[0].broker.reconnect()
		time.Sleep(10 * time.Second)
		b.expectNothing()
		if err := p[0].Emit("x"); err != nil {
			t.Error(err)
		}
		a.expect(`42["x"]`)
		b.expect(`42["x"]`)
	})
}

// TestSocketsAcrossProcesses checks that Sockets lists the sockets of all processes, and names
// those that do not answer beside what the others have said.
func TestSocketsAcrossProcesses(t *testing.T) {
	withCluster(t, 3, nil, func(p []*process) {
		var sids []string
		for n, p := range p {
			_, s := p.authenticatedSocket(claimsOf(fmt.Sprint("user", n)))
			s.Join("red", fmt.Sprint("room", n))
			sids = append(sids, s.SessionID())
			time.Sleep(time.Second)
		}
		expect := func(target socketauth.Target, failed string, want ...int) {
			t.Helper()
			ctx, cancel := context.WithTimeout(p[0].Context(), time.Minute)
			defer cancel()
			began := time.Now()
			peers, err := target.Sockets(ctx)
			if took := time.Since(began); took > time.Second/2 {
				t.Errorf("it took %v", took)
			}
			if failed == "" && err != nil || failed != "" && (!errors.Is(err, socketauth.ErrUnavailable) || !strings.Contains(err.Error(), failed)) {
				t.Errorf("error %v, want %q", err, failed)
			}
			var got []string
			for _, peer := range peers {
				got = append(got, peer.UserID+" "+peer.SessionID+" "+peer.Node)
				if age := time.Since(peer.Since); age < time.Second || age > 20*time.Second {
					t.Errorf("connected %v ago", age)
				}
			}
			var wanted []string
			for _, n := range want {
				wanted = append(wanted, fmt.Sprint("user", n, " ", sids[n], " ", p[n].node()))
			}
			if !slices.Equal(got, wanted) {
				t.Errorf("got %q, want %q", got, wanted)
			}
		}
		expect(p[1].All(), "", 0, 1, 2)
		expect(p[1].To("red", "room2"), "", 0, 1, 2)
		expect(p[1].To("room0", "room2"), "", 0, 2)
		expect(p[1].ToUser("user2"), "", 2)
		expect(p[1].ToSession(sids[0]), "", 0)
		expect(p[1].To(), "")
		p[2].broker.stop()
		expect(p[1].To("red"), p[2].node(), 0, 1)
		time.Sleep(4 * time.Second) // it is not waited for any more, but named
		began := time.Now()
		expect(p[1].To("red"), p[2].node(), 0, 1)
		if time.Since(began) > time.Millisecond {
			t.Error("a silent process was waited for")
		}
		p[2].broker.reconnect()
		time.Sleep(2 * time.Second)
		expect(p[1].To("red"), "", 0, 1, 2)
	})
}

// TestJoinAcrossProcesses checks that what another process emits to a room after Join has returned
// is heard, also where OnAuthenticated joins it; and that Join does not wait for long if the broker
// does not answer, and not at all if it is known to be out of reach.
func TestJoinAcrossProcesses(t *testing.T) {
	withCluster(t, 2, nil, func(p []*process) {
		p[1].OnAuthenticated(func(_ context.Context, s *socketauth.Socket) error {
			s.Join("first")
			return nil
		})
		p[1].On("join", func(_ context.Context, s *socketauth.Socket, args socketauth.Args) (any, error) {
			var rooms []string
			if err := args.Decode(&rooms); err != nil {
				return nil, err
			}
			began := time.Now()
			s.Join(rooms...)
			return time.Since(began), nil
		})
		join := func(c *client, rooms ...string) time.Duration {
			t.Helper()
			var took [1]time.Duration
			if err := json.Unmarshal([]byte(c.call("join", rooms)), &took); err != nil {
				t.Error(err)
			}
			return took[0]
		}
		emit := func(c *client, room string) {
			t.Helper()
			if err := p[0].To(room).Emit(room); err != nil {
				t.Error(err)
			}
			c.expect(`42["` + room)
		}
		p[1].broker.subscribing.Store(int64(50 * time.Millisecond))
		c := p[1].dial("")
		c.authenticate(p[1].code())
		c.expectToken()
		c.expectAuthenticated() // its event is handled after OnAuthenticated's rooms
		emit(c, "first")
		if took := join(c, "second", "third", "first"); took < 50*time.Millisecond || took > 100*time.Millisecond {
			t.Errorf("Join took %v", took)
		}
		emit(c, "second")
		emit(c, "third")
		if took := join(c, "third"); took != 0 {
			t.Errorf("joining a room again took %v", took)
		}
		p[1].broker.subscribing.Store(int64(time.Hour))
		if took := join(c, "fourth"); took != 500*time.Millisecond {
			t.Errorf("Join took %v while the broker hangs", took)
		}
		p[1].broker.disconnect()
		time.Sleep(10 * time.Second) // until an attempt has failed
		if took := join(c, "fifth"); took != 0 {
			t.Errorf("Join took %v while the broker is out of reach", took)
		}
		p[1].broker.subscribing.Store(0)
		p[1].broker.reconnect()
		time.Sleep(10 * time.Second)
		emit(c, "fourth")
		emit(c, "fifth")
	})
}
