package socketauth

import (
	"context"

	"github.com/z-open/socketauth/internal/authn"
	"github.com/z-open/socketauth/internal/engine"
)

// This file holds what a socket sends to its client.

// Emit sends an event to the client. A []byte among args is sent as a binary attachment; everything
// else is encoded as JSON. An event has at most 10 attachments. An event with attachments must not
// contain an object with the key "_placeholder" at any depth, because clients would take it for an
// attachment and disconnect.
//
// Emit never waits for the client. A client that does not read is disconnected once too much waits to
// be sent to it. Emit returns ErrClosed if the socket has ended, and an error if args cannot be encoded
// or the event is larger than 4 MiB.
func (s *Socket) Emit(event string, args ...any) error {
	m, err := message(event, args)
	if err != nil {
		return err
	}
	return s.send(m)
}

// EmitWithAck sends an event and waits for the client's acknowledgement or for the end of ctx. It
// returns ErrClosed if the socket has ended, the error of ctx, ErrNotAuthenticated within
// OnAuthenticated, and the errors of encoding that Emit returns.
func (s *Socket) EmitWithAck(ctx context.Context, event string, args ...any) (Args, error) {
	m, err := message(event, args)
	if err != nil {
		return Args{}, err
	}
	switch {
	case s.phase() < authn.Authenticated:
		return Args{}, ErrNotAuthenticated
	case !s.live():
		return Args{}, ErrClosed
	}
	type reply struct {
		args engine.Args
		err  error
	}
	replies := make(chan reply, 1)
	forget, err := s.conn.EmitAck(m, func(args engine.Args, err error) { replies <- reply{args, err} })
	if err != nil {
		return Args{}, closed(err)
	}
	select {
	case r := <-replies:
		return Args{r.args}, closed(r.err)
	case <-ctx.Done():
		forget()
		return Args{}, ctx.Err()
	}
}

// send sends a message, or keeps it until the client is let in.
func (s *Socket) send(m *engine.Message) error {
	s.mu.Lock()
	if s.auth.Phase() < authn.Authenticated || s.entering {
		s.keepLocked(m)
		s.mu.Unlock()
		return nil
	}
	s.mu.Unlock()
	if !s.live() {
		return ErrClosed
	}
	return closed(s.conn.Emit(m))
}
