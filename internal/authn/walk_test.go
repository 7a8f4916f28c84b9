package authn

import (
	"slices"
	"strings"
	"testing"
	"time"
)

const timeout = 5 * time.Second

var t0 = time.Unix(0, 0)

func at(seconds int) time.Time { return t0.Add(time.Duration(seconds) * time.Second) }

var (
	code   = &Token{ID: "code", SessionID: "session", UserID: "user", ExpiresAt: at(30)}
	first  = &Token{ID: "first", SessionID: "session", UserID: "user", Generation: 1, ExpiresAt: at(8)}
	second = &Token{ID: "second", SessionID: "session", UserID: "user", Generation: 2, ExpiresAt: at(40)}
	fresh  = &Token{ID: "fresh", SessionID: "session", UserID: "user", Generation: 2, ExpiresAt: at(40), Mark: 1, App: []byte(`"role":"new"`)}
)

const (
	byReuse  = Cause("token_reused")
	byRevoke = Cause("session_revoked")
)

// state is a machine together with what a caller has seen of it. It is comparable.
type state struct {
	m         Machine
	now       time.Time
	closed    int  // how often Closed was returned
	parted    int  // how often Depart was returned
	over      bool // the session has ended
	in        bool // Enter has let the client in
	presented bool // the client has presented a token
	lost      bool // another branch than the offered one was confirmed
}

// event is something that can happen, as the caller of the machine lets it happen: a presentation,
// a confirmation and a logout take turns, everything else comes at any time.
type event struct {
	name  string
	legal func(s *state) bool
	run   func(s *state) (e Effects, fault string)
}

func always(*state) bool   { return true }
func idle(s *state) bool   { return !s.m.call.inFlight }
func asking(s *state) bool { return s.m.call.inFlight }
func open(s *state) bool   { return s.m.phase != Closed }

func propose(t *Token) func(*state) (Effects, string) {
	return func(s *state) (Effects, string) { s.m.Propose(t); return Effects{}, "" }
}

func begin(about Cause) func(*state) (Effects, string) {
	return func(s *state) (Effects, string) {
		e, may := s.m.Begin(s.now, about)
		if may != (s.m.phase != Closed) {
			return e, "a call is made for a closed connection, or none for an open one"
		}
		return e, ""
	}
}

func offerFor(presented, next *Token) func(*state) (Effects, string) {
	return func(s *state) (Effects, string) {
		offered := s.m.Offer(s.now, presented, next)
		if offered == (s.over || s.m.phase == Closed) {
			return Effects{}, "offered a token of a session that is over, or none of one that is not"
		}
		if offered {
			s.lost = false
		}
		return Effects{}, ""
	}
}

func enter(t *Token) func(*state) (Effects, string) {
	return func(s *state) (Effects, string) {
		was := s.in
		e, isFirst, ok := s.m.Enter(s.now, t)
		switch {
		case ok == (s.over || s.m.phase == Closed):
			return Effects{}, "let in by a session that is over, or kept out by one that is not"
		case isFirst != (ok && !was):
			return e, "first is wrong"
		}
		s.in = s.in || ok
		return e, ""
	}
}

func confirmed(id string, generation uint64) func(*state) (Effects, string) {
	return func(s *state) (Effects, string) {
		e := s.m.Confirmed(id, generation)
		s.lost = s.lost || s.m.call.lost
		return e, ""
	}
}

func sessionEnded(why Cause) func(*state) (Effects, string) {
	return func(s *state) (Effects, string) { s.over = true; return s.m.SessionEnded(why), "" }
}

func refuse(final bool) func(*state) (Effects, string) {
	return func(s *state) (Effects, string) {
		e, stays := s.m.Refuse("refused", final)
		if stays != (s.m.phase != Closed) || final && stays {
			return e, "a refusal that stays and closes, or does neither"
		}
		return e, ""
	}
}

var events = []event{
	{"present", always, func(s *state) (Effects, string) { s.m.Present(); s.presented = true; return Effects{}, "" }},
	{"propose first", idle, propose(first)},
	{"propose second", idle, propose(second)},
	{"identify", func(s *state) bool { return idle(s) && !s.m.entered }, func(s *state) (Effects, string) { s.m.Identify(first); return Effects{}, "" }},
	{"admit", func(s *state) bool { return s.m.token != nil && !s.m.entered }, func(s *state) (Effects, string) { return s.m.Admit(), "" }},
	{"begin", always, begin(byReuse)},
	{"begin, about nothing", always, begin("")},
	{"sent", func(s *state) bool { return open(s) && asking(s) }, func(s *state) (Effects, string) { s.m.Sent(); return Effects{}, "" }},
	{"offer first", asking, offerFor(code, first)},
	{"offer second", asking, offerFor(first, second)},
	{"settle", asking, func(s *state) (Effects, string) { s.m.Settle(); return Effects{}, "" }},
	{"enter first", asking, enter(first)},
	{"enter second", asking, enter(second)},
	{"enter fresh", asking, enter(fresh)},
	{"outdate", func(s *state) bool { return s.m.mark == 0 }, func(s *state) (Effects, string) { return s.m.Outdate(1, s.now), "" }},
	{"act", func(s *state) bool { return asking(s) && s.m.held && s.m.Current() }, func(s *state) (Effects, string) { s.m.Act(s.m.token); return Effects{}, "" }},
	{"release", func(s *state) bool { return asking(s) && s.m.held }, func(s *state) (Effects, string) {
		token := s.m.token
		if released := s.m.Release(); released == s.m.held || released && s.m.Acted() != token {
			return Effects{}, "released and held, or neither"
		}
		return Effects{}, ""
	}},
	{"done", asking, func(s *state) (Effects, string) {
		lost := s.m.call.lost
		e := s.m.Done()
		if lost && s.m.phase != Closed {
			return e, "the offered branch was lost, and the connection lives on"
		}
		return e, ""
	}},
	{"confirmed first", always, confirmed("first", 1)},
	{"confirmed another second", always, confirmed("another", 2)},
	{"session ended by its own call", always, sessionEnded(byReuse)},
	{"session ended by another", always, sessionEnded(byRevoke)},
	{"refuse", always, refuse(false)},
	{"refuse for good", always, refuse(true)},
	{"evict", always, func(s *state) (Effects, string) {
		before := s.m
		e, ok := s.m.Evict("evicted")
		switch {
		case ok != (s.m.phase == Closed):
			return e, "evicted and open, or closed and not evicted"
		case e.Closed && (before.call.inFlight || before.phase == Authenticated):
			return e, "evicted while the store decides, or although it is in"
		}
		return e, ""
	}},
	{"gone", func(s *state) bool { return !s.m.gone }, func(s *state) (Effects, string) {
		e := s.m.Close("transport close")
		e.Depart = s.m.Gone().Depart
		return e, ""
	}},
	{"tick too early", always, func(s *state) (Effects, string) {
		before := s.m
		e := s.m.Tick(s.m.Deadline().Add(-1))
		if e != (Effects{}) || s.m != before {
			return e, "a deadline that has not come does something"
		}
		return e, ""
	}},
	{"tick", func(s *state) bool { return !s.m.Deadline().IsZero() }, func(s *state) (Effects, string) {
		if d := s.m.Deadline(); d.After(s.now) {
			s.now = d
		}
		e := s.m.Tick(s.now)
		if !e.Closed || (e.Refuse == "") != e.Reconnect {
			return e, "a deadline passes and nothing comes of it"
		}
		return e, ""
	}},
}

// fault returns what is wrong with a state, or "".
func fault(before, s *state, e Effects) string {
	m, was := &s.m, &before.m
	switch {
	case m.phase < was.phase:
		return "the phase went back"
	case was.reason != "" && m.reason != was.reason:
		return "the first reason did not stay"
	case (m.phase == Closed) != (m.reason != ""):
		return "closed without a reason, or open with one"
	case s.closed > 1:
		return "closed twice"
	case (m.phase == Closed) != (s.closed == 1):
		return "closed and not told, or told and not closed"
	case (e.Refuse != "" || e.Ended != "") && !e.Closed, e.Refuse != "" && e.Ended != "":
		return "a last word without an end, or two"
	case e.Refuse != "" && m.reason != e.Refuse, e.Ended != "" && m.reason != string(e.Ended):
		return "the reason is not what the client was told"
	case e.Silent != (e.Refuse == TimedOut && !s.presented):
		return "told that it has presented no token, or not told"
	case e.Unconfirmed && e.Refuse != TimedOut, e.Refuse == TimedOut && e.Unconfirmed != (was.offer.token != nil):
		return "told of the wrong deadline"
	case (e.Rotated || e.Refresh) && m.phase != Authenticated:
		return "told of a newer token or of newer claims without being in"
	case e.Reconnect && (m.reason != Outdated || !was.outdated()):
		return "made to reconnect with claims that are up to date"
	case m.phase == Authenticated && m.outdated() && (!m.held || m.refreshBy.IsZero()):
		return "not held, or for ever, with claims that are out of date"
	case m.phase == Authenticated && !m.held && string(m.acted.App) != string(m.token.App):
		return "events go in and out under claims that the app has not seen"
	case was.held && !m.held && m.outdated(), was.phase == Authenticated && !was.outdated() && m.outdated() && m.phase == Authenticated && !e.Refresh && m.offer.token == nil:
		return "released with claims that are out of date, or the client was not told"
	case s.over && !m.call.inFlight && m.phase != Closed:
		return "the session is over, and the connection lives on"
	case s.over != (m.Ended() != ""), was.Ended() != "" && m.Ended() != was.Ended():
		return "the first end of the session is not remembered"
	case s.over && !before.in && s.in:
		return "let in by a session that is over"
	case m.Live(s.now) && !s.in:
		return "events go in and out of what was not let in"
	case m.phase == Authenticated && !s.in, s.in && !m.entered, s.in && m.Own() != m.token, s.in && m.token == nil:
		return "let in without being in"
	case s.parted > 1:
		return "departed twice"
	case m.gone && m.Admitted() != (s.parted == 1), s.parted == 1 && !m.gone:
		return "let in and never departed, or departed and never let in"
	case m.phase == Closed && !m.Deadline().IsZero():
		return "a deadline of what is closed"
	case m.phase != Closed && m.Deadline().IsZero():
		return "nothing would ever end it"
	}
	return ""
}

// outdated reports whether the connection lives on claims that are out of date.
func (m *Machine) outdated() bool { return m.token != nil && m.token.Mark < m.mark }

// TestEveryReachableState guards the invariants of a connection in every order of events. There are
// finitely many states, and it reaches all of them: first without the events that are about claims,
// then with them and without some that change nothing about them. All together reach too many.
func TestEveryReachableState(t *testing.T) {
	without := func(names ...string) []event {
		return slices.DeleteFunc(slices.Clone(events), func(e event) bool { return slices.Contains(names, e.name) })
	}
	t.Run("tokens", func(t *testing.T) {
		reachAll(t, without("enter fresh", "outdate", "act", "release"), 20_000)
	})
	t.Run("claims", func(t *testing.T) {
		reachAll(t, without("begin, about nothing", "confirmed first", "present", "refuse", "evict"), 20_000)
	})
}

// reachAll goes through all states that the events lead to, which have to be at least so many.
func reachAll(t *testing.T, events []event, least int) {
	type node struct {
		state
		path []string
	}
	start := state{m: New(t0, timeout), now: t0}
	seen := map[state]bool{start: true}
	level := []node{{state: start}}
	depth := 0
	for ; len(level) > 0; depth++ {
		var next []node
		for _, n := range level {
			for _, ev := range events {
				s := n.state
				if !ev.legal(&s) {
					continue
				}
				e, wrong := ev.run(&s)
				if e.Closed {
					s.closed++
				}
				if e.Depart {
					s.parted++
				}
				if wrong == "" {
					wrong = fault(&n.state, &s, e)
				}
				path := append(n.path[:len(n.path):len(n.path)], ev.name)
				if wrong != "" {
					t.Fatalf("%s:\n  %s\n%+v\n%+v", wrong, strings.Join(path, "\n  "), e, s)
				}
				if !seen[s] {
					seen[s] = true
					next = append(next, node{s, path})
				}
			}
		}
		level = next
	}
	t.Logf("%d states, the farthest %d events away", len(seen), depth-1)
	if len(seen) < least || depth <= 9 {
		t.Errorf("%d states, the farthest %d events away: too few to mean anything", len(seen), depth-1)
	}
}
