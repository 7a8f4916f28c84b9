package cluster

import "time"

// queue is what waits to be published. Urgent messages, which are questions, answers and goodbyes,
// go first, but every ninth message is another one if there are any.
type queue struct {
	urgent, bulk fifo
	inRow        int // urgent messages
}

const (
	maxBulk        = 8192
	maxBulkBytes   = 16 << 20
	maxUrgent      = 8192
	maxUrgentBytes = 64 << 20
	// maxWait is how long a message waits at most. After that it is dropped: the broker is out of
	// reach, and nothing is kept for later.
	maxWait   = 2 * time.Second
	maxInRow  = 8
	itemBytes = 100 // what a message costs in memory without its data
)

// item is one message that waits, or one that is published on one topic after the other.
type item struct {
	form   form
	kind   Kind
	topics []tag
	copied uint64 // the same in all copies, if there are several topics
	body   []byte
	since  time.Time
	asking *asking // of a question
}

func (i *item) size() int { return itemBytes + len(i.topics)*len(tag{}) + len(i.body) }

// fifo is a queue within limits.
type fifo struct {
	items []*item
	bytes int
}

func (f *fifo) push(i *item, items, bytes int) bool {
	if len(f.items) >= items || len(f.items) > 0 && f.bytes+i.size() > bytes {
		return false
	}
	f.items = append(f.items, i)
	f.bytes += i.size()
	return true
}

func (f *fifo) pop() *item {
	i := f.items[0]
	f.items[0] = nil
	if f.items = f.items[1:]; len(f.items) == 0 {
		f.items = nil
	}
	f.bytes -= i.size()
	return i
}

// push adds a message, and reports whether there was room for it.
func (q *queue) push(i *item) bool {
	if i.form == news {
		return q.bulk.push(i, maxBulk, maxBulkBytes)
	}
	return q.urgent.push(i, maxUrgent, maxUrgentBytes)
}

// pop returns the message whose turn it is, or nil.
func (q *queue) pop() *item {
	switch urgent, bulk := len(q.urgent.items) > 0, len(q.bulk.items) > 0; {
	case urgent && (!bulk || q.inRow < maxInRow):
		q.inRow++
		return q.urgent.pop()
	case bulk:
		q.inRow = 0
		return q.bulk.pop()
	}
	return nil
}

// pop takes the first element out of a slice that is a queue.
func pop[T any](queue *[]T) (first T) {
	var zero T
	first, (*queue)[0] = (*queue)[0], zero
	if *queue = (*queue)[1:]; len(*queue) == 0 {
		*queue = nil
	}
	return first
}
