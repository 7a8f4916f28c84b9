package histories

import (
	"fmt"
	"time"
)

// conditions are the parameters of one history: the app's options, and how often each fault
// occurs.
type conditions struct {
	timeout         time.Duration
	codeLifetime    time.Duration
	tokenLifetime   time.Duration
	sessionLifetime time.Duration
	refreshInterval time.Duration
	endOnReuse      bool

	grain   time.Duration // the unit of time; if it is coarse, many events happen at once
	slowest time.Duration // the usual upper limit of a frame's delay
	stalls  float64       // how often a frame takes up to Timeout
	cuts    float64       // how often the connection breaks at a frame
	crashes float64       // how often a tab crashes at one of its steps

	slowHook     time.Duration // the usual upper limit of a hook's duration
	hangs        float64       // how often a hook or a store call takes up to Timeout
	hookFails    float64
	storeBefore  float64 // how often the store fails before it has applied a step
	storeAfter   float64 // how often it fails after that
	revocations  int
	refreshes    int     // how often a role changes, before the calm phase
	stepsUp      float64 // how often a tab has its user prove again who they are, where it would act
	devices      int
	binds        float64 // how often a device binds its sessions to a key
	thieves      int
	actions      int // of each tab, before the calm phase
	patience     time.Duration
	longestPause time.Duration // between a tab's actions

	// underWay is how long a presentation can still reach the store after its client gave up on
	// it: Timeout in the network, and the time that the app's hooks and the store add.
	underWay time.Duration
}

// drawConditions draws the conditions of a history. Each kind of fault is absent from many
// histories, so that one fault does not hide what another would show.
func (w *world) drawConditions() conditions {
	maybe := func(p float64, high float64) float64 {
		if w.chance(p) {
			return w.Float64() * high
		}
		return 0
	}
	c := conditions{
		timeout:       5 * time.Second,
		codeLifetime:  30 * time.Second,
		tokenLifetime: 24 * time.Hour,
		endOnReuse:    w.chance(0.8),

		sessionLifetime: 30 * 24 * time.Hour,
		grain:           time.Microsecond,
		slowest:         w.between(2*time.Millisecond, 2*time.Second),
		stalls:          maybe(0.5, 0.2),
		cuts:            maybe(0.6, 0.2),
		crashes:         maybe(0.5, 0.2),
		slowHook:        w.between(time.Millisecond, time.Second),
		hangs:           maybe(0.3, 0.2),
		hookFails:       maybe(0.2, 0.2),
		storeBefore:     maybe(0.25, 0.4),
		storeAfter:      maybe(0.25, 0.4),
		devices:         1 + w.IntN(2),
		actions:         1 + w.IntN(5),
		patience:        w.between(50*time.Millisecond, 10*time.Second),
		longestPause:    w.between(time.Second, time.Minute),
	}
	if w.chance(0.3) {
		c.grain = 10 * time.Millisecond
	}
	if w.chance(0.25) {
		c.tokenLifetime = w.between(10*time.Second, 2*time.Minute)
	}
	if w.chance(0.25) {
		c.refreshInterval = w.between(time.Second, c.tokenLifetime/2)
	}
	if w.chance(0.5) {
		c.thieves = 1 + w.IntN(2)
	}
	if w.chance(0.3) {
		c.revocations = 1 + w.IntN(2)
	}
	if w.identities && w.chance(0.5) {
		c.refreshes = 1 + w.IntN(5)
	}
	if w.identities && w.chance(0.5) {
		c.stepsUp = 0.5 * w.Float64()
	}
	if w.identities && w.chance(0.25) {
		c.sessionLifetime = w.between(20*time.Second, 5*time.Minute)
	}
	c.binds = []float64{0, 0, 0.3, 1}[w.IntN(4)]
	c.underWay = c.timeout + 2*c.slowHook
	if c.hangs > 0 || c.storeBefore > 0 || c.storeAfter > 0 {
		c.underWay = 3 * c.timeout
	}
	return c
}

// calm returns the same conditions without any faults, for the last phase of a history.
func (c conditions) calm() conditions {
	c.slowest, c.slowHook = 10*time.Millisecond, 10*time.Millisecond
	c.stalls, c.cuts, c.crashes, c.hangs, c.hookFails, c.storeBefore, c.storeAfter = 0, 0, 0, 0, 0, 0, 0
	c.patience = 8 * c.timeout // long enough for every answer to arrive
	return c
}

// Counts says how often each thing happened in one or more histories.
type Counts struct {
	Histories, Devices, Thieves, Logins                                              int
	BoundAtLogin, BoundByTrade, BoundByThieves, ProofsRefused                        int
	Presentations, Accepted, Superseded, Reuses, Over, Repeated, Confirmations       int
	Checks, Revocations, Logouts, Expiries                                           int
	Refreshes, Stale, Changes, StepUps, StepUpsRefused, Events, Exchanges            int
	Stalls, Hangs, Cuts, Crashes, GivenUp, Late, StoreFaults, HookFaults, Violations int
}

// Add adds the counts of other histories to c.
func (c *Counts) Add(o Counts) {
	for n, to := range c.all() {
		*to += *o.all()[n]
	}
}

func (c *Counts) all() []*int {
	return []*int{
		&c.Histories, &c.Devices, &c.Thieves, &c.Logins,
		&c.BoundAtLogin, &c.BoundByTrade, &c.BoundByThieves, &c.ProofsRefused,
		&c.Presentations, &c.Accepted, &c.Superseded, &c.Reuses, &c.Over, &c.Repeated, &c.Confirmations,
		&c.Checks, &c.Revocations, &c.Logouts, &c.Expiries,
		&c.Refreshes, &c.Stale, &c.Changes, &c.StepUps, &c.StepUpsRefused, &c.Events, &c.Exchanges,
		&c.Stalls, &c.Hangs, &c.Cuts, &c.Crashes, &c.GivenUp, &c.Late, &c.StoreFaults, &c.HookFaults, &c.Violations,
	}
}

func (c Counts) String() string {
	return fmt.Sprintf(`%d histories: %d devices, %d thieves, %d logins
%d sessions bound at the login, %d by the trade, %d by a thief; %d tokens refused for their proof
%d presentations: %d accepted, %d overtaken, %d reuses, %d of sessions that were over; %d repeated after a fault; %d confirmations, %d checks
%d revocations, %d log-outs, %d tokens expired
%d refreshes, %d times claims were out of date, %d changes that the app acted on, %d step-ups and %d refused, %d events, %d tokens replaced by a request
faults: %d frames stalled, %d hooks and calls hung, %d connections cut, %d crashes, %d sockets given up, %d late frames on them, %d by the store, %d by hooks
violations: %d`,
		c.Histories, c.Devices, c.Thieves, c.Logins,
		c.BoundAtLogin, c.BoundByTrade, c.BoundByThieves, c.ProofsRefused,
		c.Presentations, c.Accepted, c.Superseded, c.Reuses, c.Over, c.Repeated, c.Confirmations, c.Checks,
		c.Revocations, c.Logouts, c.Expiries,
		c.Refreshes, c.Stale, c.Changes, c.StepUps, c.StepUpsRefused, c.Events, c.Exchanges,
		c.Stalls, c.Hangs, c.Cuts, c.Crashes, c.GivenUp, c.Late, c.StoreFaults, c.HookFaults, c.Violations)
}
