package socketauth_test

import (
	"context"
	"fmt"
	"net/http"
	"reflect"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/z-open/socketauth"
	"github.com/z-open/socketauth/blacklist"
)

// expectReceipt checks a receipt, and that it names the processes that have not answered.
func expectReceipt(t *testing.T, r socketauth.Receipt, err error, sessions, sockets, nodes int, unheard ...string) {
	t.Helper()
	slices.Sort(unheard)
	if want := (socketauth.Receipt{Sessions: sessions, Sockets: sockets, Nodes: nodes, Unheard: unheard}); err != nil || !reflect.DeepEqual(r, want) {
		t.Errorf("%+v, %v, want %+v", r, err, want)
	}
}

// TestReceipt checks that revocations close the sockets of every process and that the receipt
// counts each of them, whether the other processes hear of it from the store first or from the one
// that revokes.
func TestReceipt(t *testing.T) {
	for name, deaf := range map[string]bool{"from the store": false, "by the question": true} {
		t.Run(name, func(t *testing.T) {
			withCluster(t, 3, nil, func(p []*process) {
				// Two sessions of anna, one with a socket in each process, and one of bert.
				a0, token := p[0].confirmed(p[0].code())
				a1, token := p[1].confirmed(token)
				a0.expect(`42["rotated"]`)
				a2, _ := p[2].confirmed(token)
				a0.expect(`42["rotated"]`)
				a1.expect(`42["rotated"]`)
				second, _ := p[2].authenticated()
				bert, _ := p[1].authenticatedAs(claimsOf("bert"))
				if deaf {
					p[1].store.deaf.Store(true)
					p[2].store.deaf.Store(true)
				}
				auth, ctx := p[0].Auth(), p[0].Context()
				r, err := auth.RevokeSession(ctx, "bert", p[0].sessionOf(a0))
				if err != nil || !reflect.DeepEqual(r, socketauth.Receipt{}) {
					t.Errorf("another user's session: %+v, %v", r, err)
				}
				r, err = auth.RevokeSession(ctx, "anna", p[0].sessionOf(a0))
				expectReceipt(t, r, err, 1, 3, 3)
				for _, c := range []*client{a0, a1, a2} {
					c.expectRefused("session_revoked")
				}
				r, err = auth.RevokeSession(ctx, "anna", p[0].sessionOf(a0))
				expectReceipt(t, r, err, 0, 0, 3)
				second.expectAuthenticated()
				time.Sleep(time.Microsecond)
				third, _ := p[1].authenticated()
				r, err = auth.RevokeOthers(ctx, "anna", p[1].sessionOf(third))
				expectReceipt(t, r, err, 1, 1, 3)
				second.expectRefused("session_revoked")
				time.Sleep(time.Microsecond)
				r, err = auth.RevokeUser(ctx, "anna")
				expectReceipt(t, r, err, 1, 1, 3)
				third.expectRefused("session_revoked")
				bert.expectAuthenticated()
				r, err = auth.RevokeAll(ctx)
				expectReceipt(t, r, err, 1, 1, 3)
				bert.expectRefused("session_revoked")
			})
		})
	}
}

// TestReceiptOfSilentProcess checks that a receipt is there within ReceiptTimeout although a
// process does not answer, and names it, until it says goodbye or is heard again; and that the end
// of the caller's context does not matter.
func TestReceiptOfSilentProcess(t *testing.T) {
	withCluster(t, 3, nil, func(p []*process) {
		revoke := func() (socketauth.Receipt, time.Duration, error) {
			time.Sleep(time.Microsecond)
			a, _ := p[0].authenticated()
			b, _ := p[1].authenticated()
			time.Sleep(time.Microsecond)
			began := time.Now()
			r, err := p[0].Auth().RevokeUser(context.WithoutCancel(p[0].Context()), "anna")
			took := time.Since(began)
			a.expectRefused("session_revoked")
			b.expectRefused("session_revoked")
			return r, took, err
		}
		p[2].broker.stop()
		silent := p[2].node()
		r, took, err := revoke()
		expectReceipt(t, r, err, 2, 2, 2, silent)
		if took < 400*time.Millisecond || took > 500*time.Millisecond {
			t.Errorf("it took %v", took)
		}
		time.Sleep(5 * time.Second)
		r, took, err = revoke()
		expectReceipt(t, r, err, 2, 2, 2, silent)
		if took > time.Millisecond {
			t.Errorf("a silent process was waited for: %v", took)
		}
		nodes := p[0].Auth().Stats().Nodes
		for _, n := range nodes {
			if len(nodes) != 3 || n.Silent != (n.Name == silent) {
				t.Errorf("nodes %+v", nodes)
			}
		}
		p[2].broker.reconnect()
		time.Sleep(3 * time.Second)
		r, _, err = revoke()
		expectReceipt(t, r, err, 2, 2, 3)
		if err := p[2].Server.Shutdown(p[2].Context()); err != nil {
			t.Error(err)
		}
		r, _, err = revoke()
		expectReceipt(t, r, err, 2, 2, 2)
	})
}

// TestReceiptStoreDown checks that a process which cannot ask the store closes nothing for another
// one's word, and is named by the receipt.
func TestReceiptStoreDown(t *testing.T) {
	withCluster(t, 2, nil, func(p []*process) {
		c, _ := p[1].authenticated()
		time.Sleep(time.Microsecond)
		p[1].store.deaf.Store(true)
		p[1].store.fail(storeDown, nil)
		r, err := p[0].Auth().RevokeUser(p[0].Context(), "anna")
		expectReceipt(t, r, err, 1, 0, 1, p[1].node())
		c.expectAuthenticated()
	})
}

// TestReceiptCanceled checks that a handler that ends its own session, whose context ends with it,
// gets the whole receipt.
func TestReceiptCanceled(t *testing.T) {
	withCluster(t, 2, nil, func(p []*process) {
		type outcome struct {
			r   socketauth.Receipt
			err error
		}
		outcomes := make(chan outcome, 1)
		p[0].On("leave", func(ctx context.Context, s *socketauth.Socket, _ socketauth.Args) (any, error) {
			r, err := p[0].Auth().RevokeSession(ctx, s.UserID(), s.SessionID())
			if ctx.Err() == nil {
				t.Error("the handler's context goes on")
			}
			outcomes <- outcome{r, err}
			return nil, nil
		})
		a, token := p[0].confirmed(p[0].code())
		p[1].confirmed(token)
		a.expect(`42["rotated"]`)
		a.emit("leave")
		o := <-outcomes
		expectReceipt(t, o.r, o.err, 1, 2, 2)
	})
}

// TestReceiptsAtOnce checks that of revocations in several processes at the same time each socket
// is in one receipt.
func TestReceiptsAtOnce(t *testing.T) {
	withCluster(t, 3, nil, func(p []*process) {
		for _, p := range p {
			p.authenticated()
			p.authenticated()
		}
		time.Sleep(time.Microsecond)
		var sockets, sessions atomic.Int32
		var wg sync.WaitGroup
		for range 3 {
			for _, p := range p {
				wg.Go(func() {
					r, err := p.Auth().RevokeUser(p.Context(), "anna")
					if err != nil || r.Nodes != 3 {
						t.Errorf("%+v, %v", r, err)
					}
					sockets.Add(int32(r.Sockets))
					sessions.Add(int32(r.Sessions))
				})
			}
		}
		wg.Wait()
		if sockets.Load() != 6 || sessions.Load() != 6 {
			t.Errorf("%d sockets, %d sessions", sockets.Load(), sessions.Load())
		}
	})
}

// TestReceiptWithoutSockets checks that a process without sockets, which has not used the cluster
// before, gets the whole receipt of its first revocation, and that Close ends what that has
// started.
func TestReceiptWithoutSockets(t *testing.T) {
	withCluster(t, 2, nil, func(p []*process) {
		p[0].authenticated()
		p[1].authenticated()
		time.Sleep(time.Microsecond)
		o := testOptions(p[0].logs)
		o.Blacklist, o.Cluster.Broker = p[0].store, &processBroker{memoryBroker: p[0].broker.memoryBroker}
		auth, err := socketauth.New(o)
		if err != nil {
			t.Fatal(err)
		}
		r, err := auth.RevokeUser(p[0].Context(), "anna")
		expectReceipt(t, r, err, 2, 2, 3)
		if n := len(p[0].Auth().Stats().Nodes); n != 3 {
			t.Errorf("%d nodes", n)
		}
		for range 2 {
			if err := auth.Close(p[0].Context()); err != nil {
				t.Error(err)
			}
		}
		if n := len(p[0].Auth().Stats().Nodes); n != 2 {
			t.Errorf("%d nodes after one has left", n)
		}
		r, err = auth.RevokeUser(p[0].Context(), "anna")
		expectReceipt(t, r, err, 0, 0, 1, "unknown")
	})
}

// TestSessionSocketsAcrossProcesses checks that Sessions counts the sockets of all processes that
// answer.
func TestSessionSocketsAcrossProcesses(t *testing.T) {
	withCluster(t, 3, nil, func(p []*process) {
		a, token := p[0].confirmed(p[0].code())
		time.Sleep(time.Second)
		b, _ := p[1].confirmed(token)
		a.expect(`42["rotated"]`)
		time.Sleep(time.Second)
		p[2].authenticated()
		waiting := p[2].dial("")
		waiting.offerFor(b.current) // does not count
		expect := func(want ...int) {
			t.Helper()
			sessions, err := p[1].Auth().Sessions(p[1].Context(), "anna")
			var got []int
			for _, s := range sessions {
				got = append(got, s.Sockets)
			}
			slices.Sort(got)
			if err != nil || !slices.Equal(got, want) {
				t.Errorf("%v, %v, want %v", got, err, want)
			}
		}
		expect(1, 2)
		p[0].broker.stop()
		expect(1, 1)
	})
}

// TestClusterOfTwoServers checks that the two servers of a core are kept apart in all processes,
// and that the core's end comes with that of the last one.
func TestClusterOfTwoServers(t *testing.T) {
	withCluster(t, 2, nil, func(p []*process) {
		synctest.Wait()
		var second []*socketauth.Server
		for _, p := range p {
			s, err := p.Auth().SocketServe(nil, p.secondMux())
			if err != nil {
				t.Fatal(err)
			}
			second = append(second, s)
		}
		a, _ := p[1].authenticated()
		b := p[1].connectTo("second")
		b.send(`40{"token":"` + p[1].code() + `"}`)
		b.expect(`40`)
		b.expectToken()
		synctest.Wait()
		if err := second[0].Emit("to the second"); err != nil {
			t.Error(err)
		}
		b.expect(`42["to the second"]`)
		if err := p[0].Emit("to the first"); err != nil {
			t.Error(err)
		}
		a.expect(`42["to the first"]`)
		a.expectNothing()
		b.expectNothing()
		if peers, err := second[0].All().Sockets(p[0].Context()); err != nil || len(peers) != 1 {
			t.Errorf("%+v, %v", peers, err)
		}
		if err := p[1].Server.Shutdown(p[1].Context()); err != nil { // the first one
			t.Error(err)
		}
		if err := second[0].Emit("to the second"); err != nil {
			t.Error(err)
		}
		b.expect(`42["to the second"]`)
		for _, s := range second {
			if err := s.Shutdown(p[0].Context()); err != nil {
				t.Error(err)
			}
		}
		if n := len(p[0].Auth().Stats().Nodes); n != 1 {
			t.Errorf("%d nodes", n)
		}
	})
}

// TestReceiptOfItsOwn checks that a receipt does not count sockets that were closed a moment ago
// for another revocation.
func TestReceiptOfItsOwn(t *testing.T) {
	withCluster(t, 2, nil, func(p []*process) {
		a, _ := p[1].authenticated()
		b, _ := p[1].authenticatedAs(claimsOf("bert"))
		time.Sleep(time.Microsecond)
		// Whoever has done this has died before it could ask for a receipt.
		if _, err := p[0].store.Revoke(p[0].Context(), blacklist.Revocation{UserID: "anna", Why: blacklist.Revoked, Keep: time.Minute}); err != nil {
			t.Fatal(err)
		}
		a.expectRefused("session_revoked")
		r, err := p[0].Auth().RevokeUser(p[0].Context(), "bert")
		expectReceipt(t, r, err, 1, 1, 2)
		b.expectRefused("session_revoked")
	})
}

// TestStatsOfCluster checks what Stats says of the processes and of the messages between them.
func TestStatsOfCluster(t *testing.T) {
	n := 0
	withCluster(t, 2, func(o *socketauth.Options[string]) {
		n++
		o.Cluster.Advertise = fmt.Sprintf("http://10.0.0.%d:80", n)
	}, func(p []*process) {
		p[0].authenticated()
		p[1].authenticated()
		synctest.Wait()
		if err := p[0].Emit("x"); err != nil {
			t.Error(err)
		}
		synctest.Wait()
		s, other := p[0].Auth().Stats(), p[1].Auth().Stats()
		var addresses []string
		for _, node := range s.Nodes {
			addresses = append(addresses, node.Advertise)
			if node.Silent || len(node.Name) != 8 || time.Since(node.Heard) > time.Second {
				t.Errorf("%+v", node)
			}
		}
		if !slices.Equal(addresses, []string{"http://10.0.0.1:80", "http://10.0.0.2:80"}) || s.Nodes[1].Name != other.Nodes[0].Name {
			t.Errorf("%+v and %+v", s.Nodes, other.Nodes)
		}
		if s.Bus.Sent == 0 || s.Bus.Received == 0 || s.Bus.Dropped != 0 || s.Bus.Rejected != 0 || s.Bus.Gaps != 0 || s.Bus.Queued != 0 {
			t.Errorf("%+v", s.Bus)
		}
	})
}

// TestClusterWithoutServer checks that a core begins to listen to the other processes with its
// first use and not before, and that Close says goodbye.
func TestClusterWithoutServer(t *testing.T) {
	for name, use := range map[string]func(a *socketauth.Auth) error{
		"Middleware": func(a *socketauth.Auth) error { a.Middleware(http.NotFoundHandler()); return nil },
		"APIServe":   func(a *socketauth.Auth) error { return a.APIServe(http.NewServeMux()) },
	} {
		t.Run(name, func(t *testing.T) {
			withCluster(t, 1, nil, func(p []*process) {
				o := testOptions(p[0].logs)
				o.Blacklist, o.Cluster.Broker = p[0].store, &processBroker{memoryBroker: p[0].broker.memoryBroker}
				auth, err := socketauth.New(o)
				if err != nil {
					t.Fatal(err)
				}
				expect := func(want int) {
					t.Helper()
					time.Sleep(2 * time.Second)
					if n := len(p[0].Auth().Stats().Nodes); n != want {
						t.Errorf("%d nodes, want %d", n, want)
					}
				}
				expect(1)
				if err := use(auth); err != nil {
					t.Fatal(err)
				}
				expect(2)
				if err := auth.Close(p[0].Context()); err != nil {
					t.Error(err)
				}
				expect(1)
				if err := use(auth); err != nil { // too late: only SocketServe begins again
					t.Fatal(err)
				}
				expect(1)
			})
		})
	}
}
