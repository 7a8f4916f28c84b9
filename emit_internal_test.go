package socketauth

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/z-open/socketauth/internal/authn"
	"github.com/z-open/socketauth/internal/engine"
)

// forgetful is a connection that only counts what is given up.
type forgetful struct {
	engine.Conn
	forgotten int
}

func (f *forgetful) EmitAck(*engine.Message, func(engine.Args, error)) (func(), error) {
	return func() { f.forgotten++ }, nil
}

func TestEmitWithAckGivesUpWithItsContext(t *testing.T) {
	// Guards: a wait that is over must not leave its acknowledgement behind in the engine.
	conn := new(forgetful)
	s := &Socket{conn: conn, auth: authn.New(time.Now(), time.Second)}
	s.auth.Enter(&authn.Token{ExpiresAt: time.Now().Add(time.Hour)})
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := s.EmitWithAck(ctx, "question"); !errors.Is(err, context.Canceled) || conn.forgotten != 1 {
		t.Errorf("%v, given up %d times", err, conn.forgotten)
	}
}
