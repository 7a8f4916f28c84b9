package histories

import (
	"fmt"
	"math"
	"sync"
	"time"

	"github.com/z-open/socketauth/blacklist"
)

// ledger records what really happened in a history: who owns each token, what the owner has stored,
// and what the store has answered. From that it checks the invariants at each store call, and
// whether a refused client was refused because of a thief, an operator or its own behaviour. It
// does not know how a store decides.
type ledger struct {
	w *world

	mu       sync.Mutex
	time     int // increases at the beginning and at the end of each call
	sockets  map[string]*socket
	given    map[*socket][]*entry // the tokens given on each socket
	sessions map[string]*session
	order    []string // the sessions' ids, in the order of their logins
	asking   map[string]bool
	revoked  map[string]time.Time // by user ID
	allDead  time.Time

	refreshing map[string]bool // the users for whom a refresh has begun
}

// session is one login.
type session struct {
	identity
	binding
	sid, userID string
	authTime    time.Time
	confirming  bool // whether its owner's client acknowledges tokens
	tokens      map[string]*entry
	holders     map[uint64]holder // the confirmed token of each generation
	latest      uint64            // the last generation that has a token
	changed     int               // the ledger's time of the last change

	over   blacklist.Verdict // why the session is over, 0 if it is not
	overAt int
	ending bool // a call that may end it has begun

	calls     int    // that have begun and have not ended
	suspicion string // the violation to report if none of these calls excuses it

	// parted says that the thief and the owner no longer share their tokens: a token of the
	// thief's own is confirmed, or the thief presented a token that was replaced.
	parted bool
}

// entry is one token of a session.
type entry struct {
	ref    blacklist.TokenRef
	key    string // to which it is bound; "" for none
	parent *entry
	thief  bool // issued to a thief
	stored bool // the owner has stored it at some time
}

// holder is the token that holds a generation, with the clock time and the ledger's time since
// which it does.
type holder struct {
	*entry
	at    time.Time
	since int
}

// call is the ledger's time at which a store call began. The call must take into account every call
// that ended before that time, and may take into account those that overlap it.
type call int

func newLedger(w *world) *ledger {
	return &ledger{w: w, sockets: make(map[string]*socket), given: make(map[*socket][]*entry), sessions: make(map[string]*session), asking: make(map[string]bool), revoked: make(map[string]time.Time), refreshing: make(map[string]bool)}
}

// call notes that a store call about a session begins.
func (l *ledger) call(sid string) call {
	l.mu.Lock()
	defer l.mu.Unlock()
	if s := l.sessions[sid]; s != nil {
		s.calls++
	}
	l.time++
	return call(l.time)
}

// done notes that a store call has ended and that the ledger knows its result. A client may have
// heard of the result before.
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

// asked notes that the store is asked to accept a successor, and counts repeated requests.
func (l *ledger) asked(successor string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.asking[successor] {
		l.w.counts.Repeated++
	}
	l.asking[successor] = successor != ""
}

// opened registers a socket by its name, which is how the store calls refer to it.
func (l *ledger) opened(s *socket) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.sockets[s.name] = s
}

// begun notes a login. If its user was revoked after the password was checked, the session is over.
// owner is the key of the client that logged in, if it has one.
func (l *ledger) begun(login token, confirming bool, owner string) {
	code := login.ref
	l.mu.Lock()
	defer l.mu.Unlock()
	l.w.counts.Logins++
	s := &session{
		sid: code.SessionID, userID: code.UserID, authTime: code.AuthTime, confirming: confirming,
		tokens: make(map[string]*entry), holders: make(map[uint64]holder),
	}
	s.tokens[code.TokenID] = &entry{ref: code, key: login.key, stored: true}
	s.owner = owner
	if login.key != "" {
		l.w.counts.BoundAtLogin++
	}
	s.provedAt = s.authTime.Add(-roughly)
	l.sessions[s.sid] = s
	l.order = append(l.order, s.sid)
	for _, revoked := range [...]time.Time{l.revoked[s.userID], l.allDead} {
		switch since := s.authTime.Sub(revoked); {
		case since <= 0:
			s.end(blacklist.Revoked, l.time)
		case since <= roughly && l.w.processes > 1:
			s.ending = true // the store knows its clock only roughly
		}
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

// killer returns the confirmation that made a token invalid, if that confirmation had ended when
// the call began. It is the confirmation of the next generation, or of another branch of the
// token's own generation.
func (s *session) killer(e *entry, c call) (holder, bool) {
	if h, ok := s.holders[e.ref.Generation+1]; ok && h.since < int(c) {
		return h, true
	}
	h, ok := s.holders[e.ref.Generation]
	return h, ok && h.since < int(c) && h.entry != e
}

// hold notes that a token is confirmed: by its acknowledgement, by its presentation, or as soon as
// it is issued if the client does not confirm.
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
	s.provedBy = ""
	s.changed = l.time
}

// contested reports whether another call overlaps this one, so that either of two results is right.
func (s *session) contested(c call) bool { return s.changed > int(c) || s.calls > 1 }

// isOver reports whether a verdict says that the session is over.
func isOver(v blacklist.Verdict) bool {
	return v == blacklist.SessionCompromised || v == blacklist.LoggedOut || v == blacklist.Revoked
}

// afterTheEnd checks a verdict if the session is over, or if the verdict says that it is. It
// returns true if there is nothing else to check.
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

// presented checks the store's answer to a presentation.
func (l *ledger) presented(c call, p blacklist.Presentation, v blacklist.Verdict) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.time++
	l.w.counts.Presentations++
	l.w.note("     %s presents %s for %.4s: verdict %d", p.Address, name(p.Token), p.SuccessorID, v)
	s, e := l.find(p.Token)
	if e == nil {
		return
	}
	by := l.sockets[p.Address]
	if l.hasKey(by, e, p); l.afterTheEnd(s, p.Token, c, v) {
		return
	}
	mark := p.SuccessorMark
	if p.SuccessorID == "" {
		mark = p.Token.Mark
	}
	if next := s.tokens[p.SuccessorID]; next == nil || s.holders[next.ref.Generation].entry != next { // otherwise the step is repeated
		if l.outdated(s, e, p.Token, mark, 0, c, v) {
			return
		}
	}
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
	// If the killer is the successor itself, the same step is repeated.
	if killer, dead := s.killer(e, c); dead && (next == nil || killer.entry != next) {
		l.w.violate("%s is accepted after %s was confirmed", name(p.Token), name(killer.ref))
	}
	repeated := next != nil && s.holders[next.ref.Generation].entry == next
	if !repeated {
		l.trade(s, e, c, p, thief)
	}
	if !repeated {
		l.prove(s, c, p)
	}
	l.hold(s, e)
	if p.StepUp.ID != "" && !repeated {
		s.provedBy = p.StepUp.ID
	}
	if p.SuccessorID != "" {
		if next == nil {
			next = &entry{parent: e, thief: thief, ref: p.Token}
			next.ref.TokenID, next.ref.Generation, next.ref.ExpiresAt = p.SuccessorID, e.ref.Generation+1, p.SuccessorExpiresAt
			next.ref.IssuedAt = time.Now() // or a moment before
			next.key = keyOf(e, p.Token)
			next.ref.Bound, next.ref.Bind = next.key != "", ""
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
	case s.anotherKey(e, p.Token):
		if v != reuse {
			l.w.violate("%s was traded with the key %q and comes with %q: verdict %d", name(p.Token), s.key, p.Token.Bind, v)
		}
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
	if s.parted = s.parted || thief && !s.spared(v); !l.excused(s) && !(thief && s.spared(v)) {
		l.w.violate("%s: its honest client is accused of reuse (verdict %d)", name(p.Token), v)
	}
}

// excused reports whether an honest client may be refused for good: because a thief has tokens of
// its own, because the session was ended, or because the client does not confirm and lost a reply.
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

// lockedOut checks that there is a reason if an honest client is refused for good.
func (l *ledger) lockedOut(t blacklist.TokenRef, code string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	s, e := l.find(t)
	switch {
	case e == nil:
	case code == "token_expired" && (!time.Now().Before(e.ref.ExpiresAt) || time.Since(s.authTime) >= l.w.sessionLifetime):
		l.w.counts.Expiries++
	case l.excused(s):
	case s.calls > 0:
		s.suspicion = fmt.Sprintf("an honest client is locked out: %s, %s", name(t), code)
	default:
		l.w.violate("an honest client is locked out: %s, %s", name(t), code)
	}
}

// confirmed checks the store's answer to a confirmation.
func (l *ledger) confirmed(c call, t blacklist.TokenRef, v blacklist.Verdict) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.time++
	l.w.note("     %s is acknowledged: verdict %d", name(t), v)
	s, e := l.find(t)
	if e == nil || l.afterTheEnd(s, t, c, v) {
		return
	}
	if l.outdated(s, e, t, t.Mark, math.MaxInt64, c, v) { // it may be confirmed again
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

// checked checks the store's answer to a Check of a token.
func (l *ledger) checked(c call, t blacklist.TokenRef, grace, branch time.Duration, v blacklist.Verdict) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.time++
	l.w.counts.Checks++
	s := l.sessions[t.SessionID]
	if s == nil {
		return
	}
	// A server may check whether the session has ended with a token that is not accepted as a
	// successor yet. If a revocation came before the code, the store knows neither the session
	// nor that token.
	e := s.tokens[t.TokenID]
	if e == nil && v == blacklist.Unknown || l.afterTheEnd(s, t, c, v) || e == nil || l.outdated(s, e, t, t.Mark, grace, c, v) {
		return
	}
	killer, dead := s.killer(e, c)
	_, held := s.holders[t.Generation]
	young := branch == 0 || time.Since(t.IssuedAt) <= branch
	inGrace := dead && killer.parent == e && time.Since(killer.at) < grace && t.Generation+1 == s.latest
	alive := !dead && (held || young || t.Generation < s.latest) && !s.anotherKey(e, t)
	switch {
	case s.contested(c), v == blacklist.Unknown && s.forgotten():
	case v == blacklist.Accepted && !alive && !inGrace:
		l.w.violate("%s passes a check, and is dead", name(t))
	case v != blacklist.Accepted && alive:
		l.w.violate("%s is alive, and does not pass a check: verdict %d", name(t), v)
	}
}

// alive returns the sessions that are not over and have reached at least that generation.
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

// userOf returns the user of a session.
func (l *ledger) userOf(sid string) string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.sessions[sid].userID
}

// heard checks that a socket that receives a broadcast is authenticated: a token that it was given
// is, or was, confirmed.
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
