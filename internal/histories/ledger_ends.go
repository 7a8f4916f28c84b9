package histories

import (
	"time"

	"github.com/z-open/socketauth/blacklist"
)

// This file holds the part of the ledger that records how sessions end.

// concerned returns the sessions that a revocation ends, of all logins up to now.
func (l *ledger) concerned(r blacklist.Revocation) (concerned []*session) {
	for _, sid := range l.order {
		s := l.sessions[sid]
		if concerns(r, s.sid, s.userID) {
			concerned = append(concerned, s)
		}
	}
	return concerned
}

func (l *ledger) revokes(r blacklist.Revocation) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, s := range l.concerned(r) {
		s.ending = true
	}
	l.mayEnd(r)
}

// mayEnd notes that a revocation may end a session although it names another user. A store that has
// forgotten the session does not know its user, and records an unknown session as ended.
func (l *ledger) mayEnd(r blacklist.Revocation) {
	if s := l.sessions[r.SessionID]; s != nil && s.forgotten() {
		s.ending = true
	}
}

func (l *ledger) hasRevoked(r blacklist.Revocation) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.time++
	l.w.note("     revoked: session %.4s, user %q but for %.4q, all %v", r.SessionID, r.UserID, r.Except, r.All)
	l.w.counts.Revocations++
	switch {
	case r.UserID != "" && r.SessionID == "":
		l.revoked[r.UserID] = time.Now()
	case r.All:
		l.allDead = time.Now()
	}
	for _, s := range l.concerned(r) {
		s.end(r.Why, l.time)
	}
	l.cut(r)
	l.mayEnd(r)
}

// allClosed checks, at the end of the calm phase, that every socket is closed whose session is over
// or whose token has expired.
func (l *ledger) allClosed() {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, s := range l.sockets {
		if s.closed || s.givenUp || s.up.cut || s.down.cut || s.told.text == "" {
			continue
		}
		if l.sessions[s.told.ref.SessionID].over != 0 {
			l.w.violate("%s lives, and its session is over", s.name)
		}
		if time.Since(s.told.ref.ExpiresAt) > l.w.timeout {
			l.w.violate("%s lives, and its token has expired", s.name)
		}
	}
}

// living returns the sessions of a user that the store has to list, and until when.
func (l *ledger) living(userID string) map[string]time.Time {
	l.mu.Lock()
	defer l.mu.Unlock()
	living := make(map[string]time.Time)
	for sid, s := range l.sessions {
		if s.userID != userID || s.latest == 0 || s.over != 0 {
			continue
		}
		for _, e := range s.tokens {
			if e.ref.ExpiresAt.After(living[sid]) {
				living[sid] = e.ref.ExpiresAt
			}
		}
	}
	return living
}

// until returns when the last of the session's tokens expires. A store may forget the session a
// minute later.
func (s *session) until() (until time.Time) {
	for _, e := range s.tokens {
		if e.ref.ExpiresAt.After(until) {
			until = e.ref.ExpiresAt
		}
	}
	return until
}

// forgotten reports whether a store may have forgotten the session.
func (s *session) forgotten() bool { return time.Since(s.until()) >= time.Minute }

// lives reports whether a session is not over, and has a token that has not expired.
func (l *ledger) lives(sid string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	s := l.sessions[sid]
	return s.over == 0 && time.Now().Before(s.until())
}

// replaced reports whether a session token was replaced more than a moment ago, in a session that
// lives on.
func (l *ledger) replaced(t blacklist.TokenRef) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	s, e := l.find(t)
	if e == nil || s.over != 0 || t.Generation == 0 {
		return false
	}
	killer, dead := s.killer(e, call(l.time+1))
	return dead && time.Since(killer.at) > time.Second
}
