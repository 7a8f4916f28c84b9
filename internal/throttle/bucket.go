package throttle

import "time"

// Rate is a budget: Burst at once, at least one, and one more each time that Every has passed.
type Rate struct {
	Burst int
	Every time.Duration
}

// or takes what is zero or less from standard.
func (r Rate) or(standard Rate) Rate {
	if r.Burst > 0 {
		standard.Burst = r.Burst
	}
	standard.Every = lasting(r.Every, standard.Every)
	return standard
}

// times is the rate of n who have one each.
func (r Rate) times(n int) Rate {
	return Rate{Burst: n * r.Burst, Every: max(1, r.Every/time.Duration(n))}
}

// bucket is a token bucket that knows by two times how much is left in it; the zero bucket is full. x/time/rate has no
// way to give back: Reservation.Cancel restores nothing once the time to act has come, which here is at once.
type bucket struct {
	free time.Duration // when all that was taken will have come back; full from then on
	full time.Duration // when it was last found full
}

// wait is how long until there is one to take.
func (b bucket) wait(now time.Duration, r Rate) time.Duration {
	return max(0, b.free-now-time.Duration(r.Burst-1)*r.Every)
}

// take takes one. There must be one.
func (b *bucket) take(now time.Duration, r Rate) {
	if b.free <= now {
		b.free, b.full = now, now
	}
	b.free += r.Every
}

// giveBack undoes a take of time at. If the bucket was full since, that one has come back by itself already, and more
// would be a gift: a chance for failures beside a success that takes its time.
func (b *bucket) giveBack(at time.Duration, r Rate) {
	if b.full <= at {
		b.free -= r.Every
	}
}
