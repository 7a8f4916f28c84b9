package sio

import (
	"errors"
	"maps"
	"slices"
	"sync/atomic"

	"github.com/z-open/socketauth/internal/eio"
	"github.com/z-open/socketauth/internal/engine"
)

var errAnswered = errors.New("sio: acknowledged already")

// conn is one client in one namespace.
type conn struct {
	c         *Client
	namespace string
	id        string

	// Of whoever has the session's turn.
	recv     engine.Receiver
	reported bool // Disconnected was called

	// Under the client's lock.
	ended  bool // nothing is sent any more, and nothing received
	lastID uint64
	acks   map[uint64]func(engine.Args, error) // that wait for the client, by id; made when first needed
}

var _ engine.Conn = (*conn)(nil)

// nobody stands in for the receiver until Accept has named it.
type nobody struct{}

func (nobody) Event(string, engine.Args, engine.Ack) {}
func (nobody) Disconnected(engine.Reason)            {}

func (k *conn) ID() string { return k.id }

func (k *conn) Trust() { k.c.s.Trust() }

func (k *conn) Emit(m *engine.Message) error {
	return k.send(encodeMessage(Event, k.namespace, false, 0, m))
}

func (k *conn) send(packets []eio.Packet) error {
	k.c.mu.Lock()
	defer k.c.mu.Unlock()
	if k.ended {
		return engine.ErrClosed
	}
	return k.c.s.Send(packets...)
}

func (k *conn) EmitAck(m *engine.Message, done func(engine.Args, error)) (forget func(), err error) {
	k.c.mu.Lock()
	defer k.c.mu.Unlock()
	if k.ended {
		return nil, engine.ErrClosed
	}
	id := k.lastID
	if err := k.c.s.Send(encodeMessage(Event, k.namespace, true, id, m)...); err != nil {
		return nil, err
	}
	k.lastID++
	if k.acks == nil {
		k.acks = make(map[uint64]func(engine.Args, error))
	}
	k.acks[id] = done
	return func() { k.takeAck(id) }, nil
}

// takeAck ends the wait for an acknowledgement, and returns who waits, if anyone does.
func (k *conn) takeAck(id uint64) func(engine.Args, error) {
	k.c.mu.Lock()
	defer k.c.mu.Unlock()
	done := k.acks[id]
	delete(k.acks, id)
	return done
}

// Close ends the session too, unless the client is in another namespace.
func (k *conn) Close(last *engine.Message) {
	var packets []eio.Packet
	if last != nil {
		packets = encodeMessage(Event, k.namespace, false, 0, last)
	}
	packets = append(packets, encodeControl(Disconnect, k.namespace, nil))

	k.c.mu.Lock()
	defer k.c.mu.Unlock()
	if k.ended {
		return
	}
	k.ended = true
	if !k.c.joinedLocked() {
		k.c.s.CloseAfter(packets...)
		return
	}
	_ = k.c.s.Send(packets...)
	k.c.s.InTurn(func() { k.disconnected(engine.ServerDisconnect) })
}

// receive handles a packet of the client. What comes after the server has ended the connection is dropped: the client
// did not know when it sent that.
func (k *conn) receive(p *Packet) {
	switch {
	case p.Kind == Disconnect:
		k.leave()
	case k.isEnded():
	case p.Kind == Event:
		k.recv.Event(p.Name, p.Args(), k.answer(p))
	case p.Kind == Ack:
		if done := k.takeAck(p.ID); done != nil {
			done(p.Args(), nil)
		}
	}
}

func (k *conn) isEnded() bool {
	k.c.mu.Lock()
	defer k.c.mu.Unlock()
	return k.ended
}

// answer is how an event is acknowledged, nil if its client did not ask for that.
func (k *conn) answer(p *Packet) engine.Ack {
	if !p.HasID {
		return nil
	}
	id := p.ID
	var used atomic.Bool
	return func(reply ...any) error {
		m, err := engine.NewReply(reply...)
		if err != nil {
			return err
		}
		if used.Swap(true) {
			return errAnswered
		}
		err = k.send(encodeMessage(Ack, k.namespace, true, id, m))
		if errors.Is(err, engine.ErrTooLarge) {
			used.Store(false) // so that the client can still be told that there is no reply
		}
		return err
	}
}

// leave is the client's DISCONNECT.
func (k *conn) leave() {
	k.c.mu.Lock()
	k.ended = true
	k.c.removeLocked(k)
	joined := k.c.joinedLocked()
	k.c.mu.Unlock()
	if !joined {
		k.c.s.JoinBy(k.c.s.Options().ConnectTimeout)
	}
	k.disconnected(engine.ClientDisconnect)
}

// disconnected reports the end, first to those who wait for acknowledgements. It is the caller's turn.
func (k *conn) disconnected(reason engine.Reason) {
	if k.reported {
		return
	}
	k.reported = true
	k.c.mu.Lock()
	k.ended = true
	acks := k.acks
	k.acks = nil
	k.c.mu.Unlock()
	for _, id := range slices.Sorted(maps.Keys(acks)) {
		k.c.s.Contain(func() { acks[id](engine.Args{}, engine.ErrClosed) })
	}
	k.c.s.Contain(func() { k.recv.Disconnected(reason) })
}
