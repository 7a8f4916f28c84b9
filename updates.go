package socketauth

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"sync"
	"time"

	"github.com/golang-jwt/jwt/v5"
)

// updates calls Options.UpdateClaims. Sockets of one session that are to be brought up to date at
// once share one call.
type updates struct {
	hook    func(ctx context.Context, old jwt.MapClaims) (jwt.MapClaims, error)
	timeout time.Duration // for each call
	contain func(hook string, f func() error) error

	mu    sync.Mutex
	calls map[updateKey]*update // that are running
	work  sync.WaitGroup        // counts them
}

type updateKey struct {
	userID, sessionID string
	mark              int64
	app, proof, bound string
	provedAt          int64
}

type update struct {
	done chan struct{} // closed when the hook has returned
	app  []byte
	err  error
}

var (
	errUpdateHangs = errors.New("it has not returned within Timeout")
	errUpdateExit  = errors.New("it has ended its goroutine")
	errLeft        = errors.New("the client has left")
)

// fetch returns the app's claims as they are now, for the successor of t, as JSON. The call begins
// after the mark known was seen.
func (u *updates) fetch(ctx context.Context, t *token, known int64) ([]byte, error) {
	key := updateKey{t.UserID, t.SessionID, known, string(t.App), string(t.Proof), t.Thumbprint, t.AuthTime.UnixMicro()}
	call := u.begin(ctx, t, key)
	timer := time.NewTimer(u.timeout) // the hook may ignore its context
	defer timer.Stop()
	select {
	case <-call.done:
		return call.app, call.err
	case <-ctx.Done():
		if !errors.Is(ctx.Err(), context.DeadlineExceeded) {
			return nil, errLeft
		}
	case <-timer.C:
	}
	u.end(key, call) // whoever asks next does not wait for it
	return nil, errUpdateHangs
}

// end has nobody share a call any more.
func (u *updates) end(key updateKey, call *update) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.calls[key] == call {
		delete(u.calls, key)
	}
}

// begin returns the call that is running for the key, or begins one.
func (u *updates) begin(ctx context.Context, t *token, key updateKey) *update {
	u.mu.Lock()
	defer u.mu.Unlock()
	if call := u.calls[key]; call != nil {
		return call
	}
	call := &update{done: make(chan struct{}), err: errUpdateExit}
	if u.calls == nil {
		u.calls = make(map[updateKey]*update)
	}
	u.calls[key] = call
	u.work.Go(func() {
		defer close(call.done)
		defer u.end(key, call)
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), u.timeout)
		defer cancel()
		call.app, call.err = u.call(ctx, t)
	})
	return call
}

// call calls the hook and returns the app's claims as JSON: the same bytes if they are the same
// claims.
func (u *updates) call(ctx context.Context, t *token) (app []byte, err error) {
	err = u.contain("UpdateClaims", func() error {
		old := t.claims()
		updated, err := u.hook(ctx, copyClaims(old))
		if err == nil {
			app, err = t.withClaims(old, updated)
		}
		return err
	})
	return app, err
}

// withClaims returns the app's claims among updated as JSON. It is an error if one of the
// library's, or "sub", is not as it was.
func (t *token) withClaims(old, updated jwt.MapClaims) ([]byte, error) {
	app := make(jwt.MapClaims, len(updated))
	for name, value := range updated {
		app[name] = value
	}
	if sub, given := app["sub"]; given && sub != t.UserID || updated == nil {
		return nil, errors.New(`it changed "sub", or returned no claims`)
	}
	app["sub"] = t.UserID
	for _, name := range ownClaims {
		if value, given := app[name]; given && !reflect.DeepEqual(value, old[name]) {
			return nil, fmt.Errorf("claim %q: %w", name, errReserved)
		}
		delete(app, name)
		delete(old, name)
	}
	if reflect.DeepEqual(app, old) {
		return t.App, nil
	}
	claims, err := json.Marshal(app)
	if err != nil {
		return nil, err
	}
	var changed token
	if err := changed.readApp(claims); err != nil {
		return nil, err
	}
	return changed.App, nil
}
