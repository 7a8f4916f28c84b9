package socketauth

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/z-open/socketauth/internal/authn"
	"github.com/z-open/socketauth/internal/engine"
)

// ackConn is a connection that counts the acknowledgements that were given up.
type ackConn struct {
	engine.Conn
	forgotten int
}

func (f *ackConn) EmitAck(*engine.Message, func(engine.Args, error)) (func(), error) {
	return func() { f.forgotten++ }, nil
}

// TestEmitWithAckContext checks that a wait that is over leaves no acknowledgement behind in the
// engine.
func TestEmitWithAckContext(t *testing.T) {
	conn := new(ackConn)
	server := &Server{watcher: &watcher{auth: &Auth{config: new(config)}}}
	s := &Socket{server: server, conn: conn, auth: authn.New(time.Now(), time.Second)}
	s.auth.Enter(time.Now(), &authn.Token{ExpiresAt: time.Now().Add(time.Hour)})
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := s.EmitWithAck(ctx, "question"); !errors.Is(err, context.Canceled) || conn.forgotten != 1 {
		t.Errorf("%v, given up %d times", err, conn.forgotten)
	}
}
