package blacklist

import (
	"context"
	"time"
)

// This file holds what a store that several processes share may have beside the methods of Store.

// A Clock is a Store that decides by a clock of its own, as a store that several processes share
// has to, since their clocks differ. Whoever mints tokens stamps them (TokenRef.IssuedAt and
// AuthTime, StepUp.At) by it: those times are the store's from then on, wherever they are read, and
// the store compares them with its own as they are. Without it, a login on a process whose clock is
// ahead could survive a revocation that came after it.
//
// A Store that wraps one that is a Clock or a BatchChecker must be one too.
//
// All other times at the Store's methods are by the clock of the process that calls, unless the
// field says otherwise; the store converts them.
type Clock interface {
	// Time returns what the store's clock showed, for sessions of the user, at the time t, which
	// this process read from its own clock and which is not in the future: the same or a little
	// earlier, never later. It asks the store if it does not know the difference yet, or has not
	// asked for long. After an error nothing may be minted.
	Time(ctx context.Context, userID string, t time.Time) (time.Time, error)
}

// A BatchChecker is a Store that answers many calls of Check at a lower cost than one by one.
type BatchChecker interface {
	// CheckAll returns, for each token in turn, what Check returns for it with both grace and
	// branch zero. If a part of the store is out of reach, the tokens that it cannot answer for
	// have the zero Result, or it returns an error, after which none of the results counts. Callers
	// pass at most [MaxBatch] tokens.
	CheckAll(ctx context.Context, tokens []TokenRef) ([]Result, error)
}

// MaxBatch is how many tokens a caller of CheckAll passes at most.
const MaxBatch = 500
