package histories

import (
	"context"
	"errors"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/z-open/socketauth/blacklist"
	"github.com/z-open/socketauth/internal/authn"
)

// roughly is how well a store that processes share has to know how far its clock is ahead.
const roughly = 10 * time.Millisecond

// fleet is the processes of one app behind a load balancer: each connection and each request is
// handled by any of them.
type fleet struct {
	w     *world
	nodes []server
	of    map[*socket]server
}

func (f *fleet) any() server { return f.nodes[f.w.IntN(len(f.nodes))] }

func (f *fleet) open(s *socket) {
	f.of[s] = f.any()
	f.of[s].open(s)
}

func (f *fleet) receive(s *socket, fr frame) { f.of[s].receive(s, fr) }
func (f *fleet) tear(s *socket, fr frame)    { f.of[s].tear(s, fr) }

func (f *fleet) hangUp(s *socket) {
	if node := f.of[s]; node != nil {
		node.hangUp(s)
	}
}

func (f *fleet) login(userID, key string, got func(token)) { f.any().login(userID, key, got) }
func (f *fleet) check(t token, key string)                 { f.any().check(t, key) }
func (f *fleet) revoke(r blacklist.Revocation)             { f.any().revoke(r) }
func (f *fleet) changeRole(userID string)                  { f.any().changeRole(userID) }

func (f *fleet) exchange(from string, t token, key string, confirm bool, got func(answer)) {
	f.any().exchange(from, t, key, confirm, got)
}

func (f *fleet) replay(from, another string) { f.any().replay(from, another) }

func (f *fleet) stepUp(userID, sid string, got func(token)) { f.any().stepUp(userID, sid, got) }

// shared is a store that several processes share, as a real server is given it.
type shared struct {
	*store
	blacklist.Clock
	batch blacklist.BatchChecker
}

// CheckAll implements blacklist.BatchChecker.
func (s *shared) CheckAll(ctx context.Context, tokens []blacklist.TokenRef) ([]blacklist.Result, error) {
	if err := s.before(ctx); err != nil {
		return nil, err
	}
	calls := make([]call, len(tokens))
	for n, t := range tokens {
		calls[n] = s.ledger.call(t.SessionID)
	}
	results, err := s.batch.CheckAll(ctx, tokens)
	for n, t := range tokens {
		if err == nil && results[n].Verdict != 0 {
			s.ledger.checked(calls[n], s.w.byHistory(t), 0, 0, results[n].Verdict)
		}
		s.ledger.done(t.SessionID)
	}
	return results, err
}

// unbatched is a shared store without CheckAll.
type unbatched struct {
	*store
	blacklist.Clock
}

// byHistory returns a token with its times by the history's clock instead of the store's.
func (w *world) byHistory(t blacklist.TokenRef) blacklist.TokenRef {
	for _, at := range [...]*time.Time{&t.IssuedAt, &t.ExpiresAt, &t.AuthTime} {
		*at = at.Add(-w.offset)
	}
	return t
}

var errNoClock = errors.New("histories: a store that processes share needs a Clock")

// ThroughShared returns a Player of histories through several of the library's own servers, which
// share a store: those that open returns are of one database. open is called in the bubble of each
// history.
func ThroughShared(open func(t *testing.T, seed uint64) []blacklist.Store) Player {
	return func(t *testing.T, seed uint64, _ bool) Outcome {
		o, err := runFleet(seed, open(t, seed))
		if err != nil {
			t.Errorf("seed %d: %v", seed, err)
		}
		return o
	}
}

// runFleet is RunReal for several processes.
func runFleet(seed uint64, stores []blacklist.Store) (Outcome, error) {
	w, l, first := newWorld(seed, stores[0], true)
	w.tracing, w.inbox, w.processes = true, make(chan func()), len(stores)
	f := &fleet{w: w, of: make(map[*socket]server)}
	var servers []*realServer
	for n, one := range stores {
		clock, ok := one.(blacklist.Clock)
		if !ok {
			return Outcome{}, errNoClock
		}
		now := time.Now()
		at, err := clock.Time(context.Background(), "", now)
		if err != nil {
			return Outcome{}, err
		}
		w.offset = at.Sub(now).Round(time.Second / 10)
		s := &store{Store: one, w: w, ledger: l, rand: rand.New(rand.NewPCG(seed, uint64(7+n)))}
		if n == 0 {
			first = s
		}
		var as blacklist.Store = &unbatched{s, clock}
		if batch, ok := one.(blacklist.BatchChecker); ok {
			as = &shared{s, clock, batch}
		}
		r, err := newRealServer(w, s, as, seed+uint64(n)<<32)
		if err != nil {
			return Outcome{}, err
		}
		r.report()
		servers, f.nodes = append(servers, r), append(f.nodes, r)
	}
	w.play(f, first, l)
	var err error
	for _, r := range servers {
		err = errors.Join(err, r.close())
	}
	return w.outcome(), err
}

// process is the store of a process whose clock is ahead of the history's. The simulated server
// goes by the history's clock.
type process struct {
	blacklist.Store
	ahead time.Duration
}

// Present implements blacklist.Store.
func (p *process) Present(ctx context.Context, of blacklist.Presentation) (blacklist.Result, error) {
	of.SocketOpenedAt = of.SocketOpenedAt.Add(p.ahead)
	if !of.PresentedAt.IsZero() {
		of.PresentedAt = of.PresentedAt.Add(p.ahead)
	}
	return p.Store.Present(ctx, of)
}

// OnShared returns a Player of histories on a store that several processes share, of which the
// clocks are that far ahead of the history's. The store's own clock is that of the history.
func OnShared(open func(t *testing.T, seed uint64) (stores []blacklist.Store, ahead []time.Duration)) Player {
	return func(t *testing.T, seed uint64, tracing bool) Outcome {
		stores, ahead := open(t, seed)
		return runShared(seed, stores, ahead, tracing)
	}
}

// runShared is Run for several processes.
func runShared(seed uint64, stores []blacklist.Store, ahead []time.Duration, tracing bool) Outcome {
	w, l, first := newWorld(seed, stores[0], false)
	w.tracing, w.inbox, w.processes = tracing, make(chan func()), len(stores)
	f := &fleet{w: w, of: make(map[*socket]server)}
	model := NewMachine(None)
	ctx, cancel := context.WithCancel(context.Background())
	var watching sync.WaitGroup
	var minted map[string]*authn.Token
	for n, one := range stores {
		s := &store{
			Store: &twin{Store: &process{one, ahead[n]}, model: model, w: w}, w: w, ledger: l,
			rand: rand.New(rand.NewPCG(seed, uint64(7+n))),
		}
		p := newPlayedServer(w, s)
		if n == 0 {
			first, minted = s, p.minted
		}
		p.minted = minted
		p.byStore = func(t time.Time) time.Time {
			at, err := one.(blacklist.Clock).Time(context.Background(), "", t.Add(ahead[n]))
			if err != nil {
				w.violate("Time: %v", err)
			}
			return at
		}
		f.nodes = append(f.nodes, p)
		watching.Go(func() {
			_ = one.Watch(ctx, func(c blacklist.Change) {
				select {
				case w.inbox <- func() { p.hear(c) }:
				case <-ctx.Done():
				}
			})
		})
	}
	w.play(f, first, l)
	cancel()
	watching.Wait()
	return w.outcome()
}

// hear does what follows from what another process has changed.
func (p *playedServer) hear(c blacklist.Change) {
	for _, sid := range p.sids {
		t := p.known(sid)
		switch {
		case t == nil:
		case c.Gap:
			p.look(sid)
		case c.Verdict == blacklist.Accepted && c.SessionID == sid:
			p.confirmed(&authn.Token{SessionID: sid, ID: c.TokenID, Generation: c.Generation})
		case isOver(c.Verdict) && concerns(blacklist.Revocation{All: c.All, UserID: c.UserID, SessionID: c.SessionID, Except: c.Except}, sid, t.UserID):
			p.look(sid)
		}
	}
}

// known returns a token of a session that has a connection, or nil.
func (p *playedServer) known(sid string) *authn.Token {
	for _, c := range p.conns[sid] {
		if t := (*authn.Token)(c.state.Known()); t != nil && !c.closed() {
			return t
		}
	}
	return nil
}

// look asks the store whether a session has ended, until it answers, and closes its connections if
// so.
func (p *playedServer) look(sid string) {
	t := p.known(sid)
	if t == nil {
		return
	}
	v, err := verdictOf(p.store.Check(context.Background(), refOf(t), 0, 0))
	if err != nil {
		p.w.after(time.Second, func() { p.look(sid) })
		return
	}
	why := map[blacklist.Verdict]authn.Cause{
		blacklist.LoggedOut: byUser, blacklist.Revoked: byApp, blacklist.SessionCompromised: byReuse,
	}[v]
	for _, c := range p.conns[sid] {
		if why != "" {
			p.step(c, func(m *authn.Machine) authn.Effects { return m.SessionEnded(why) })
		}
	}
}
