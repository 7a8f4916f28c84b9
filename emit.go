package socketauth

import (
	"context"
	"slices"

	"github.com/z-open/socketauth/internal/authn"
	"github.com/z-open/socketauth/internal/engine"
)

// This file holds what the app does with a socket: sending, rooms, values of its own.

// Emit sends an event to the client. A []byte among args is sent as a binary attachment; everything
// else is encoded as JSON. An event has at most 10 attachments. An event with attachments must not
// contain an object with the key "_placeholder" at any depth, because clients would take it for an
// attachment and disconnect.
//
// Emit never waits for the client. A client that does not read is disconnected once too much waits
// to be sent to it. Emit returns ErrClosed if the socket has ended, and an error if args cannot be
// encoded or the event is larger than 4 MiB.
func (s *Socket) Emit(event string, args ...any) error {
	m, err := message(event, args)
	if err != nil {
		return err
	}
	return s.send(m)
}

// EmitWithAck sends an event and waits for the client's acknowledgement or for the end of ctx. It
// returns ErrClosed if the socket has ended, the error of ctx, ErrNotAuthenticated within
// OnAuthenticated and with the context of OnClaimsChanged, since nothing is sent before these have
// returned, and the errors of encoding that Emit returns.
func (s *Socket) EmitWithAck(ctx context.Context, event string, args ...any) (Args, error) {
	m, err := message(event, args)
	if err != nil {
		return Args{}, err
	}
	switch {
	case s.phase() < authn.Authenticated, ctx.Value(actingKey{}) == s:
		return Args{}, ErrNotAuthenticated
	case !s.live():
		return Args{}, ErrClosed
	}
	type reply struct {
		args engine.Args
		err  error
	}
	replies, sent := make(chan reply, 1), make(chan func(), 1)
	send := func() error {
		forget, err := s.conn.EmitAck(m, func(args engine.Args, err error) { replies <- reply{args, err} })
		if err != nil {
			replies <- reply{err: err}
			return err
		}
		sent <- forget
		return nil
	}
	var ended <-chan struct{}
	later := func() error {
		if ctx.Err() != nil { // nobody waits for the reply any more
			return nil
		}
		return send()
	}
	if s.keep(outgoing{message: m, send: later}) {
		ended = s.life.Done() // it may never be sent
	} else {
		_ = send()
	}
	select {
	case r := <-replies:
		return Args{args: r.args}, closed(r.err)
	case <-ended:
		return Args{}, ErrClosed
	case <-ctx.Done():
		select {
		case forget := <-sent:
			forget()
		default: // it still waits
		}
		return Args{}, ctx.Err()
	}
}

// send sends a message, or keeps it until the client is let in.
func (s *Socket) send(m *engine.Message) error {
	switch {
	case s.keep(outgoing{message: m}):
		return nil
	case !s.live():
		return ErrClosed
	}
	return closed(s.conn.Emit(m))
}

// Set stores a value under a key, for Value. It is kept until the socket is garbage collected.
func (s *Socket) Set(key string, value any) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.values == nil {
		s.values = make(map[string]any)
	}
	s.values[key] = value
}

// Value returns what Set has stored under the key, or nil.
func (s *Socket) Value(key string) any {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.values[key]
}

// Request describes the first HTTP request of the socket's connection. It returns a copy.
func (s *Socket) Request() Request { return s.connection.request.request() }

// Leave removes the socket from rooms.
func (s *Socket) Leave(rooms ...string) {
	for _, name := range rooms {
		s.server.hub.Leave(&s.member, room(name))
	}
}

// Rooms returns the names of the rooms that the socket is in, sorted.
func (s *Socket) Rooms() []string {
	rooms := s.server.hub.Groups(&s.member, room("").Kind)
	slices.Sort(rooms)
	return rooms
}

// Join adds the socket to rooms until it leaves them or ends. Within OnAuthenticated it takes
// effect once the socket is let in.
//
// With Options.Cluster, Join waits for up to half a second until what other processes emit to the
// rooms is heard. Then nothing is missed that is emitted after Join. It does not wait for rooms
// that other sockets of this process are in, or while the Broker cannot be reached.
func (s *Socket) Join(rooms ...string) {
	s.mu.Lock()
	phase := s.auth.Phase()
	if phase < authn.Authenticated {
		w := s.waits()
		w.rooms = append(w.rooms, rooms...)
	}
	s.mu.Unlock()
	if phase == authn.Authenticated {
		s.joinRooms(rooms)
	}
}
