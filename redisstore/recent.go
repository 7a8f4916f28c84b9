package redisstore

import "context"

// subscribed is what Watch calls after each new subscription, and when a counter has gone back, before
// it sends a Gap.
func (s *Store) subscribed(ctx context.Context) error {
	return s.touchAll(ctx)
}
