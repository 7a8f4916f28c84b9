package socketauth

import (
	"context"
	"crypto/hkdf"
	"crypto/sha256"
	"log/slog"
	"time"

	"github.com/z-open/socketauth/internal/cluster"
	"github.com/z-open/socketauth/internal/logonce"
	"github.com/z-open/socketauth/internal/throttle"
)

// failuresTopic is what processes tell each other failures on.
var failuresTopic = cluster.Topic{Kind: 'f'}

// failures tells the other processes of the app which logins and tokens have failed here, and
// counts those that have failed there.
type failures struct {
	guard   *throttle.Guard
	log     *slog.Logger
	unclear logonce.Minute // limits how often it is logged that a message cannot be read
}

// exchange tells them once a second, until ctx ends.
func (f *failures) exchange(ctx context.Context, node *cluster.Node) {
	ticker := time.NewTicker(throttle.Interval)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		others := 0
		for _, m := range node.Members() {
			if !m.Silent {
				others++
			}
		}
		if news := f.guard.Exchange(others); news != nil {
			node.Send(kindFailures, news, failuresTopic)
		}
	}
}

// hear counts what another process has told. It returns soon.
func (f *failures) hear(m cluster.Message) {
	if err := f.guard.Hear(m.Data); err != nil {
		if unsaid, now := f.unclear.Allow(); now {
			f.log.Warn("socketauth: a process tells failures in another form; those are not counted here",
				slog.String("node", m.Node), slog.Any("cause", err), slog.Int("more_since_last", unsaid))
		}
	}
}

// subkey derives a key of 32 bytes for one use from the key of the cluster. It is nil if there is
// none.
func (c clusterConfig) subkey(info string) []byte {
	if c.key == nil {
		return nil
	}
	key, _ := hkdf.Expand(sha256.New, c.key, info, sha256.Size) // does not fail for so few bytes
	return key
}
