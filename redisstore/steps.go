package redisstore

import (
	"context"
	"time"

	"github.com/z-open/socketauth/blacklist"
)

// leeway is how far clocks may be set back before codes of the future are refused.
const leeway = time.Minute

// decision lets a session's state decide on a token, and perhaps change.
type decision func(*blacklist.State, time.Time) (blacklist.Result, blacklist.Change)

// inDoubt is a margin. If a connection seems to have been opened no more than this after its token
// was replaced, the token still counts as late, not as reuse: both times are estimates, and reuse
// would end the session.
const inDoubt = 5 * time.Millisecond

// Present implements blacklist.Store.
func (s *Store) Present(ctx context.Context, p blacklist.Presentation) (blacklist.Result, error) {
	u := userOf(p.Token.UserID)
	return s.step(ctx, u, p.Token, func(state *blacklist.State, now time.Time) (blacklist.Result, blacklist.Change) {
		p := p
		p.SocketOpenedAt = s.stored(u.bucket, p.SocketOpenedAt).Add(-inDoubt)
		if !p.PresentedAt.IsZero() {
			p.PresentedAt = s.stored(u.bucket, p.PresentedAt)
		}
		return state.Present(p, now)
	})
}

// Confirm implements blacklist.Store.
func (s *Store) Confirm(ctx context.Context, t blacklist.TokenRef) (blacklist.Result, error) {
	return s.step(ctx, userOf(t.UserID), t, func(state *blacklist.State, now time.Time) (blacklist.Result, blacklist.Change) {
		return state.Confirm(t, now)
	})
}

// Check implements blacklist.Store. It always asks Redis.
func (s *Store) Check(ctx context.Context, t blacklist.TokenRef, grace, branch time.Duration) (blacklist.Result, error) {
	u := userOf(t.UserID)
	if err := s.ready(ctx, u.bucket); err != nil {
		return blacklist.Result{}, err
	}
	sid, ok := rawID(t.SessionID)
	if !ok {
		return blacklist.Result{Verdict: blacklist.Unknown}, nil
	}
	seen, state, now, err := s.read(ctx, u, sid)
	if err != nil {
		return blacklist.Result{}, err
	}
	out, err := decide(t, seen, state, now, func(st *blacklist.State, now time.Time) (blacklist.Result, blacklist.Change) {
		return st.Check(t, grace, branch, now), blacklist.Change{}
	})
	return out.result, err
}

// step makes a decision and stores what has changed. It decides on the record that this process saw
// last. If that turns out to be out of date, it decides again on the current one, which takes a
// second round trip.
func (s *Store) step(ctx context.Context, u user, t blacklist.TokenRef, d decision) (blacklist.Result, error) {
	if err := s.ready(ctx, u.bucket); err != nil {
		return blacklist.Result{}, err
	}
	sid, ok := rawID(t.SessionID)
	if !ok {
		return blacklist.Result{Verdict: blacklist.Unknown}, nil
	}
	key := u.digest + sid
	seen, known := s.kept.get(key)
	known = known || t.Generation == 0 // a login, most likely, of a user who was not revoked
	state, now, fresh := s.states[u.bucket].Load(), s.stored(u.bucket, s.now()), false
	for {
		if !known || state == nil {
			var err error
			if seen, state, now, err = s.read(ctx, u, sid); err != nil {
				return blacklist.Result{}, err
			}
			s.kept.put(key, seen)
			known, fresh = true, true
		}
		out, err := decide(t, seen, state, now, d)
		switch {
		case err != nil && fresh:
			return blacklist.Result{}, err
		case err != nil, !out.changed && !fresh: // nothing is refused on what may be old
			known = false
			continue
		case !out.changed:
			return out.result, nil
		}
		current, currentState, at, swapped, err := s.swap(ctx, u, sid, seen, state, out)
		if err != nil {
			s.kept.drop(key) // it may have been written
			return blacklist.Result{}, err
		}
		if swapped {
			s.kept.put(key, sight{record: out.record})
			return out.result, nil
		}
		s.kept.put(key, current)
		seen, state, now, fresh = current, currentState, at, true
	}
}

// outcome is what was decided, and what is to be written if something has changed.
type outcome struct {
	result  blacklist.Result
	change  blacklist.Change
	changed bool
	record  string // "" if the session has ended
	remains string
}

// decide makes a decision on what was seen.
func decide(t blacklist.TokenRef, seen sight, b *bucketState, now time.Time, d decision) (out outcome, err error) {
	verdict := func(v blacklist.Verdict) (outcome, error) {
		return outcome{result: blacklist.Result{Verdict: v}}, nil
	}
	var state blacklist.State
	known := seen.record != ""
	switch {
	case seen.remains != "":
		r, err := parseRemains(seen.remains)
		if err != nil {
			return out, err
		}
		if r.began && t.Generation > 0 && t.Bound != r.bound {
			return verdict(blacklist.Unknown)
		}
		if r.why == 0 {
			r.why = b.why(r.epoch)
		}
		if r.why == 0 {
			return out, errRecord
		}
		return verdict(r.why)
	case known:
		var epoch int64
		if state, epoch, err = decodeRecord(seen.record, t.UserID); err != nil {
			return out, err
		}
		if why := b.why(epoch); why == blacklist.Unknown {
			return verdict(why)
		} else if why != 0 {
			state.End(why, time.Time{}, time.Time{})
		}
		o, err := parseOverride(seen.override)
		if err != nil {
			return out, err
		}
		if o.mark > 0 {
			state.Raise(o.mark, now)
		}
		if o.cut > 0 {
			state.Cut(time.UnixMicro(o.cut))
		}
		if v := state.Refuses(t); v != 0 {
			return verdict(v)
		}
	}
	if t.AuthTime.UnixMicro() <= b.allAt {
		return verdict(blacklist.Revoked)
	}
	if !known {
		// A code of the future was issued before the clock was set back: what became of it may be
		// forgotten.
		if t.Generation == 0 && (t.IssuedAt.UnixMicro() < b.birth || t.IssuedAt.After(now.Add(leeway))) {
			return verdict(blacklist.Unknown)
		}
		e, err := parseEntry(seen.entry)
		if err != nil {
			return out, err
		}
		if t.AuthTime.UnixMicro() <= e.cutoff {
			// Also if Redis has lost the session: its sockets have to close.
			return verdict(blacklist.Revoked)
		}
		if t.Generation > 0 {
			return verdict(blacklist.Unknown)
		}
		state.Raise(e.mark, now)
	}
	before := state
	out.result, out.change = d(&state, now)
	if state == before {
		return out, nil
	}
	out.changed = true
	if why := state.Ended(); why != 0 {
		session, _ := state.Session("", now)
		out.remains = remains{why, true, session.Bound, clamp(state.ForgetAt().Unix(), maxSeconds), b.epoch}.encode()
		return out, nil
	}
	out.record, err = encodeRecord(&state, t.UserID, b.epoch)
	return out, err
}

// read reads what a decision on a session needs.
func (s *Store) read(ctx context.Context, u user, sid string) (seen sight, state *bucketState, now time.Time, err error) {
	reply, now, err := s.run(ctx, s.scripts.read, u.bucket, s.keys(u), s.durable(), sid)
	if err != nil {
		return seen, nil, now, err
	}
	state, err = s.learn(u.bucket, str(reply, 1))
	return sightIn(reply, 2), state, now, err
}

func sightIn(reply []any, n int) sight {
	return sight{record: str(reply, n), override: str(reply, n+1), entry: str(reply, n+2), remains: str(reply, n+3)}
}

// swap writes what was decided, if what it was decided on has not changed. Otherwise it returns
// what is.
func (s *Store) swap(ctx context.Context, u user, sid string, seen sight, state *bucketState, out outcome) (current sight, now *bucketState, at time.Time, swapped bool, err error) {
	change := ""
	if out.change.Verdict != 0 {
		change = string(appendChange(nil, out.change, 0))
		s.own.note(change)
	}
	reply, at, err := s.run(ctx, s.scripts.step, u.bucket, s.keys(u),
		sid, seen.record, seen.override, state.text, seen.entry, out.record, out.remains, s.channel(), u.bucket, change, s.durable())
	if err == nil && len(reply) == 1 {
		return current, nil, at, true, nil
	}
	s.own.forget(change)
	if err != nil {
		return current, nil, at, false, err
	}
	now, err = s.learn(u.bucket, str(reply, 1))
	return sightIn(reply, 2), now, at, false, err
}
