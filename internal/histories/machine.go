package histories

import (
	"context"
	"time"

	"github.com/z-open/socketauth/blacklist"
)

// Mutation is a fault that a Machine can be given. The histories must find each of them.
type Mutation int

// The mutations.
const (
	None              Mutation = iota
	DropPredecessorID          // it is forgotten which token held the generation before the latest
	SkipRevoked                // it is not checked whether the session is over
	ConfirmAtMint              // a confirming client's successor holds its generation at once
	AcceptLostBranch           // every branch of the latest generation is accepted
	DecideThenWrite            // the decision and the write are two separate steps
	AcceptAnyKey               // a code that was bound by its trade is accepted with any key
	BindOnce                   // it is not accepted again at all
	ForgiveOtherKey            // with another key it is late if it comes soon

	// The faults of the simulated server.
	RequireNoProof // a token that is bound is accepted without a proof
	AcceptAnyProof // a token that is bound is accepted with the proof of any key
	AcceptOldProof // a proof is accepted that was made for another connection
	BindLater      // a session that began without a key is bound by a later proof
	AskBeforeProof // the store is asked before the proof is
)

// Mutations returns all mutations but None.
func Mutations() []Mutation {
	return []Mutation{DropPredecessorID, SkipRevoked, ConfirmAtMint, AcceptLostBranch, DecideThenWrite,
		AcceptAnyKey, BindOnce, ForgiveOtherKey, RequireNoProof, AcceptAnyProof, AcceptOldProof, BindLater, AskBeforeProof}
}

func (m Mutation) String() string {
	return [...]string{"none", "drop the jti of n-1", "skip the revoked check", "confirm at mint", "accept a lost branch", "decide and write in two steps",
		"accept a code with any key", "bind a code once", "forgive another key", "require no proof", "accept any proof",
		"accept a proof of another connection", "bind a session later", "ask the store before the proof"}[m]
}

// Machine is the reference implementation of section 5. It is as simple as possible, and keeps all
// of a session's past instead of a state of constant size. It must be used by one goroutine only.
type Machine struct {
	mutation Mutation
	sessions map[string]*life
	users    map[string]time.Time // when each was revoked
	all      time.Time
}

// life is the state of one session.
type life struct {
	userID    string
	latest    uint64               // the latest generation, n in section 5
	holders   map[uint64]string    // the id of the token that holds each generation
	heldSince map[uint64]time.Time // since when it does
	why       blacklist.Verdict    // why the session is over, 0 if it is not
	lastExp   time.Time
	since     time.Time
	bound     bool
	key       string // to which the code was bound by its trade
}

// NewMachine returns a reference with one fault, or none.
func NewMachine(m Mutation) *Machine {
	return &Machine{mutation: m, sessions: make(map[string]*life), users: make(map[string]time.Time)}
}

func (m *Machine) life(sid string) *life {
	if m.sessions[sid] == nil {
		m.sessions[sid] = &life{holders: make(map[uint64]string), heldSince: make(map[uint64]time.Time)}
	}
	return m.sessions[sid]
}

// over is clause 1: the session or the user was revoked.
func (m *Machine) over(l *life, t blacklist.TokenRef) blacklist.Verdict {
	switch {
	case m.mutation == SkipRevoked:
		return 0
	case l.latest > 0 && (t.UserID != l.userID || t.Generation > 0 && t.Bound != l.bound):
		return blacklist.Unknown
	case l.why != 0:
		return l.why
	case l.latest == 0 && !t.AuthTime.After(m.users[t.UserID]), !t.AuthTime.After(m.all):
		return blacklist.Revoked
	}
	return 0
}

// current is clause 2: the token is of the latest generation, and it holds that, or no token does.
func (m *Machine) current(l *life, t blacklist.TokenRef) bool {
	holder, held := l.holders[l.latest]
	return t.Generation == l.latest && (!held || holder == t.TokenID || m.mutation == AcceptLostBranch)
}

// predecessor is clause 3: the token holds the generation before the latest, and no token holds the
// latest.
func (m *Machine) predecessor(l *life, t blacklist.TokenRef) bool {
	_, held := l.holders[l.latest]
	return t.Generation+1 == l.latest && !held && !m.otherKey(l, t) &&
		(l.holders[t.Generation] == t.TokenID || m.mutation == DropPredecessorID)
}

// otherKey reports whether a code comes with another key than when it was traded first, and no
// token holds the first generation yet.
func (m *Machine) otherKey(l *life, t blacklist.TokenRef) bool {
	_, held := l.holders[1]
	if t.Generation > 0 || l.latest != 1 || held || l.holders[0] != t.TokenID || m.mutation == AcceptAnyKey {
		return false
	}
	return m.mutation == BindOnce && l.key != "" || keyWith(t) != l.key
}

// keyWith returns the key that a code which names none comes with.
func keyWith(t blacklist.TokenRef) string {
	if t.Generation == 0 && !t.Bound {
		return t.Bind
	}
	return ""
}

// replacedAt returns when a token was replaced: when a token took the next generation or, for a
// token of the latest generation, when another branch took that.
func (l *life) replacedAt(t blacklist.TokenRef) time.Time {
	if at, ok := l.heldSince[t.Generation+1]; ok {
		return at
	}
	return l.heldSince[t.Generation]
}

func (l *life) hold(generation uint64, id string, now time.Time) {
	if l.holders[generation] != id {
		l.holders[generation], l.heldSince[generation] = id, now
	}
}

// Present implements blacklist.Store.
func (m *Machine) Present(_ context.Context, p blacklist.Presentation) (blacklist.Result, error) {
	verdict, write := m.decide(p)
	write()
	return blacklist.Result{Verdict: verdict}, nil
}

// decide returns the two halves of Present: the verdict, and the function that writes it.
func (m *Machine) decide(p blacklist.Presentation) (verdict blacklist.Verdict, write func()) {
	l, t, now := m.life(p.Token.SessionID), p.Token, time.Now()
	nothing := func() {}
	// succeed adds the successor, which holds its generation at once if the client does not
	// confirm.
	succeed := func() {
		if p.SuccessorID == "" {
			return
		}
		l.latest = max(l.latest, t.Generation+1)
		if !p.Confirming || m.mutation == ConfirmAtMint {
			l.hold(t.Generation+1, p.SuccessorID, now)
		}
		if p.SuccessorExpiresAt.After(l.lastExp) {
			l.lastExp = p.SuccessorExpiresAt
		}
	}
	begun := l.latest > 0 || l.why != 0
	switch over := m.over(l, t); {
	case over != 0:
		return over, nothing
	case t.Generation > 0 && !begun, t.Generation > l.latest, t.Generation == 0 && p.SuccessorID == "":
		return blacklist.Unknown, nothing
	case m.current(l, t):
		return blacklist.Accepted, func() {
			if t.Generation == 0 && !begun {
				l.userID, l.since = t.UserID, t.AuthTime
				l.bound, l.key = t.Bound || t.Bind != "", keyWith(t)
				l.lastExp = t.ExpiresAt
			}
			l.hold(t.Generation, t.TokenID, now)
			succeed()
		}
	case m.predecessor(l, t):
		return blacklist.Accepted, succeed
	case p.SuccessorID != "" && t.Generation+1 == l.latest && l.holders[t.Generation] == t.TokenID && l.holders[l.latest] == p.SuccessorID:
		return blacklist.Accepted, nothing // the same step is repeated
	}
	at := l.replacedAt(t)
	switch {
	case !(m.otherKey(l, t) && m.mutation != ForgiveOtherKey) && !p.SocketOpenedAt.After(at) && p.PresentedAt.Sub(at) <= p.SupersededWithin && t.Generation+10 >= l.latest:
		return blacklist.Superseded, nothing
	case p.EndOnReuse:
		return blacklist.ReuseDetected, func() { l.why = blacklist.SessionCompromised }
	}
	return blacklist.Replaced, nothing
}

// Confirm implements blacklist.Store.
func (m *Machine) Confirm(_ context.Context, t blacklist.TokenRef) (blacklist.Result, error) {
	l := m.life(t.SessionID)
	over := m.over(l, t)
	holder, held := l.holders[t.Generation]
	switch {
	case t.Generation == 0:
		return blacklist.Result{Verdict: blacklist.Unknown}, nil
	case over != 0:
		return blacklist.Result{Verdict: over}, nil
	case t.Generation > l.latest:
		return blacklist.Result{Verdict: blacklist.Unknown}, nil
	case t.Generation == l.latest && !held:
		l.hold(t.Generation, t.TokenID, time.Now())
		return blacklist.Result{Verdict: blacklist.Accepted}, nil
	case holder == t.TokenID && t.Generation+1 >= l.latest:
		return blacklist.Result{Verdict: blacklist.Accepted}, nil
	case t.Generation == l.latest:
		return blacklist.Result{Verdict: blacklist.Superseded}, nil
	}
	return blacklist.Result{Verdict: blacklist.Replaced}, nil
}

// Check implements blacklist.Store.
func (m *Machine) Check(_ context.Context, t blacklist.TokenRef, grace, branch time.Duration) (blacklist.Result, error) {
	l, now := m.life(t.SessionID), time.Now()
	holder, held := l.holders[t.Generation]
	next, nextHeld := l.heldSince[t.Generation+1]
	switch over := m.over(l, t); {
	case over != 0:
		return blacklist.Result{Verdict: over}, nil
	case t.Generation > l.latest:
		return blacklist.Result{Verdict: blacklist.Unknown}, nil
	case t.Generation == l.latest && !held && (branch == 0 || now.Sub(t.IssuedAt) <= branch):
		return blacklist.Result{Verdict: blacklist.Accepted, Unconfirmed: true}, nil
	case t.Generation == l.latest && held && holder == t.TokenID,
		t.Generation == l.latest && m.mutation == AcceptLostBranch,
		m.predecessor(l, t),
		t.Generation+1 == l.latest && holder == t.TokenID && nextHeld && now.Sub(next) < grace:
		return blacklist.Result{Verdict: blacklist.Accepted}, nil
	}
	return blacklist.Result{Verdict: blacklist.Replaced}, nil
}

// Revoke implements blacklist.Store.
func (m *Machine) Revoke(_ context.Context, r blacklist.Revocation) (blacklist.Change, error) {
	now := time.Now()
	change := blacklist.Change{SessionID: r.SessionID, UserID: r.UserID, Except: r.Except, All: r.All, Verdict: r.Why, At: now}
	switch {
	case r.SessionID != "":
		if l := m.life(r.SessionID); l.latest > 0 && l.userID != r.UserID {
			return blacklist.Change{}, nil
		}
	case r.UserID != "":
		m.users[r.UserID] = now
	default:
		m.all = now
	}
	for sid, l := range m.sessions {
		begun := l.latest > 0
		if l.why != 0 || sid != r.SessionID && !(begun && concerns(r, sid, l.userID)) {
			continue
		}
		if l.lives(now) {
			change.Sessions++
		}
		l.why = r.Why
	}
	return change, nil
}

// concerns reports whether a revocation is about a session of a user.
func concerns(r blacklist.Revocation, sid, userID string) bool {
	switch {
	case r.All:
		return true
	case r.SessionID != "":
		return sid == r.SessionID && userID == r.UserID
	}
	return userID == r.UserID && sid != r.Except
}

func (l *life) lives(now time.Time) bool {
	return l.latest > 0 && l.why == 0 && now.Before(l.lastExp.Add(time.Second-1).Truncate(time.Second))
}

// Sessions implements blacklist.Store.
func (m *Machine) Sessions(_ context.Context, userID string) (living []blacklist.Session, _ error) {
	for sid, l := range m.sessions {
		if l.userID == userID && l.lives(time.Now()) {
			living = append(living, blacklist.Session{ID: sid, UserID: userID, Since: l.since, Bound: l.bound})
		}
	}
	return living, nil
}

// Watch implements blacklist.Store. The histories have one process, so there is nothing to report.
func (m *Machine) Watch(ctx context.Context, _ func(blacklist.Change)) error {
	<-ctx.Done()
	return nil
}
