package boltstore_test

import (
	"context"
	"os"
	"path/filepath"
	"testing"

	"github.com/z-open/socketauth/blacklist"
	"github.com/z-open/socketauth/blacklist/historytest"
	"github.com/z-open/socketauth/boltstore"
)

// inCI returns n if the environment variable CI is set, and a tenth of n otherwise.
func inCI(n int) int {
	if os.Getenv("CI") == "" {
		return n / 10
	}
	return n
}

func TestHistories(t *testing.T) {
	// Guards: random histories in which the process ends and starts again.
	historytest.Run(t, inCI(histories), func(t *testing.T) blacklist.Store {
		d := &durable{t: t, path: filepath.Join(t.TempDir(), "sessions.db")}
		d.open()
		t.Cleanup(d.close)
		return d
	})
}

func TestHistoriesThroughServer(t *testing.T) {
	// Guards: random histories in which steps of one session share a transaction.
	historytest.RunServer(t, inCI(serverHistories), func(t *testing.T) blacklist.Store {
		return open(t, filepath.Join(t.TempDir(), "sessions.db"))
	})
}

// durable is a store whose process ends and starts again in the middle of a history.
type durable struct {
	*boltstore.Store
	t     *testing.T
	path  string
	calls int
}

func (d *durable) open() {
	var err error
	if d.Store, err = boltstore.Open(d.path); err != nil {
		d.t.Fatal(err)
	}
}

func (d *durable) close() {
	if err := d.Close(); err != nil {
		d.t.Error(err)
	}
}

// A prime number, so that restarts come at all points of a history.
const callsUntilRestart = 17

func (d *durable) Present(ctx context.Context, p blacklist.Presentation) (blacklist.Result, error) {
	if d.calls++; d.calls%callsUntilRestart == 0 {
		d.close()
		d.open()
	}
	return d.Store.Present(ctx, p)
}
