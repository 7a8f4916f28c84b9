package histories

import (
	"fmt"
	"sync"
	"time"

	"github.com/z-open/socketauth/blacklist"
)

// ledger is the truth about a history: whose each token is, what the owner has stored, and what the store has said. It
// computes the invariants at each call of the store, and whether a client that is refused has a thief, an operator or
// itself to thank for it. It knows nothing of how a store decides.
type ledger struct {
	w *world

	mu       sync.Mutex
	time     int // counts the beginnings and ends of calls
	sockets  map[string]*socket
	given    map[*socket][]*entry // what was accepted on it, and what it was to get for that
	sessions map[string]*session
	order    []string // of the sessions, by their login
	asking   map[string]bool
	revoked  map[string]time.Time // by user
	allDead  time.Time
}

// session is one login.
type session struct {
	sid, userID string
	authTime    time.Time
	confirming  bool // its owner's client does
	tokens      map[string]*entry
	holders     map[uint64]holder // of each generation, as far as a store has accepted one
	latest      uint64            // the last generation that has begun
	changed     int               // when anything did last

	over   blacklist.Verdict // why it is over, if it is
	overAt int
	ending bool // a call that ends it has begun

	calls     int    // that have begun and are not done
	suspicion string // what is violated if they turn out to excuse nothing

	// A thief has parted from the owner: a branch of its own holds a generation, or it presented what was dead.
	parted bool
}

// entry is one token of a session.
type entry struct {
	ref    blacklist.TokenRef
	parent *entry
	thief  bool // minted for one
	stored bool // the owner has it, or had
}

// holder is who holds a generation: since when, and since which moment of the ledger.
type holder struct {
	*entry
	at    time.Time
	since int
}

// call is when a call of the store began. What ended before must be known to it; what overlaps may be.
type call int

func newLedger(w *world) *ledger {
	return &ledger{w: w, sockets: make(map[string]*socket), given: make(map[*socket][]*entry), sessions: make(map[string]*session), asking: make(map[string]bool), revoked: make(map[string]time.Time)}
}

// call notes that one begins, about a session.
func (l *ledger) call(sid string) call {
	l.mu.Lock()
	defer l.mu.Unlock()
	if s := l.sessions[sid]; s != nil {
		s.calls++
	}
	l.time++
	return call(l.time)
}

// done notes that a call is over, and known here. A client may have heard of its outcome before.
func (l *ledger) done(sid string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	s := l.sessions[sid]
	if s == nil {
		return
	}
	if s.calls--; s.calls == 0 && s.suspicion != "" && !l.excused(s) {
		l.w.violate("%s", s.suspicion)
	}
	if s.calls == 0 {
		s.suspicion = ""
	}
}

// asked notes that a store is asked for a successor, perhaps again.
func (l *ledger) asked(successor string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.asking[successor] {
		l.w.counts.Repeated++
	}
	l.asking[successor] = successor != ""
}

// opened notes whose a socket is: stores are told of it by its name.
func (l *ledger) opened(s *socket) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.sockets[s.name] = s
}

// begun notes a login. Where its user was revoked since the password was checked, it is over.
func (l *ledger) begun(code blacklist.TokenRef, confirming bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.w.counts.Logins++
	s := &session{
		sid: code.SessionID, userID: code.UserID, authTime: code.AuthTime, confirming: confirming,
		tokens: make(map[string]*entry), holders: make(map[uint64]holder),
	}
	s.tokens[code.TokenID] = &entry{ref: code, stored: true}
	l.sessions[s.sid] = s
	l.order = append(l.order, s.sid)
	if !s.authTime.After(l.revoked[s.userID]) || !s.authTime.After(l.allDead) {
		s.end(blacklist.Revoked, l.time)
	}
}

// has notes that the owner has stored a token.
func (l *ledger) has(t blacklist.TokenRef) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if _, e := l.find(t); e != nil {
		e.stored = true
	}
}

func (l *ledger) find(t blacklist.TokenRef) (*session, *entry) {
	s := l.sessions[t.SessionID]
	if s == nil || s.tokens[t.TokenID] == nil {
		l.w.violate("%s is used, which nobody was given", name(t))
		return nil, nil
	}
	return s, s.tokens[t.TokenID]
}

func (s *session) end(why blacklist.Verdict, at int) {
	if s.over == 0 {
		s.over, s.overAt, s.changed = why, at, at
	}
}

// killer is the confirmation since which a token is dead, if one had ended when the call began: of the generation after
// it, or of another branch of its own.
func (s *session) killer(e *entry, c call) (holder, bool) {
	if h, ok := s.holders[e.ref.Generation+1]; ok && h.since < int(c) {
		return h, true
	}
	h, ok := s.holders[e.ref.Generation]
	return h, ok && h.since < int(c) && h.entry != e
}

// hold notes that a token has been confirmed: by an acknowledgement, a presentation, or, for a plain client, at once.
func (l *ledger) hold(s *session, e *entry) {
	generation := e.ref.Generation
	if h, held := s.holders[generation]; held {
		if h.entry != e {
			l.w.violate("two branches of one generation are confirmed: %s and %s", name(h.ref), name(e.ref))
		}
		return
	}
	if generation > 0 && s.holders[generation-1].entry != e.parent {
		l.w.violate("%s is confirmed, whose predecessor never was", name(e.ref))
	}
	l.w.counts.Confirmations++
	s.holders[generation] = holder{e, time.Now(), l.time}
	s.changed = l.time
}

// contested says whether another call may have come before this one, or after: its outcome may go either way.
func (s *session) contested(c call) bool { return s.changed > int(c) || s.calls > 1 }

// isOver says whether a verdict is that the session is over.
func isOver(v blacklist.Verdict) bool {
	return v == blacklist.SessionCompromised || v == blacklist.LoggedOut || v == blacklist.Revoked
}

// afterTheEnd checks a verdict where the session is over, or is said to be. settled: there is nothing else to check.
func (l *ledger) afterTheEnd(s *session, t blacklist.TokenRef, c call, v blacklist.Verdict) (settled bool) {
	switch {
	case s.over != 0 && s.overAt < int(c):
		if l.w.counts.Over++; !isOver(v) && !(v == blacklist.Unknown && s.forgotten()) {
			l.w.violate("%s: verdict %d after the session was over", name(t), v)
		}
		return true
	case isOver(v):
		if s.over == 0 && !s.ending && s.calls == 1 {
			l.w.violate("%s: verdict %d, where nobody has ended the session", name(t), v)
		}
		return true
	}
	return false
}

// presented checks what the store has said of a presentation.
func (l *ledger) presented(c call, p blacklist.Presentation, v blacklist.Verdict) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.time++
	l.w.counts.Presentations++
	l.w.note("     %s presents %s for %.4s: verdict %d", p.Address, name(p.Token), p.SuccessorID, v)
	s, e := l.find(p.Token)
	if e == nil || l.afterTheEnd(s, p.Token, c, v) {
		return
	}
	by := l.sockets[p.Address]
	thief := by != nil && by.thief
	if v == blacklist.Accepted {
		l.accepted(s, e, c, p, thief)
		l.given[by] = append(l.given[by], e)
		if next := s.tokens[p.SuccessorID]; next != nil {
			l.given[by][len(l.given[by])-1] = next
		}
	} else {
		l.refused(s, e, c, p, thief, v)
	}
}

func (l *ledger) accepted(s *session, e *entry, c call, p blacklist.Presentation, thief bool) {
	l.w.counts.Accepted++
	next := s.tokens[p.SuccessorID]
	if killer, dead := s.killer(e, c); dead && (next == nil || killer.entry != next) { // else the same step again
		l.w.violate("%s is accepted after %s was confirmed", name(p.Token), name(killer.ref))
	}
	l.hold(s, e)
	if p.SuccessorID != "" {
		if next == nil {
			next = &entry{parent: e, thief: thief, ref: p.Token}
			next.ref.TokenID, next.ref.Generation, next.ref.ExpiresAt = p.SuccessorID, e.ref.Generation+1, p.SuccessorExpiresAt
			next.ref.IssuedAt = time.Now() // or a moment before
			s.tokens[p.SuccessorID] = next
			s.latest = max(s.latest, next.ref.Generation)
			s.changed = l.time
		}
		if !p.Confirming {
			l.hold(s, next)
		}
	}
	if thief && (e.thief || p.SuccessorID != "" && !p.Confirming) {
		s.parted = true
	}
}

func (l *ledger) refused(s *session, e *entry, c call, p blacklist.Presentation, thief bool, v blacklist.Verdict) {
	killer, dead := s.killer(e, c)
	contested := s.contested(c) || v == blacklist.Unknown && s.forgotten()
	late := dead && !p.SocketOpenedAt.After(killer.at) && p.PresentedAt.Sub(killer.at) <= p.SupersededWithin && e.ref.Generation+10 >= s.latest
	reuse := blacklist.Replaced
	if p.EndOnReuse {
		reuse = blacklist.ReuseDetected
	}
	switch {
	case contested:
	case !dead:
		l.w.violate("%s is alive, and refused: verdict %d", name(p.Token), v)
	case late && v != blacklist.Superseded:
		l.w.violate("%s, late on a socket that was open when %s was confirmed: verdict %d", name(p.Token), name(killer.ref), v)
	case !late && v != reuse:
		l.w.violate("the reuse of %s is not found: verdict %d, where %s was confirmed %v before it came, and the socket opened %v before",
			name(p.Token), v, name(killer.ref), p.PresentedAt.Sub(killer.at), p.PresentedAt.Sub(p.SocketOpenedAt))
	}
	switch v {
	case blacklist.Superseded:
		l.w.counts.Superseded++
		return
	case blacklist.ReuseDetected:
		s.end(blacklist.SessionCompromised, l.time)
	}
	l.w.counts.Reuses++
	if s.parted = s.parted || thief; !l.excused(s) {
		l.w.violate("%s: its honest client is accused of reuse (verdict %d)", name(p.Token), v)
	}
}

// excused says whether an honest client can be refused for good: a thief has parted from it, its session was ended, or
// it is a plain one that lost a reply.
func (l *ledger) excused(s *session) bool {
	if s.parted || s.ending || s.over == blacklist.LoggedOut || s.over == blacklist.Revoked {
		return true
	}
	for _, h := range s.holders {
		if !s.confirming && !h.thief && !h.stored {
			return true
		}
	}
	return false
}

// lockedOut checks that an honest client that is refused for good has someone to thank for it.
func (l *ledger) lockedOut(t blacklist.TokenRef, code string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	s, e := l.find(t)
	switch {
	case e == nil:
	case code == "token_expired" && !time.Now().Before(e.ref.ExpiresAt):
		l.w.counts.Expiries++
	case l.excused(s):
	case s.calls > 0:
		s.suspicion = fmt.Sprintf("an honest client is locked out: %s, %s", name(t), code)
	default:
		l.w.violate("an honest client is locked out: %s, %s", name(t), code)
	}
}

// confirmed checks what the store has said of a confirmation.
func (l *ledger) confirmed(c call, t blacklist.TokenRef, v blacklist.Verdict) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.time++
	l.w.note("     %s is acknowledged: verdict %d", name(t), v)
	s, e := l.find(t)
	if e == nil || l.afterTheEnd(s, t, c, v) {
		return
	}
	contested := s.contested(c)
	h, held := s.holders[t.Generation]
	lost := held && h.entry != e
	switch v {
	case blacklist.Accepted:
		if lost && h.since < int(c) {
			l.w.violate("%s is confirmed after %s was", name(t), name(h.ref))
		}
		if t.Generation+1 < s.latest && !contested {
			l.w.violate("%s is confirmed in generation %d", name(t), s.latest)
		}
		l.hold(s, e)
		s.parted = s.parted || e.thief
	case blacklist.Superseded:
		if !lost && !contested {
			l.w.violate("%s is said to have lost to another branch, and there is none", name(t))
		}
	case blacklist.Replaced:
		if t.Generation >= s.latest && !contested {
			l.w.violate("%s is said to be replaced, and there is no later generation", name(t))
		}
	default:
		l.w.violate("%s is acknowledged: verdict %d", name(t), v)
	}
}

// checked checks what the store has said of a token that was only looked up.
func (l *ledger) checked(c call, t blacklist.TokenRef, grace, branch time.Duration, v blacklist.Verdict) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.time++
	l.w.counts.Checks++
	s := l.sessions[t.SessionID]
	if s == nil {
		return
	}
	// A server may ask by a token that is not accepted as a successor yet whether the session has ended. A store that does
	// not know the session, since a revocation came before its code, does not know that token either.
	e := s.tokens[t.TokenID]
	if e == nil && v == blacklist.Unknown || l.afterTheEnd(s, t, c, v) || e == nil {
		return
	}
	killer, dead := s.killer(e, c)
	_, held := s.holders[t.Generation]
	young := branch == 0 || time.Since(t.IssuedAt) <= branch
	inGrace := dead && killer.parent == e && time.Since(killer.at) < grace && t.Generation+1 == s.latest
	alive := !dead && (held || young || t.Generation < s.latest)
	switch {
	case s.contested(c), v == blacklist.Unknown && s.forgotten():
	case v == blacklist.Accepted && !alive && !inGrace:
		l.w.violate("%s passes a check, and is dead", name(t))
	case v != blacklist.Accepted && alive:
		l.w.violate("%s is alive, and does not pass a check: verdict %d", name(t), v)
	}
}

// alive are the sessions that are not over, and in that generation at least.
func (l *ledger) alive(generation uint64) (sids []string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, sid := range l.order {
		if s := l.sessions[sid]; s.over == 0 && s.latest >= generation {
			sids = append(sids, sid)
		}
	}
	return sids
}

// userOf returns whose a session is.
func (l *ledger) userOf(sid string) string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.sessions[sid].userID
}

// heard checks that a socket that hears a broadcast was let in: that a token it was given is, or was, confirmed.
func (l *ledger) heard(s *socket) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, e := range l.given[s] {
		if h := l.sessions[e.ref.SessionID].holders[e.ref.Generation]; h.entry == e {
			return
		}
	}
	l.w.violate("%s hears a broadcast, and no token of it was ever confirmed", s.name)
}
