// Package authn is the state of one connection's authentication: who its client is, which token it
// was offered, when it has to act, and what ends it. It is a state machine without I/O. Each method
// that changes the state is one event, and returns the effects that the caller must carry out. The
// package reads no clock, starts no timer or goroutine and takes no lock; the caller does that.
//
//	           Sent               Enter
//	Anonymous ------> Offered ------------> Authenticated
//	    |                |      Enter             |   Offer, Confirmed and Enter
//	    |----------------|---------------->       |   also come here, for each later
//	    |                |                        |   token, and leave the phase
//	    +----------------+------------------------+
//	                     |  Tick, Refuse, Evict, Close, Confirmed, SessionEnded
//	                     v
//	                  Closed
//
// While it is authenticated, a connection is held if its claims are out of date, from Outdate on,
// or changed by Offer or Enter: events wait, in and out, until Release.
//
// From Begin to Done a call to the token store is in flight. Until Done, no deadline passes before
// the call's own, and the end of the session is deferred if that very call may have caused it.
package authn

import (
	"bytes"
	"time"
)

// Phase is how far a connection has come. It only moves on.
type Phase uint8

// The phases.
const (
	Anonymous     Phase = iota // the client has proved nothing yet
	Offered                    // the client was sent its first token
	Authenticated              // events go in and out
	Closed
)

// The codes of refusals that the machine itself decides.
const (
	TimedOut      = "timeout"         // the client did not authenticate or confirm in time
	TokenExpired  = "token_expired"   // the token that the connection lives on has expired
	StoreTimedOut = "unavailable"     // the store did not answer in time
	BranchLost    = "no_longer_valid" // another branch of the offered generation was confirmed
)

// Outdated is the reason of a connection that was closed because its client did not fetch claims
// that are up to date in time.
const Outdated = "outdated"

// Token is a token that was verified or minted. It must not be changed after it was made.
type Token struct {
	Text string // the token as it is sent

	ID         string // claim "jti"
	SessionID  string // claim "sid"
	UserID     string // claim "sub"
	Use        string // claim "token_use"
	Generation uint64 // claim "gen"

	IssuedAt  time.Time // claim "iat"
	AuthTime  time.Time // claim "auth_time": when the user last proved who they are
	Began     time.Time // claim "began": when they did so for the login; AuthTime if there is no such claim
	Mark      int64     // claim "mark": of two tokens of a session, that with the higher one has the newer claims
	ExpiresAt time.Time // claim "exp"
	Duration  float64   // claim "dur"

	// Thumbprint is the claim "cnf": that of the key without whose proof the token is worth
	// nothing. It is empty if the token is bound to no key. With Binds, it is not a claim of the
	// token, which is a code, but the thumbprint of the key whose proof came with it, and to which
	// its successor is bound.
	Thumbprint string
	Binds      bool

	// Ahead is how far the clock of this process is ahead of the one that the times above are by.
	Ahead time.Duration

	// The remaining claims, as JSON. The app's own and "sub" are the members of one object, and so are
	// "acr" and "amr". What is missing is nil.
	App, Proof                  []byte
	Issuer, Audience, NotBefore []byte
}

// Expiry returns when the token expires by the clock of this process.
func (t *Token) Expiry() time.Time { return t.ExpiresAt.Add(t.Ahead) }

// Cause says why a session has ended. The empty Cause is none. Its values are the caller's, and
// become the reason for which connections of the session are closed.
type Cause string

// Effects are what the caller must do after an event, in the order of the fields.
type Effects struct {
	Closed      bool   // the connection has just been closed: nothing goes in or out any more
	Refuse      string // send the client this code and close the transport
	Unconfirmed bool   // Refuse is TimedOut, and it was the confirmation that did not come in time
	Silent      bool   // Refuse is TimedOut, and the client has presented no token
	Ended       Cause  // send the client that its session has ended and close the transport
	Rotated     bool   // send the client that its session has a newer token
	Refresh     bool   // send the client that its claims are out of date
	Reconnect   bool   // close the transport in such a way that the client reconnects
	Depart      bool   // tell the app, which has let the client in, that it has gone
}

// Machine is the state of one connection. New makes one. It is not safe for concurrent use.
type Machine struct {
	timeout time.Duration
	since   time.Time // when the time to authenticate began

	phase  Phase
	reason string // why it is Closed
	ended  Cause  // why the session ended, as far as is known

	token     *Token // the token that the connection lives on, or is about to
	offer     offer  // what the client was sent and has not confirmed
	candidate *Token // what the presentation in progress would give the client
	latest    uint64 // the newest generation of the session known to be confirmed

	mark      int64     // claims with a lower mark are out of date
	refreshBy time.Time // when the client must have newer claims; zero if those it has will do
	acted     *Token    // with the claims that the app acts by, once the client is in
	held      bool      // nothing goes in or out until the app has acted on newer claims

	call      call
	presented bool // the client has presented a token
	entered   bool // the phase is or was Authenticated
	admitted  bool // the app has let the client in
	gone      bool // the transport has ended
	departed  bool // the app was told that the client has gone
}

// offer is a token that was sent to a client that has yet to confirm that it has stored it.
type offer struct {
	token     *Token
	presented string // the ID of the token that was presented for it
	confirmBy time.Time
	confirmed bool // by a presentation on another connection of the client, which has stored it
}

// call is the call to the store that is in flight.
type call struct {
	inFlight bool
	about    Cause     // the end of the session that the call may cause
	answerBy time.Time // when to stop waiting for the answer
	ended    bool      // the session has ended, and that is deferred until Done
	lost     bool      // the offered branch was lost, and that is deferred until Done
}

// New returns the state of a connection whose client has timeout, from since on, to authenticate.
func New(since time.Time, timeout time.Duration) Machine {
	return Machine{since: since, timeout: timeout}
}

// Phase returns how far the connection has come.
func (m *Machine) Phase() Phase { return m.phase }

// Reason returns why the connection was closed, or "" while it is open.
func (m *Machine) Reason() string { return m.reason }

// Ended returns the first cause for which the session is known to have ended, or "".
func (m *Machine) Ended() Cause { return m.ended }

// Token returns the token that the connection lives on or, while the app is asked whether to let
// the client in, will live on. It returns nil if there is none.
func (m *Machine) Token() *Token { return m.token }

// Entered reports whether the client was authenticated at any time.
func (m *Machine) Entered() bool { return m.entered }

// Admitted reports whether the app need not be asked any more whether to let the client in.
func (m *Machine) Admitted() bool { return m.admitted || m.entered }

// Live reports whether events may go in and out: the client is authenticated and its token has not
// expired.
func (m *Machine) Live(now time.Time) bool {
	return m.phase == Authenticated && now.Before(m.token.Expiry())
}

// Held reports whether events have to wait, in and out: the claims are out of date, or the app has
// yet to act on newer ones.
func (m *Machine) Held() bool { return m.held }

// Current reports whether the client is in with claims that are up to date.
func (m *Machine) Current() bool { return m.phase == Authenticated && m.token.Mark >= m.mark }

// Mark returns below which mark claims are known to be out of date.
func (m *Machine) Mark() int64 { return m.mark }

// Acted returns the token with the claims that the app acts by, or nil if it has not seen any.
func (m *Machine) Acted() *Token { return m.acted }

// Own returns a token of the session that the connection belongs to: the one it lives on, or the
// one that was offered. It returns nil if the connection belongs to no session yet.
func (m *Machine) Own() *Token {
	if m.entered {
		return m.token
	}
	return m.offer.token
}

// Known returns any token of the session that the connection belongs to or is about to belong to,
// or nil.
func (m *Machine) Known() *Token {
	switch {
	case m.token != nil:
		return m.token
	case m.offer.token != nil:
		return m.offer.token
	}
	return m.candidate
}

// OfferedFor returns the token that the client was offered for the token with the given ID and has
// not confirmed. It returns nil if there is none, or if its claims are out of date.
func (m *Machine) OfferedFor(id string) *Token {
	if m.offer.presented != id || m.offer.token != nil && m.offer.token.Mark < m.mark {
		return nil
	}
	return m.offer.token
}

// Awaits reports whether the client has yet to confirm the token t.
func (m *Machine) Awaits(t *Token) bool { return m.offer.token == t }

// Present records that the client has presented a token.
func (m *Machine) Present() { m.presented = true }

// Propose records the token that the presentation in progress would give the client.
func (m *Machine) Propose(next *Token) { m.candidate = next }

// Identify gives the connection the identity under which the app is asked whether to let it in.
func (m *Machine) Identify(t *Token) { m.token = t }

// Admit records that the app has let the client in.
func (m *Machine) Admit() Effects {
	m.admitted, m.acted = true, m.token
	return m.depart()
}

// Begin records that a call to the store is in flight, which may cause the session to end with the
// given cause. It reports whether the call may be made: a connection that was closed makes none
// that could let its client in, and one whose deadline has passed is closed. A second call before
// Done takes the place of the first, and what was deferred stays so.
func (m *Machine) Begin(now time.Time, about Cause) (e Effects, ok bool) {
	if !m.call.inFlight { // else whoever calls again and again is never late
		e = m.Tick(now)
	}
	m.call.inFlight, m.call.about, m.call.answerBy = true, about, now.Add(2*m.timeout)
	return e, m.phase != Closed
}

// Done records that the call of Begin has returned and that what followed from it was done. It also
// ends what Propose began. It may be called without Begin.
func (m *Machine) Done() Effects {
	c := m.call
	m.call, m.candidate = call{}, nil
	switch {
	case c.ended:
		return m.SessionEnded(m.ended)
	case c.lost:
		return m.closeWith(BranchLost)
	}
	return Effects{}
}

// Sent records that the client was sent its first token.
func (m *Machine) Sent() { m.phase = max(m.phase, Offered) }

// Offer records that next, which the store has accepted as a successor of presented, is about to be
// sent to a client that confirms. It reports whether to send it; it is false if the connection has
// been or is about to be closed.
func (m *Machine) Offer(now time.Time, presented, next *Token) bool {
	if m.ending() {
		return false
	}
	confirmBy := m.offer.confirmBy
	if m.offer.token == nil || m.offer.token.ID == presented.ID {
		confirmBy = now.Add(m.timeout) // otherwise the client's time is running already
	}
	if m.entered {
		m.token = presented
		m.compare()
	}
	confirmed := m.offer.confirmed && m.offer.token.ID == next.ID
	m.offer = offer{token: next, presented: presented.ID, confirmBy: confirmBy, confirmed: confirmed}
	m.refresh(now) // the client need not be told: it is about to be sent its next token
	return true
}

// Settle records that the client need not confirm any more.
func (m *Machine) Settle() { m.offer = offer{} }

// Enter lets the client in, or lets it stay, with a token that holds its generation. first reports
// whether the client was not in before. ok is false if the connection has been or is about to be
// closed.
func (m *Machine) Enter(now time.Time, next *Token) (e Effects, first, ok bool) {
	if m.ending() {
		return Effects{}, false, false
	}
	first = m.phase < Authenticated
	m.phase, m.entered, m.token = Authenticated, true, next
	m.Settle()
	if next.Mark >= m.mark {
		m.mark = next.Mark
		m.refreshBy = time.Time{}
	}
	m.compare()
	return m.refresh(now), first, true
}

// compare holds events if the claims are others than those that the app acts by.
func (m *Machine) compare() {
	switch {
	case m.acted == nil: // the app was asked about these
	case !bytes.Equal(m.acted.App, m.token.App):
		m.held = true
		return
	case m.held: // until Release
		return
	}
	m.acted = m.token
}

// Outdate records that claims with a lower mark are out of date. If the client is in with such
// claims, events are held until it has been let in with newer ones and Release is called.
func (m *Machine) Outdate(mark int64, now time.Time) Effects {
	if mark <= m.mark { // the client has been told, or will be when it enters
		return Effects{}
	}
	m.mark = mark
	return m.refresh(now)
}

// refresh asks the client for newer claims, if it is in with claims that are out of date.
func (m *Machine) refresh(now time.Time) Effects {
	if m.phase != Authenticated || m.Current() {
		return Effects{}
	}
	m.held = true
	if m.refreshBy.IsZero() { // otherwise the client's time is running already
		m.refreshBy = now.Add(m.timeout)
	}
	return Effects{Refresh: true}
}

// Act records that the app has acted on the claims of t, which the connection has or had. They may
// be out of date already.
func (m *Machine) Act(t *Token) { m.acted = t }

// Release records that the app has acted on the claims that the connection has now. It reports
// whether events go in and out again: they do not if these claims are out of date.
func (m *Machine) Release() bool {
	if !m.Current() {
		return false
	}
	m.held, m.acted = false, m.token
	return true
}

// Behind reports whether the session is known to have a newer confirmed token than the one that the
// connection lives on.
func (m *Machine) Behind() bool {
	return m.phase == Authenticated && m.latest > m.token.Generation
}

// ending reports whether nothing can let the client in any more.
func (m *Machine) ending() bool { return m.phase == Closed || m.ended != "" }

// Refuse records that the client is refused with a code. It reports whether the connection stays
// open: an authenticated one does, unless the refusal is final.
func (m *Machine) Refuse(code string, final bool) (e Effects, stays bool) {
	if m.phase == Authenticated && !final {
		return Effects{}, true
	}
	return m.Close(code), false
}

// Confirmed records that the token with the given ID, of this session and generation, was
// confirmed on whichever connection.
func (m *Machine) Confirmed(id string, generation uint64) Effects {
	m.latest = max(m.latest, generation)
	c, o := m.candidate, m.offer.token
	m.offer.confirmed = m.offer.confirmed || o != nil && o.ID == id
	switch {
	case c != nil && (c.ID == id || c.Generation > generation): // by this connection itself
	case m.phase == Authenticated:
		return Effects{Rotated: m.token.Generation < generation && (o == nil || o.ID != id)}
	case o != nil && !m.offer.confirmed && o.Generation <= generation:
		if m.call.inFlight { // its answer says more
			m.call.lost = true
			return Effects{}
		}
		return m.closeWith(BranchLost)
	}
	return Effects{}
}

// SessionEnded records that the session has ended. If the call in flight may have caused that, it
// takes effect at Done: the client hears of it from the call's own result first.
func (m *Machine) SessionEnded(why Cause) Effects {
	if m.ended == "" {
		m.ended = why
	}
	if m.call.inFlight && m.call.about == why {
		m.call.ended = true
		return Effects{}
	}
	e := m.Close(string(why))
	if e.Closed {
		e.Ended = why
	}
	return e
}

// Evict closes a connection to make room for another one. It reports whether the connection is
// closed: it is not if its client is in or the store is deciding on it.
func (m *Machine) Evict(reason string) (e Effects, ok bool) {
	if m.phase < Authenticated && !m.call.inFlight {
		return m.Close(reason), true
	}
	return Effects{}, m.phase == Closed
}

// Close closes the connection. The first reason stays.
func (m *Machine) Close(reason string) Effects {
	if m.phase == Closed {
		return Effects{}
	}
	m.phase, m.reason = Closed, reason
	return Effects{Closed: true}
}

func (m *Machine) closeWith(code string) Effects {
	e := m.Close(code)
	if e.Closed {
		e.Refuse = code
	}
	return e
}

// Gone records that the transport has ended, after Close.
func (m *Machine) Gone() Effects {
	m.gone = true
	return m.depart()
}

func (m *Machine) depart() Effects {
	depart := m.gone && m.Admitted() && !m.departed
	m.departed = m.departed || depart
	return Effects{Depart: depart}
}

// Tick records that the time is now, and closes the connection if its deadline has passed.
func (m *Machine) Tick(now time.Time) Effects {
	at, code := m.due()
	if code == "" || now.Before(at) {
		return Effects{}
	}
	if code == Outdated {
		e := m.Close(code)
		e.Reconnect = e.Closed
		return e
	}
	e := m.closeWith(code)
	e.Unconfirmed = code == TimedOut && m.offer.token != nil
	e.Silent = code == TimedOut && !m.presented
	return e
}

// Deadline returns when Tick must be called next. It is the zero time if there is no deadline.
func (m *Machine) Deadline() time.Time {
	at, _ := m.due()
	return at
}

// due returns when the client must have acted and the code of its refusal if it has not, which is
// "" if nothing is due.
func (m *Machine) due() (at time.Time, code string) {
	in := m.phase == Authenticated
	switch {
	case m.phase == Closed:
		return time.Time{}, ""
	case m.call.inFlight && !in: // the client was in time
		return m.call.answerBy, StoreTimedOut
	case !in && m.offer.token == nil:
		return m.since.Add(m.timeout), TimedOut
	case !in:
		return m.offer.confirmBy, TimedOut
	}
	at, code = m.token.Expiry(), TokenExpired
	if m.offer.token != nil && m.offer.confirmBy.Before(at) {
		at, code = m.offer.confirmBy, TimedOut
	}
	if !m.refreshBy.IsZero() && m.refreshBy.Before(at) {
		at, code = m.refreshBy, Outdated
	}
	if m.call.inFlight && m.call.answerBy.After(at) { // the client was in time, whatever is due
		at, code = m.call.answerBy, StoreTimedOut
	}
	return at, code
}
