package socketauth

import (
	"context"
	"fmt"
	"time"

	"github.com/z-open/socketauth/internal/eio"
	"github.com/z-open/socketauth/internal/engine"
)

// What the tests of package socketauth_test need from the inside.

// Helpers of the tests inside.
var (
	TestSecret = testSecret
	Respell    = respell
	PayloadOf  = payloadOf
	TestKeys   = testKeys
)

// HubEmpty reports whether no socket is registered and no group is left.
func HubEmpty(s *Server) bool { return s.hub.Empty() }

// Registered returns the sockets that a change of their session reaches, authenticated or not.
func Registered(s *Server) []*Socket { return s.hub.All() }

// RegisteredSession returns the session that a socket is registered under.
func RegisteredSession(s *Socket) string {
	return s.server.hub.Groups(&s.member, session("").Kind)[0]
}

// Authenticated returns the sockets that broadcasts reach.
func Authenticated(s *Server) []*Socket { return s.hub.Members(everyone) }

// Members returns the sockets that are registered in a target's group, authenticated or not.
func Members(t Target) []*Socket { return t.members() }

// Receives reports whether a message for a room reaches a socket that was listed as one of its
// members.
func Receives(s *Socket, name string) bool {
	return s.receives(&engine.Message{}, time.Now(), room(name), nil, false)
}

// ExpiresAt returns when the newest token of a socket expires.
func ExpiresAt(s *Socket) time.Time { return s.newest().ExpiresAt }

// OnDeadline does what a socket's timer does at that time.
func OnDeadline(s *Socket, at time.Time) { s.onDeadline(at) }

// Guarded runs f as the library runs what a client's events bring about.
func Guarded(s *Socket, f func()) { s.guard(f) }

// Live reports whether events go in and out of a socket.
func Live(s *Socket) bool { return s.live() }

// Waiting reports whether something waits for the socket to be let in or for newer claims.
func Waiting(s *Socket) bool { s.mu.Lock(); defer s.mu.Unlock(); return s.waiting != nil }

// Steps reports whether a server still begins calls of its store.
func Steps(s *Server) bool { return s.beginStep() }

// Servers returns how many servers an Auth remembers.
func Servers(a *Auth) int { return len(a.servers) }

// Occupy takes a turn of p's queue for something that lasts until release is called.
func Occupy(p *Passwords) (release func(), err error) {
	if err := p.start(); err != nil {
		return nil, err
	}
	if err := p.turns.Acquire(context.Background(), "", ""); err != nil {
		return nil, err
	}
	return p.turns.Release, nil
}

// StoreLeft has the store in memory forget what is over, and returns how many sessions and users
// with sessions remain.
func StoreLeft(a *Auth) (sessions, users int) {
	return a.blacklist.(measured).Store.(interface{ Left() (sessions, users int) }).Left()
}

// IdleWorkers returns how many goroutines of the server wait for something to do.
func IdleWorkers(s *Server) int {
	n := s.workers.Idle()
	for _, e := range s.engines {
		n += e.(*eio.Engine).IdleWorkers()
	}
	return n
}

// LeftBehind returns what connections that have ended have left behind.
func LeftBehind(s *Server) (left []string) {
	add := func(format string, args ...any) { left = append(left, fmt.Sprintf(format, args...)) }
	for version, e := range s.engines {
		if n, tasks := e.(*eio.Engine).Left(); n+tasks != 0 {
			add("engine %s: %d sessions, %d requests, goroutines and timers are left", version, n, tasks)
		}
	}
	for version, n := range s.auth.Stats().Sockets {
		if n.Connecting+n.Authenticated != 0 {
			add("Stats: engine %s: %+v are left", version, n)
		}
	}
	if !s.pool.Empty() {
		add("the pool of connections is not empty: %+v", s.pool.Counts())
	}
	if !s.hub.Empty() {
		add("the hub is not empty")
	}
	if n := s.watcher.rechecks.Left(); n != 0 {
		add("%d sessions are still to be rechecked", n)
	}
	return left
}
