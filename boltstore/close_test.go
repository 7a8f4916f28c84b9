package boltstore_test

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/z-open/socketauth"
	"github.com/z-open/socketauth/boltstore"
)

// closings counts the log lines that say that the store is closed.
type closings struct {
	slog.Handler
	n atomic.Int32
}

func (c *closings) Enabled(context.Context, slog.Level) bool { return true }

func (c *closings) Handle(_ context.Context, r slog.Record) error {
	r.Attrs(func(a slog.Attr) bool {
		if err, ok := a.Value.Any().(error); ok && errors.Is(err, boltstore.ErrClosed) {
			c.n.Add(1)
		}
		return true
	})
	return nil
}

func TestAServerOutlivesItsStore(t *testing.T) {
	// Guards: if a store is closed before Server.Shutdown, the server must neither spin nor wait
	// for ever.
	synctest.Test(t, func(t *testing.T) {
		store := fresh(t).(*boltstore.Store)
		log := new(closings)
		srv, err := socketauth.SocketServe(nil, http.NewServeMux(), socketauth.Options[any]{
			Secret: []byte(strings.Repeat("change me ", 4)), Blacklist: store, Logger: slog.New(log),
		})
		if err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		if err := store.Close(); err != nil {
			t.Fatal(err)
		}
		if _, err := srv.Auth().RevokeAll(t.Context()); !errors.Is(err, boltstore.ErrClosed) {
			t.Errorf("RevokeAll: %v", err)
		}
		time.Sleep(time.Hour)
		if n := log.n.Load(); n < 10 || n > 200 {
			t.Errorf("watched %d times in an hour", n)
		}
		if err := srv.Shutdown(t.Context()); err != nil {
			t.Errorf("Shutdown: %v", err)
		}
	})
}
