package eio

import (
	"errors"
	"sync"
	"syscall"
	"time"

	"github.com/z-open/socketauth/internal/engine"
	"github.com/z-open/socketauth/internal/workers"
)

// What is queued for a websocket is written by one of these, in this order:
//
//   - The goroutine that queued it, in Flush, if the connection takes it at once.
//   - The engine's flusher, for what goes to many clients: it takes whatever is queued by then.
//   - A worker of its own, if the connection does not take it at once or does not tell.

// errWait means that nothing more can be written without waiting.
var errWait = errors.New("eio: cannot write now")

// burst is how soon after Flush has written something it leaves the next to the flusher. What is
// queued in quick succession is then written in one go.
const burst = 10 * time.Microsecond

// Send queues packets that belong together, and has them written soon. They must not be changed
// afterwards. Its errors are engine.ErrClosed, engine.ErrSlow and engine.ErrTooLarge.
func (s *Session) Send(packets ...Packet) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.enqueueLocked(packets); err != nil {
		return err
	}
	s.flushLocked()
	return nil
}

// SendOrDrop is Send, unless much is waiting for the client already: then it returns
// engine.ErrSlow, and the session goes on.
func (s *Session) SendOrDrop(packets ...Packet) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	size := cost(packets)
	if s.state == open && size <= s.maxQueue() && (s.out.waiting > s.lowWater() || s.out.waiting+size > s.maxQueue()) {
		return engine.ErrSlow
	}
	if err := s.enqueueLocked(packets); err != nil {
		return err
	}
	s.flushLocked()
	return nil
}

// Enqueue is Send for a caller that calls Flush next, without a lock.
func (s *Session) Enqueue(packets ...Packet) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.enqueueLocked(packets)
}

func (s *Session) enqueueLocked(packets []Packet) error {
	if s.state == open && cost(packets) > s.maxQueue() {
		return engine.ErrTooLarge
	}
	return s.queueLocked(packets)
}

// Flush writes what Enqueue has queued as far as that is possible without waiting, and leaves the
// rest to another goroutine.
func (s *Session) Flush() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.flushNowLocked()
}

func (s *Session) flushNowLocked() {
	if s.out.writing || !s.unwrittenLocked() {
		return
	}
	if s.ws == nil || s.ws.input.raw == nil || s.out.flushed > 0 && s.e.now()-s.out.flushed < burst {
		s.flushLocked()
		return
	}
	s.Hold()
	s.out.writing = true
	s.attemptLocked()
	s.out.flushed = s.e.now()
	s.Done()
}

// flushDelay is how long FlushSoon waits for more to write.
const flushDelay = 5 * time.Millisecond

// delayed holds the sessions that FlushSoon was called for and that wait.
type delayed struct {
	mu       sync.Mutex
	sessions []*Session
}

// FlushSoon is Flush for a caller who knows that more will be queued and flushed within moments, so
// that all of it is written in one go. If that takes longer, it is not waited for.
func (s *Session) FlushSoon() {
	e := s.e
	e.delayed.mu.Lock()
	defer e.delayed.mu.Unlock()
	if e.delayed.sessions = append(e.delayed.sessions, s); len(e.delayed.sessions) == 1 {
		e.tasks.Add(1)
		time.AfterFunc(flushDelay, e.flushDelayed)
	}
}

func (e *Engine) flushDelayed() {
	defer e.done()
	e.delayed.mu.Lock()
	sessions := e.delayed.sessions
	e.delayed.sessions = nil
	e.delayed.mu.Unlock()
	for _, s := range sessions {
		s.Flush()
	}
}

// flushLocked hands the queue to a writer, if there is something to write and a way to write it.
func (s *Session) flushLocked() {
	switch {
	case s.out.writing || !s.unwrittenLocked():
	case s.ws != nil:
		s.out.writing = true
		s.Hold()
		if s.ws.input.raw == nil {
			s.e.workers.Go((*writer)(s))
		} else {
			s.e.flusher.add(s)
		}
	case s.poll != nil:
		s.answerPollLocked(s.takeLocked())
	}
}

// attemptLocked writes one batch as far as that is possible without waiting. The caller has set
// out.writing. The lock is released meanwhile.
func (s *Session) attemptLocked() {
	b := s.takeLocked()
	ws := s.ws
	s.mu.Unlock()
	rest, err := s.e.tryBatch(ws, b)
	s.mu.Lock()
	if rest != nil {
		rest.s = s
		s.Hold()
		s.e.workers.Go(rest)
		return
	}
	s.wroteLocked(b, err)
	if s.out.writing = s.unwrittenLocked(); s.out.writing {
		s.Hold()
		s.e.flusher.add(s)
	}
}

// flush is the turn of a session in the flusher.
func (s *Session) flush() {
	s.mu.Lock()
	defer s.mu.Unlock()
	defer s.Done()
	if s.unwrittenLocked() {
		s.attemptLocked()
	} else {
		s.out.writing = false
	}
}

// flusher writes what is queued for sessions, one after the other, as far as that is possible
// without waiting. Few goroutines do so at a time, so that whoever queues something for many
// sessions does not start as many, and what is queued for one session meanwhile is written in one
// go.
type flusher struct {
	pool *workers.Pool
	most int // how many goroutines write at a time

	mu       sync.Mutex
	sessions []*Session // those before next have had their turn
	next     int
	running  int // goroutines
}

// maxFlushing is the capacity of the longest list of sessions that is kept when it is empty.
const maxFlushing = 1024

// add gives a session a turn. Its outbox says that it is writing, so that it has one turn at a
// time.
func (f *flusher) add(s *Session) {
	f.mu.Lock()
	defer f.mu.Unlock()
	// Use the space of those that had their turn, if it is worth moving the others.
	if len(f.sessions) == cap(f.sessions) && f.next > len(f.sessions)/2 {
		n := copy(f.sessions, f.sessions[f.next:])
		clear(f.sessions[n:])
		f.sessions, f.next = f.sessions[:n], 0
	}
	f.sessions = append(f.sessions, s)
	if f.running < f.most {
		f.running++
		f.pool.Go(f)
	}
}

// Run implements workers.Task.
func (f *flusher) Run() {
	for s := f.take(); s != nil; s = f.take() {
		s.flush()
	}
}

// take returns the session whose turn it is. If it returns nil, the goroutine ends its work.
func (f *flusher) take() *Session {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.next == len(f.sessions) {
		if f.running--; cap(f.sessions) > maxFlushing {
			f.sessions = nil
		}
		f.sessions, f.next = f.sessions[:0], 0
		return nil
	}
	s := f.sessions[f.next]
	f.sessions[f.next] = nil
	f.next++
	return s
}

// writer is the task of writing what is queued to the websocket, until nothing is left.
type writer Session

// Run implements workers.Task.
func (w *writer) Run() {
	s := (*Session)(w)
	defer s.Done()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.writeLocked()
}

// writeLocked writes what is queued until nothing is left. The lock is released meanwhile.
func (s *Session) writeLocked() {
	ws := s.ws
	for s.unwrittenLocked() {
		b := s.takeLocked()
		s.mu.Unlock()
		err := s.e.writeBatch(ws, b)
		s.mu.Lock()
		s.wroteLocked(b, err)
	}
	s.out.writing = false
}

// writeBatch writes the packets of a batch, many with one system call.
func (e *Engine) writeBatch(ws *WebSocket, b batch) error {
	ws.writing.Lock()
	defer ws.writing.Unlock()
	return e.writeRest(ws, &b, e.frames())
}

// writeRest writes frames and then what is left of their batch. The caller holds ws.writing.
func (e *Engine) writeRest(ws *WebSocket, b *batch, f *frames) error {
	defer e.releaseFrames(f)
	for len(f.bytes()) > 0 || f.fill(e, ws, b) {
		if err := ws.write(f.bytes(), e.o.WriteTimeout); err != nil {
			return err
		}
		f.reset()
	}
	return nil
}

// tryBatch writes the packets of a batch as far as that is possible without waiting. It returns a
// task that writes the rest, if there is one.
func (e *Engine) tryBatch(ws *WebSocket, b batch) (*rest, error) {
	f := e.frames()
	if !ws.writing.TryLock() {
		return &rest{ws: ws, batch: b, frames: f}, nil
	}
	for f.fill(e, ws, &b) {
		if err := f.try(ws.input.raw); err != nil {
			ws.closed = true
			ws.writing.Unlock()
			e.releaseFrames(f)
			return nil, err
		}
		if len(f.bytes()) > 0 {
			return &rest{ws: ws, batch: b, frames: f, locked: true}, nil
		}
	}
	ws.writing.Unlock()
	e.releaseFrames(f)
	return nil, nil
}

// rest is the task of writing what the connection did not take at once.
type rest struct {
	s      *Session
	ws     *WebSocket
	batch  batch   // without what is in frames or was written
	frames *frames // a part of them may have been written
	locked bool    // the task holds ws.writing
}

// Run implements workers.Task.
func (r *rest) Run() {
	s := r.s
	defer s.Done()
	err := r.write()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.wroteLocked(r.batch, err)
	s.out.writing = true
	s.writeLocked()
}

func (r *rest) write() error {
	if !r.locked {
		r.ws.writing.Lock()
	}
	defer r.ws.writing.Unlock()
	return r.s.e.writeRest(r.ws, &r.batch, r.frames)
}

// frames are encoded websocket frames on their way out.
type frames struct {
	shared []byte // of a packet that is written alone; used in place of buf if it is not nil
	buf    []byte
	done   int                   // how many bytes of them were written
	err    error                 // of writeFD
	write  func(fd uintptr) bool // writeFD
}

func (e *Engine) frames() *frames {
	if f, ok := e.encoded.Get().(*frames); ok {
		return f
	}
	f := new(frames)
	f.write = f.writeFD
	return f
}

func (e *Engine) releaseFrames(f *frames) {
	if cap(f.buf) <= maxPooled {
		f.reset()
		e.encoded.Put(f)
	}
}

func (f *frames) reset() { f.shared, f.buf, f.done, f.err = nil, f.buf[:0], 0, nil }

// bytes returns what has not been written.
func (f *frames) bytes() []byte {
	if f.shared != nil {
		return f.shared[f.done:]
	}
	return f.buf[f.done:]
}

// fill replaces the frames by the next ones of a batch, which it removes from it, and reports
// whether there were any. There are none once the websocket is closed. The caller holds ws.writing.
func (f *frames) fill(e *Engine, ws *WebSocket, b *batch) bool {
	f.reset()
	if ws.closed || ws.leaving.Load() {
		return false
	}
	if ws.accept != "" {
		f.buf = append(f.buf, ws.takeAccept()...)
	} else if len(b.packets) == 1 && b.packets[0].frame != nil {
		f.shared, b.packets = b.packets[0].frame, nil
		return true
	}
	for len(b.packets) > 0 && len(f.buf) < writeSize {
		f.buf = appendFrame(f.buf, e.protocol.Frame(b.packets[0], b.b64))
		b.packets = b.packets[1:]
	}
	if b.last && len(b.packets) == 0 {
		b.last, ws.closed = false, true
		f.buf = append(f.buf, closeFrame(0)...)
	}
	return len(f.buf) > 0
}

// try writes what is possible without waiting.
func (f *frames) try(raw syscall.RawConn) error {
	err := raw.Write(f.write)
	if err == nil {
		err = f.err
	}
	return err
}

// writeFD writes what is possible without waiting. It returns true in any case, so that its caller
// does not wait either.
func (f *frames) writeFD(fd uintptr) bool {
	n, err := writeNow(fd, f.bytes())
	if f.done += n; err != errWait {
		f.err = err
	}
	return true
}
