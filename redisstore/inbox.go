package redisstore

import "sync"

// An inbox calls the functions of one subscription, one at a time and in order, in a goroutine of
// its own that runs only while something waits. What waits is bounded: if there is too
// much, the rest is dropped and the gap is told. It is safe for concurrent use.
type inbox[T any] struct {
	tell func(T)
	gap  func()

	mu      sync.Mutex
	queue   []letter[T]
	size    int // of what waits, in bytes
	running bool
	ended   bool
	stopped *sync.Cond // signals that running has become false
}

// letter is a message, or a gap.
type letter[T any] struct {
	message T
	size    int
	gap     bool
}

// What may wait in an inbox. A message counts for its bytes and those of its letter.
const (
	maxInbox     = 4 << 20
	sizeOfLetter = 64
)

func newInbox[T any](tell func(T), gap func()) *inbox[T] {
	in := &inbox[T]{tell: tell, gap: gap}
	in.stopped = sync.NewCond(&in.mu)
	return in
}

// put adds a message of a size in bytes.
func (in *inbox[T]) put(message T, size int) {
	size += sizeOfLetter
	in.mu.Lock()
	defer in.mu.Unlock()
	// A message that is larger than what may wait passes if nothing does.
	if in.size > 0 && in.size+size > maxInbox {
		in.add(letter[T]{gap: true})
		return
	}
	in.add(letter[T]{message: message, size: size})
}

// putGap adds that messages may have been lost.
func (in *inbox[T]) putGap() {
	in.mu.Lock()
	defer in.mu.Unlock()
	in.add(letter[T]{gap: true})
}

func (in *inbox[T]) add(l letter[T]) {
	if in.ended || l.gap && len(in.queue) > 0 && in.queue[len(in.queue)-1].gap {
		return
	}
	in.queue = append(in.queue, l)
	in.size += l.size
	if !in.running {
		in.running = true
		go in.run()
	}
}

// run ends once nothing waits; end waits for it.
func (in *inbox[T]) run() {
	in.mu.Lock()
	defer in.mu.Unlock()
	for len(in.queue) > 0 {
		l := in.queue[0]
		in.queue[0] = letter[T]{}
		in.queue = in.queue[1:]
		in.size -= l.size
		in.mu.Unlock()
		if l.gap {
			in.gap()
		} else {
			in.tell(l.message)
		}
		in.mu.Lock()
	}
	in.queue = nil
	in.running = false
	in.stopped.Broadcast()
}

// end drops what waits, and waits for a function that is being called.
func (in *inbox[T]) end() {
	in.mu.Lock()
	defer in.mu.Unlock()
	in.ended = true
	in.queue, in.size = nil, 0
	for in.running {
		in.stopped.Wait()
	}
}
