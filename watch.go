package socketauth

import (
	"cmp"
	"context"
	"errors"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/z-open/socketauth/blacklist"
	"github.com/z-open/socketauth/internal/authn"
	"github.com/z-open/socketauth/internal/id"
	"github.com/z-open/socketauth/internal/recheck"
)

// This file holds how a server hears of what other processes change in the store.

// watcher watches the store for the sockets of one server.
type watcher struct {
	auth     *Auth
	ctx      context.Context // ends with Shutdown
	work     *sync.WaitGroup // counts its goroutines
	sockets  followers
	rechecks *recheck.Queue // sessions that may have ended elsewhere
	hints    hints          // tokens that may have been confirmed elsewhere
	all      allHints       // that all sessions may have ended elsewhere
	isStale  atomic.Bool    // the sockets were disconnected because the store was not heard
	noClock  sync.Once      // logs that the store should have a clock

	size, parallel int // how many sessions one call of checkSessions is for, and how many calls run at once
}

// followers are the sockets of a server.
type followers interface {
	// applyChange does what follows from a change of the store.
	applyChange(c blacklist.Change)
	// allSessions returns the sessions of all sockets, as often as there are sockets of each.
	allSessions() []string
	// tokenOf returns any token of a session that a socket belongs to or is about to belong to, or nil
	// if there is no such socket.
	tokenOf(sessionID string) *token
	// endSession closes the sockets of a session that has ended.
	endSession(sessionID string, why authn.Cause)
	// outdateSession has the claims of a session's sockets brought up to date, if their mark is lower.
	outdateSession(sessionID string, mark int64)
	// reconnectAll disconnects all sockets that have presented a token, in a way after which clients
	// reconnect by themselves. It returns how many.
	reconnectAll() int
}

// How many sessions the store is asked about at once: by one call of CheckAll, or by one goroutine
// that calls Check for each; and how many of these there are.
const (
	parallelBatches = 4
	parallelChecks  = 32
	checksInTurn    = 32
)

func newWatcher(ctx context.Context, a *Auth, work *sync.WaitGroup, sockets followers) *watcher {
	w := &watcher{auth: a, ctx: ctx, work: work, sockets: sockets, size: checksInTurn, parallel: parallelChecks}
	if a.batch != nil {
		w.size, w.parallel = blacklist.MaxBatch, parallelBatches
	}
	w.rechecks = recheck.New(time.Now(), w.size, w.parallel, w.checkSessions)
	if a.tokens.storeTime != nil {
		w.rechecks.Shared()
	}
	return w
}

// start begins to watch, until Shutdown.
func (w *watcher) start() {
	w.work.Go(w.watch)
	if w.auth.cluster.maxStale > 0 {
		w.work.Go(func() {
			for sleep(w.ctx, minMaxStale/6) == nil {
				w.checkSilence()
			}
		})
	}
	if w.auth.tokens.storeTime != nil {
		w.work.Go(w.reportSilence)
	}
}

// watch applies the changes that the store reports, also those of other processes.
func (w *watcher) watch() {
	for pause := firstPause; w.ctx.Err() == nil; pause = min(2*pause, time.Minute) {
		began := time.Now()
		err := w.auth.contain("Blacklist", func() error { return w.auth.blacklist.Watch(w.ctx, w.hear) })
		if w.ctx.Err() != nil {
			return
		}
		w.auth.log.Error("socketauth: cannot watch the blacklist; until that succeeds, sockets of sessions that another process ends stay open",
			slog.Any("cause", cmp.Or(err, errWatch)))
		if time.Since(began) > time.Minute {
			pause = firstPause
		}
		if sleep(w.ctx, pause) == nil { // what changes meanwhile is looked up once the store is watched again
			w.work.Go(func() {
				if sleep(w.ctx, firstPause) == nil {
					w.run(w.rechecks.Missed(w.sockets.allSessions()))
				}
			})
		}
	}
}

// firstPause is how long to wait after a first failure of the store.
const firstPause = time.Second

var errWatch = errors.New("the store stopped watching before its context ended")

// hear is called with what the store reports.
func (w *watcher) hear(c blacklist.Change) {
	switch now := time.Now(); {
	case c == blacklist.Change{}:
		w.checkClock()
		w.rechecks.Heard(now)
	case c.Gap:
		w.checkClock()
		w.run(w.rechecks.Gap(now, w.sockets.allSessions()))
	default:
		w.sockets.applyChange(c)
	}
}

// checkClock logs once that a store which processes share has no clock of its own, although it
// should.
func (w *watcher) checkClock() {
	if w.auth.tokens.storeTime == nil {
		w.noClock.Do(func() {
			w.auth.log.Warn("socketauth: the blacklist seems to be shared by processes, and is no blacklist.Clock: "+
				"if their clocks differ, logins can survive revocations",
				slog.String("fix", "if it wraps another store, pass on that store's method Time, and CheckAll"))
		})
	}
}

// reportSilence logs that the store is not heard, with the reason that the store gives when it is
// asked, and that it is heard again.
func (w *watcher) reportSilence() {
	silent := false
	for sleep(w.ctx, minMaxStale/6) == nil {
		silence := w.rechecks.Silence(time.Now())
		switch {
		case silence > minMaxStale && !silent:
			silent = true
			w.auth.log.Warn("socketauth: the blacklist is not heard; while it cannot be asked, nothing is accepted",
				slog.Duration("silence", silence), slog.Any("cause", cmp.Or(w.auth.askStore(w.ctx), errUnheard)))
		case silence <= minMaxStale && silent:
			silent = false
			w.auth.log.Info("socketauth: the blacklist is heard again")
		}
	}
}

var errUnheard = errors.New("it answers, but does not say what other processes change")

// hears reports whether the store has said lately what other processes have changed.
func (w *watcher) hears(now time.Time) bool {
	return w.rechecks.Hears() && w.rechecks.Silence(now) <= minMaxStale
}

// recheck has the store asked whether sessions have ended, until it has answered for each.
func (w *watcher) recheck(sessions []string) { w.run(w.rechecks.Add(time.Now(), sessions)) }

// allHints are when all sessions may be looked up because of a hint.
type allHints struct {
	mu   sync.Mutex
	next time.Time // the earliest time
	due  bool      // they will be then
}

// hintedAllEvery is how often all sessions are looked up because of hints, at most: whoever can
// speak to a shared store's watchers must not keep it busy.
const hintedAllEvery = time.Second

// recheckAll is recheck for all sessions, at once or a second after the last time.
func (w *watcher) recheckAll() {
	w.all.mu.Lock()
	defer w.all.mu.Unlock()
	if w.all.due {
		return
	}
	w.all.due = true
	wait := time.Until(w.all.next)
	w.work.Go(func() {
		if wait > 0 && sleep(w.ctx, wait) != nil {
			return
		}
		w.all.mu.Lock()
		w.all.due, w.all.next = false, time.Now().Add(hintedAllEvery)
		w.all.mu.Unlock()
		w.recheck(w.sockets.allSessions())
	})
}

// recheckNow has the store asked whether sessions have ended, and reports whether it has answered
// for all of them before ctx ends.
func (w *watcher) recheckNow(ctx context.Context, sessions []string) bool {
	now := recheck.New(time.Now(), w.size, w.parallel, w.checkSessions)
	if now.Add(time.Now(), sessions) {
		now.Run(ctx, firstPause)
	}
	return now.Left() == 0 && ctx.Err() == nil
}

func (w *watcher) run(needed bool) {
	if needed {
		w.work.Go(func() { w.rechecks.Run(w.ctx, firstPause) })
	}
}

// checkSessions asks the store whether sessions have ended, and closes the sockets of those that
// have. It returns the sessions that the store has not answered for.
func (w *watcher) checkSessions(sessions []string) (unanswered []string) {
	tokens := make([]blacklist.TokenRef, 0, len(sessions))
	for _, sid := range sessions {
		if t := w.sockets.tokenOf(sid); t != nil { // otherwise its sockets have left
			tokens = append(tokens, t.ref())
		}
	}
	for len(tokens) > 0 {
		results, err := w.checkSome(tokens)
		if err != nil {
			w.logUnanswered(tokens[0], err)
			for _, t := range tokens {
				unanswered = append(unanswered, t.SessionID)
			}
			return unanswered
		}
		for n, result := range results {
			switch {
			case result.Verdict == 0:
				w.logUnanswered(tokens[n], errUnanswered)
				unanswered = append(unanswered, tokens[n].SessionID)
			case ends(result.Verdict):
				w.sockets.endSession(tokens[n].SessionID, causeOf(result.Verdict))
			case result.Verdict == blacklist.Accepted:
				w.sockets.outdateSession(tokens[n].SessionID, tokens[n].Mark) // other sockets may have older claims
			case result.Verdict == blacklist.Stale, result.Verdict == blacklist.Replaced, result.Verdict == blacklist.Unknown:
				w.sockets.outdateSession(tokens[n].SessionID, result.Mark)
			}
		}
		tokens = tokens[len(results):]
	}
	return unanswered
}

var errUnanswered = errors.New("the blacklist has answered for others only")

// checkSome asks the store about all of some tokens or, if it cannot do that at once, about the
// first.
func (w *watcher) checkSome(tokens []blacklist.TokenRef) (results []blacklist.Result, err error) {
	a := w.auth
	ctx, cancel := context.WithTimeout(w.ctx, a.timeout)
	defer cancel()
	if a.batch != nil {
		return a.checkAll(ctx, tokens)
	}
	err = a.contain("Blacklist", func() error {
		result, err := a.blacklist.Check(ctx, tokens[0], 0, 0)
		results = []blacklist.Result{result}
		return err
	})
	return results, err
}

// logUnanswered logs once a minute that the store cannot be asked about a session.
func (w *watcher) logUnanswered(t blacklist.TokenRef, err error) {
	if w.ctx.Err() != nil {
		return // Shutdown, which ends all sockets
	}
	if unsaid, now := w.auth.losses.Allow(); now {
		w.auth.log.Error("socketauth: cannot ask the blacklist whether the session of a socket has ended; the socket stays open meanwhile",
			slog.String("user", t.UserID), slog.String("session", t.SessionID), slog.Any("cause", err), slog.Int("more_since_last", unsaid))
	}
}

// ends reports whether a verdict says that a session is over.
func ends(v blacklist.Verdict) bool {
	return v == blacklist.SessionCompromised || v == blacklist.LoggedOut || v == blacklist.Revoked
}

// hints are the tokens that others say were confirmed, the newest of each session.
type hints struct {
	mu      sync.Mutex
	waiting map[string]blacklist.Change
	running bool
}

// verify has the store asked whether a token was really confirmed. If the store cannot be reached,
// nothing follows: clients only read their storage again sooner because of it.
func (w *watcher) verify(c blacklist.Change) {
	t := w.sockets.tokenOf(c.SessionID)
	if _, ok := id.Parse(c.TokenID); t == nil || !ok {
		return
	}
	// What waits is small, whatever somebody has said.
	c = blacklist.Change{Verdict: c.Verdict, SessionID: t.SessionID, TokenID: strings.Clone(c.TokenID), Generation: c.Generation, Hint: true}
	h := &w.hints
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.waiting == nil {
		h.waiting = make(map[string]blacklist.Change)
	}
	if c.Generation >= h.waiting[c.SessionID].Generation {
		h.waiting[c.SessionID] = c
	}
	if !h.running {
		h.running = true
		w.work.Go(w.verifyAll)
	}
}

// verifyAll asks the store about the hints, several at a time, until none is left.
func (w *watcher) verifyAll() {
	h := &w.hints
	for {
		h.mu.Lock()
		waiting := h.waiting
		h.waiting, h.running = nil, len(waiting) > 0
		h.mu.Unlock()
		if len(waiting) == 0 {
			return
		}
		var asking sync.WaitGroup
		free := make(chan struct{}, parallelChecks)
		for _, c := range waiting {
			free <- struct{}{}
			asking.Go(func() {
				defer func() { <-free }()
				w.verifyOne(c)
			})
		}
		asking.Wait()
	}
}

// verifyOne asks the store about one hint. If a later generation was confirmed meanwhile, nothing
// follows: that was a change of its own, which is heard too.
func (w *watcher) verifyOne(c blacklist.Change) {
	t := w.sockets.tokenOf(c.SessionID)
	if t == nil {
		return
	}
	ref := t.ref()
	ref.TokenID, ref.Generation = c.TokenID, c.Generation
	// A token that was not confirmed is a branch, and is accepted only soon after its issue.
	ref.IssuedAt = ref.AuthTime.Add(-time.Hour)
	ctx, cancel := context.WithTimeout(w.ctx, w.auth.timeout)
	defer cancel()
	_ = w.auth.contain("Blacklist", func() error {
		result, err := w.auth.blacklist.Check(ctx, ref, 0, time.Nanosecond)
		switch {
		case err != nil:
		case ends(result.Verdict):
			w.sockets.endSession(c.SessionID, causeOf(result.Verdict))
		case result.Verdict == blacklist.Accepted, result.Verdict == blacklist.Stale:
			c.Hint = false
			w.sockets.applyChange(c)
		}
		return err
	})
}

// stale reports whether the store has not been heard for Cluster.MaxStale.
func (w *watcher) stale(now time.Time) bool {
	limit := w.auth.cluster.maxStale
	return limit > 0 && w.rechecks.Silence(now) > limit
}

// checkSilence is stale for now. If that has just become so, it disconnects the sockets.
func (w *watcher) checkSilence() bool {
	if w.auth.cluster.maxStale <= 0 {
		return false
	}
	now := time.Now()
	stale := w.stale(now)
	switch {
	case w.isStale.Load() == stale || !w.isStale.CompareAndSwap(!stale, stale):
	case stale:
		silence := w.rechecks.Silence(now)
		n := w.sockets.reconnectAll()
		w.auth.counts.stale.Add(uint64(n))
		w.auth.log.Error("socketauth: the blacklist was not heard for longer than Cluster.MaxStale; sockets were disconnected, and nobody can authenticate",
			slog.Duration("silence", silence), slog.Int("sockets", n))
	default:
		w.auth.log.Info("socketauth: clients can authenticate again, because the blacklist is heard")
	}
	return stale
}
