package throttle

import "time"

// Rate is a budget: Burst at once, at least one, and one more in each period Every.
type Rate struct {
	Burst int
	Every time.Duration
}

// or returns r with the fields of standard in place of those that are zero or less.
func (r Rate) or(standard Rate) Rate {
	if r.Burst > 0 {
		standard.Burst = r.Burst
	}
	standard.Every = lasting(r.Every, standard.Every)
	return standard
}

// times returns the total of n rates r.
func (r Rate) times(n int) Rate {
	return Rate{Burst: n * r.Burst, Every: max(1, r.Every/time.Duration(n))}
}

// bucket is a token bucket, kept as two times; the zero bucket is full. x/time/rate is not used
// because tokens cannot be given back there: Reservation.Cancel restores nothing once the time to
// act has come, which here is at once.
type bucket struct {
	free time.Duration // when all tokens taken will have come back; the bucket is full from then on
	full time.Duration // when the bucket was last found full
}

// wait returns how long it takes until there is a token.
func (b bucket) wait(now time.Duration, r Rate) time.Duration {
	return max(0, b.free-now-time.Duration(r.Burst-1)*r.Every)
}

// take takes a token. There must be one.
func (b *bucket) take(now time.Duration, r Rate) {
	if b.free <= now {
		b.free, b.full = now, now
	}
	b.free += r.Every
}

// giveBack undoes a take at time at. If the bucket was full since, that token has come back by
// itself, and nothing is given back: otherwise a slow success would allow additional failures.
func (b *bucket) giveBack(at time.Duration, r Rate) {
	if b.full <= at {
		b.free -= r.Every
	}
}

// add takes n tokens that were taken elsewhere, whether or not there are as many, but leaves no
// more than debt missing.
func (b *bucket) add(now time.Duration, r Rate, n, debt int) {
	if b.free <= now {
		b.free, b.full = now, now
	}
	n = min(n, r.Burst+debt)
	most := now + time.Duration(r.Burst+debt)*r.Every
	b.free = max(b.free, min(b.free+time.Duration(n)*r.Every, most))
}
