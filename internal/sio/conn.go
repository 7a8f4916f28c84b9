package sio

import (
	"errors"
	"maps"
	"slices"
	"sync/atomic"

	"github.com/z-open/socketauth/internal/eio"
	"github.com/z-open/socketauth/internal/engine"
)

var errAnswered = errors.New("sio: already acknowledged")

// conn is one client in one namespace.
type conn struct {
	c         *Client
	namespace string
	id        string

	// Used only in calls from the session, which are made one at a time.
	recv     engine.Receiver
	reported bool // Disconnected was called

	// Guarded by the client's lock.
	ended  bool // nothing more is sent or received
	lastID uint64
	acks   map[uint64]func(engine.Args, error) // waiting, by id; made when first needed
}

var _ engine.Conn = (*conn)(nil)

// noopReceiver is the receiver until Accept has returned one.
type noopReceiver struct{}

func (noopReceiver) Event(string, engine.Args, engine.Ack) {}
func (noopReceiver) Disconnected(engine.Reason)            {}

func (k *conn) ID() string { return k.id }

func (k *conn) SessionID() string { return k.c.s.ID() }

func (k *conn) Trust() { k.c.s.Trust() }

func (k *conn) Reconnect() { k.c.s.Reconnect() }

func (k *conn) Emit(m *engine.Message) error {
	return k.send(encodeMessage(Event, k.namespace, false, 0, m))
}

func (k *conn) EmitShared(m *engine.Message, mayDrop bool) error {
	packets := encodeEvent(k.namespace, m)
	k.c.mu.Lock()
	defer k.c.mu.Unlock()
	if k.ended {
		return engine.ErrClosed
	}
	if mayDrop {
		return k.c.s.SendOrDrop(packets...)
	}
	return k.c.s.Send(packets...)
}

// send sends packets, as far as possible before it returns.
func (k *conn) send(packets []eio.Packet) error {
	err := k.enqueue(packets)
	if err == nil {
		k.c.s.Flush()
	}
	return err
}

func (k *conn) enqueue(packets []eio.Packet) error {
	k.c.mu.Lock()
	defer k.c.mu.Unlock()
	if k.ended {
		return engine.ErrClosed
	}
	return k.c.s.Enqueue(packets...)
}

func (k *conn) EmitAck(m *engine.Message, done func(engine.Args, error)) (forget func(), err error) {
	id, err := k.enqueueAck(m, done)
	if err != nil {
		return nil, err
	}
	k.c.s.Flush()
	return func() { k.takeAck(id) }, nil
}

func (k *conn) enqueueAck(m *engine.Message, done func(engine.Args, error)) (id uint64, err error) {
	k.c.mu.Lock()
	defer k.c.mu.Unlock()
	if k.ended {
		return 0, engine.ErrClosed
	}
	id = k.lastID
	if err := k.c.s.Enqueue(encodeMessage(Event, k.namespace, true, id, m)...); err != nil {
		return 0, err
	}
	k.lastID++
	if k.acks == nil {
		k.acks = make(map[uint64]func(engine.Args, error))
	}
	k.acks[id] = done
	return id, nil
}

// takeAck ends the wait for an acknowledgement and returns its function, or nil if there is none.
func (k *conn) takeAck(id uint64) func(engine.Args, error) {
	k.c.mu.Lock()
	defer k.c.mu.Unlock()
	done := k.acks[id]
	delete(k.acks, id)
	return done
}

// Close implements engine.Conn. It ends the session too, unless the client is in another namespace.
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
	k.c.s.Serialize(func() { k.disconnected(engine.ServerDisconnect) })
}

// receive handles a packet of the client. After the server has closed the connection it ignores
// packets, which the client may have sent before it knew.
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

// answer returns the function that acknowledges an event, or nil if the client did not ask for it.
func (k *conn) answer(p *Packet) engine.Ack {
	if !p.HasID {
		return nil
	}
	a := &answer{conn: k, id: p.ID}
	return a.send
}

// answer is the acknowledgement of one event.
type answer struct {
	conn   *conn
	id     uint64
	used   atomic.Bool
	packet [1]eio.Packet // the reply, if it has no attachments
}

// send is an engine.Ack.
func (a *answer) send(reply ...any) error {
	var m engine.Message
	if err := m.SetReply(reply); err != nil {
		return err
	}
	if a.used.Swap(true) {
		return errAnswered
	}
	err := a.conn.send(appendMessage(a.packet[:0], Ack, a.conn.namespace, true, a.id, &m))
	if errors.Is(err, engine.ErrTooLarge) {
		a.used.Store(false) // so that the client can still be sent an error
	}
	return err
}

// leave handles the client's DISCONNECT.
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

// disconnected reports the end, first to the functions that wait for acknowledgements. The caller
// makes sure that no other call of the receiver is in progress.
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
