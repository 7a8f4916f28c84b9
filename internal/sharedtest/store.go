package sharedtest

import (
	"context"
	"errors"
	"math"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"github.com/z-open/socketauth/blacklist"
)

// Fault is what is wrong with a store.
type Fault int

// The faults.
const (
	None              Fault = iota
	BlindWrite              // it writes what it has decided, whatever was written meanwhile
	RefusesKept             // it refuses by what it has read earlier
	ChecksKept              // Check accepts by what was read earlier
	IgnoresCutoff           // a session begins although its user was revoked after the login
	IgnoresEpoch            // a revocation of all is not noticed where a session is written
	SetsNoCutoff            // revoking a user ends only the sessions that are known
	CountsNoEnds            // whoever has missed the end of a session does not notice
	ShiftsTwice             // times by the store's clock are converted as if they were the caller's
	BatchKept               // CheckAll answers by what was read earlier
	NoGapFirst              // Watch does not begin with a Gap
	NoKeepalive             // Watch does not say that nothing was missed
	AlwaysSure              // Watch says that nothing was missed before it knows
	NoClock                 // Time returns the time of the process
	StarvesRevoke           // revoking waits until nobody else writes
	DecidesInTwo            // a session may begin between a decision and its write
	TakesTimes              // the caller's times are taken for the store's
	IgnoresMark             // claims that are out of date are accepted
	AcceptsOldStepUps       // a step-up code is accepted whenever it comes
	TellsTimes              // Sessions tells times by the store's clock
	IgnoresKey              // a code that was bound is accepted with any key

	Last = IgnoresKey
)

// Poll is how often a store makes sure that it has heard every change.
const Poll = 250 * time.Millisecond

// precision is how well a store knows the difference of the clocks.
const precision = time.Millisecond

// Store is the store of one process. Its methods are safe for concurrent use.
type Store struct {
	DB    *DB
	Fault Fault
	Hints bool // what is heard is not verified

	// Ahead is how far the clock of the process is ahead of that of the test.
	Ahead time.Duration

	Down atomic.Bool // every call but Watch fails
	Mute atomic.Bool // Watch hears nothing
	Lost atomic.Bool // the replies of Present, Confirm and Revoke are lost

	mu   sync.Mutex
	kept map[string]row
}

var (
	_ blacklist.Store        = (*Store)(nil)
	_ blacklist.Clock        = (*Store)(nil)
	_ blacklist.BatchChecker = (*Store)(nil)
)

// Open returns the store of a process whose clock is that far ahead of that of the test.
func (db *DB) Open(ahead time.Duration) *Store {
	return &Store{DB: db, Ahead: ahead, kept: make(map[string]row)}
}

var (
	errDown = errors.New("sharedtest: the store is down")
	errLost = errors.New("sharedtest: the reply is lost")
)

// begin returns an error if a call cannot be made.
func (s *Store) begin(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if s.Down.Load() {
		return errDown
	}
	return nil
}

// end returns an error if the reply is lost.
func (s *Store) end() error {
	if s.Lost.Load() {
		return errLost
	}
	return nil
}

// Now returns the time by the clock of the process.
func (s *Store) Now() time.Time { return time.Now().Add(s.Ahead) }

// byDB returns a time of the process by the clock of the database, or the zero time.
func (s *Store) byDB(t time.Time) time.Time {
	if t.IsZero() {
		return t
	}
	return t.Add(s.DB.Offset - s.Ahead).Round(0)
}

// Time implements blacklist.Clock.
func (s *Store) Time(ctx context.Context, _ string, t time.Time) (time.Time, error) {
	if err := s.begin(ctx); err != nil {
		return time.Time{}, err
	}
	if s.Fault == NoClock {
		return t, nil
	}
	return s.byDB(t).Add(-precision), nil
}

// Present implements blacklist.Store.
func (s *Store) Present(ctx context.Context, p blacklist.Presentation) (blacklist.Result, error) {
	if s.Fault != TakesTimes {
		p.PresentedAt, p.SocketOpenedAt = s.byDB(p.PresentedAt), s.byDB(p.SocketOpenedAt)
	}
	p.Token = s.shifted(p.Token)
	switch {
	case s.Fault == IgnoresMark:
		p.Token.Mark, p.SuccessorMark = math.MaxInt64, math.MaxInt64
	case s.Fault == AcceptsOldStepUps && p.StepUp.ID != "":
		p.StepUp.At = s.byDB(s.Now())
	}
	return s.step(ctx, p.Token, func(state *blacklist.State, now time.Time) (blacklist.Result, blacklist.Change) {
		return state.Present(p, now)
	})
}

// Confirm implements blacklist.Store.
func (s *Store) Confirm(ctx context.Context, t blacklist.TokenRef) (blacklist.Result, error) {
	t = s.shifted(t)
	return s.step(ctx, t, func(state *blacklist.State, now time.Time) (blacklist.Result, blacklist.Change) {
		return state.Confirm(t, now)
	})
}

func (s *Store) shifted(t blacklist.TokenRef) blacklist.TokenRef {
	switch {
	case s.Fault == ShiftsTwice:
		t.IssuedAt, t.AuthTime = s.byDB(t.IssuedAt), s.byDB(t.AuthTime)
	case s.Fault == IgnoresKey && t.Bind != "":
		t.Bind = "a key"
	}
	return t
}

type decision func(*blacklist.State, time.Time) (blacklist.Result, blacklist.Change)

// step decides on a token by what is kept of its session, and stores the decision. If the session
// is not as it was kept, or the token is refused, it decides again by what is stored.
func (s *Store) step(ctx context.Context, t blacklist.TokenRef, decide decision) (blacklist.Result, error) {
	if err := s.begin(ctx); err != nil {
		return blacklist.Result{}, err
	}
	if len(t.SessionID) != 22 {
		return blacklist.Result{Verdict: blacklist.Unknown}, nil
	}
	s.mu.Lock()
	was, known := s.kept[t.SessionID]
	s.mu.Unlock()
	for fresh := !known; ; fresh = true {
		if fresh {
			was, known = s.read(t.SessionID)
		}
		w := write{sid: t.SessionID, token: t, was: was, known: known, state: was.state, at: s.DB.now()}
		var result blacklist.Result
		result, w.change = s.decide(&w.state, known, t, w.at, decide)
		changes := result.Verdict == blacklist.Accepted || result.Verdict == blacklist.ReuseDetected
		switch {
		case !changes && !fresh && s.Fault != RefusesKept:
			continue
		case !changes:
			return result, s.end()
		}
		if s.Fault == DecidesInTwo {
			runtime.Gosched() // so that it happens on a busy machine too
		}
		ok, refused := s.DB.swap(w, s.Fault)
		switch {
		case refused != 0:
			return blacklist.Result{Verdict: refused}, s.end()
		case ok:
			s.read(t.SessionID)
			return result, s.end()
		}
	}
}

// decide decides on a token by a state.
func (s *Store) decide(state *blacklist.State, known bool, t blacklist.TokenRef, now time.Time, decide decision) (blacklist.Result, blacklist.Change) {
	if known {
		if v := state.Refuses(t); v != 0 {
			return blacklist.Result{Verdict: v}, blacklist.Change{}
		}
		return decide(state, now)
	}
	mark, refused := s.DB.begin(t, s.Fault)
	if refused != 0 {
		return blacklist.Result{Verdict: refused}, blacklist.Change{}
	}
	state.Raise(mark, now)
	return decide(state, now)
}

// read reads what is stored of a session, and keeps it.
func (s *Store) read(sid string) (r row, known bool) {
	r, known = s.DB.read(sid)
	s.mu.Lock()
	defer s.mu.Unlock()
	if known {
		s.kept[sid] = r
	}
	return r, known
}

// Check implements blacklist.Store.
func (s *Store) Check(ctx context.Context, t blacklist.TokenRef, grace, branch time.Duration) (blacklist.Result, error) {
	if err := s.begin(ctx); err != nil {
		return blacklist.Result{}, err
	}
	return s.check(s.shifted(t), grace, branch, s.Fault == ChecksKept), nil
}

func (s *Store) check(t blacklist.TokenRef, grace, branch time.Duration, byKept bool) blacklist.Result {
	if len(t.SessionID) != 22 {
		return blacklist.Result{Verdict: blacklist.Unknown}
	}
	s.mu.Lock()
	r, known := s.kept[t.SessionID]
	s.mu.Unlock()
	if !known || !byKept {
		r, known = s.read(t.SessionID)
	}
	result, _ := s.decide(&r.state, known, t, s.DB.now(), func(state *blacklist.State, now time.Time) (blacklist.Result, blacklist.Change) {
		return state.Check(t, grace, branch, now), blacklist.Change{}
	})
	return result
}

// CheckAll implements blacklist.BatchChecker.
func (s *Store) CheckAll(ctx context.Context, tokens []blacklist.TokenRef) ([]blacklist.Result, error) {
	if err := s.begin(ctx); err != nil {
		return nil, err
	}
	results := make([]blacklist.Result, len(tokens))
	for n, t := range tokens {
		results[n] = s.check(s.shifted(t), 0, 0, s.Fault == BatchKept)
	}
	return results, nil
}

// Revoke implements blacklist.Store.
func (s *Store) Revoke(ctx context.Context, r blacklist.Revocation) (blacklist.Change, error) {
	if err := r.Check(); err != nil {
		return blacklist.Change{}, err
	}
	if err := s.begin(ctx); err != nil {
		return blacklist.Change{}, err
	}
	if s.Fault == StarvesRevoke {
		if err := s.DB.waitForRest(ctx); err != nil {
			return blacklist.Change{}, err
		}
	}
	return s.DB.revoke(r, s.Fault), s.end()
}

// Sessions implements blacklist.Store.
func (s *Store) Sessions(ctx context.Context, userID string) ([]blacklist.Session, error) {
	if err := s.begin(ctx); err != nil {
		return nil, err
	}
	now := s.DB.now()
	var living []blacklist.Session
	for sid, state := range s.DB.sessions(userID) {
		if session, lives := state.Session(sid, now); lives {
			for _, t := range [...]*time.Time{&session.Since, &session.LastSeen, &session.ExpiresAt} {
				if s.Fault != TellsTimes {
					*t = t.Add(s.Ahead - s.DB.Offset)
				}
			}
			living = append(living, session)
		}
	}
	return living, nil
}

// subscription is one call of Watch. The database guards it.
type subscription struct {
	store *Store
	queue []message
	news  chan struct{}
}

// message is a change on its way to a watcher.
type message struct {
	change  blacklist.Change
	counted bool
}

// take returns what has come, and how many changes there were in all.
func (sub *subscription) take() (messages []message, count int) {
	db := sub.store.DB
	db.mu.Lock()
	defer db.mu.Unlock()
	messages, sub.queue = sub.queue, nil
	return messages, db.count
}

// Watch implements blacklist.Store.
func (s *Store) Watch(ctx context.Context, fn func(blacklist.Change)) error {
	sub := &subscription{store: s, news: make(chan struct{}, 1)}
	s.DB.mu.Lock()
	s.DB.subs[sub] = struct{}{}
	known := s.DB.count
	s.DB.mu.Unlock()
	defer func() {
		s.DB.mu.Lock()
		delete(s.DB.subs, sub)
		s.DB.mu.Unlock()
	}()
	poll := time.NewTicker(Poll)
	defer poll.Stop()
	sure, behind := s.Fault == NoGapFirst, 0
	for {
		polled := false
		select {
		case <-ctx.Done():
			return nil
		default:
		}
		switch {
		case s.Mute.Load():
			sure = false
		case !sure:
			_, known = sub.take() // older than what the Gap has its receiver look up
			sure, behind = true, 0
			fn(blacklist.Change{Gap: true})
		}
		select {
		case <-ctx.Done():
			return nil
		case <-sub.news:
		case <-poll.C:
			polled = true
		}
		if s.Mute.Load() || !sure {
			continue
		}
		messages, count := sub.take()
		for _, m := range messages {
			if m.counted {
				known++
			}
			m.change.Hint, m.change.Sessions = s.Hints, 0
			fn(m.change)
		}
		switch {
		case !polled:
		case known == count || s.Fault == AlwaysSure:
			behind = 0
			if s.Fault != NoKeepalive {
				fn(blacklist.Change{})
			}
		default:
			behind++
			sure = behind < 2
		}
	}
}
