package histories

import (
	"time"

	"github.com/z-open/socketauth/blacklist"
)

// This file holds the part of the ledger that records refreshes and step-ups.

// identity is what the ledger knows of a session's claims and of the proofs of its user.
type identity struct {
	mark   int64 // claims with a lower mark are out of date
	markAt int   // since when, in the ledger's time

	provedAt time.Time // when the user proved who they are last
	provedBy string    // the step-up that did; "" for another proof, or once a generation was confirmed since
}

// refreshes notes that a refresh has begun, which may make claims of its sessions out of date.
func (l *ledger) refreshes(r blacklist.Revocation) call {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.refreshing[r.UserID] = true
	l.time++
	return call(l.time)
}

// hasRefreshed notes that a refresh was recorded.
func (l *ledger) hasRefreshed(c call, r blacklist.Revocation, mark int64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.time++
	l.w.counts.Refreshes++
	l.w.note("     refreshed: user %q, mark %d", r.UserID, mark)
	for _, s := range l.concerned(r) {
		if mark <= s.mark && s.markAt < int(c) && s.begun() { // otherwise both were made at once
			l.w.violate("the mark of %.4s is %d after it was %d", s.sid, mark, s.mark)
		}
		s.mark, s.markAt = max(s.mark, mark), l.time
		s.changed = l.time
	}
}

// begun reports whether a token of the session was accepted.
func (s *session) begun() bool { return s.latest > 0 }

// outdated checks a verdict about claims with a mark. It returns true if there is nothing else to
// check, because they are out of date. A token that was replaced is accepted for as long as grace.
func (l *ledger) outdated(s *session, e *entry, t blacklist.TokenRef, mark int64, grace time.Duration, c call, v blacklist.Verdict) bool {
	switch {
	case v == blacklist.Accepted && mark < s.mark && s.markAt < int(c) && !s.contested(c):
		l.w.violate("%s is accepted with claims of mark %d, and the mark is %d", name(t), mark, s.mark)
	case v == blacklist.Stale || v == blacklist.StepUpRefused:
		if killer, dead := s.killer(e, c); dead && !s.contested(c) && time.Since(killer.at) >= grace {
			l.w.violate("%s: verdict %d, where %s was confirmed", name(t), v, name(killer.ref))
		}
	}
	switch v {
	case blacklist.Stale:
		l.w.counts.Stale++
		if !l.refreshing[s.userID] {
			l.w.violate("%s is out of date, where nobody has refreshed anything", name(t))
		}
		return true
	case blacklist.StepUpRefused:
		l.w.counts.StepUpsRefused++
		return true
	}
	return false
}

// prove checks a step-up that was accepted, before the presentation is recorded.
func (l *ledger) prove(s *session, c call, p blacklist.Presentation) {
	up := p.StepUp
	if up == (blacklist.StepUp{}) {
		return
	}
	l.w.counts.StepUps++
	if again := up.ID == s.provedBy; !again && !up.At.After(s.provedAt) && !s.contested(c) {
		l.w.violate("a step-up of %v is accepted, where the last proof was at %v", up.At, s.provedAt)
	}
	s.provedAt = up.At
}

// cut notes that a revocation has spared a session, and that no proof from before it counts any
// more.
func (l *ledger) cut(r blacklist.Revocation) {
	if s := l.sessions[r.Except]; s != nil && s.userID == r.UserID && s.over == 0 {
		if at := time.Now().Add(-roughly); at.After(s.provedAt) {
			s.provedAt, s.provedBy = at, ""
		}
	}
}
