package redisstore

import (
	"context"

	"github.com/z-open/socketauth/blacklist"
)

// Sessions implements blacklist.Store. A session whose record is damaged is not listed: nothing is
// accepted of it.
func (s *Store) Sessions(ctx context.Context, userID string) ([]blacklist.Session, error) {
	u := userOf(userID)
	if err := s.ready(ctx, u.bucket); err != nil {
		return nil, err
	}
	reply, now, err := s.run(ctx, s.scripts.sessions, u.bucket, s.keys(u)[:2])
	if err != nil {
		return nil, err
	}
	var living []blacklist.Session
	for n := 2; n+1 < len(reply); n += 2 {
		sid := str(reply, n)
		state, _, err := decodeRecord(str(reply, n+1), userID)
		if err != nil || len(sid) != 16 {
			continue
		}
		session, lives := state.Session(textID(sid), now)
		if !lives {
			continue
		}
		session.Since = s.shown(u.bucket, session.Since)
		session.LastSeen = s.shown(u.bucket, session.LastSeen)
		session.ExpiresAt = s.shown(u.bucket, session.ExpiresAt)
		living = append(living, session)
	}
	return living, nil
}
