// Package fairqueue shares a few workers among many who wait: those of one name take turns with those of the others, so that
// whoever brings many delays mostly their own. Where names are easily made up, they are of one crowd, which takes turns
// with the other crowds, and they take the crowd's turns among themselves.
package fairqueue

import (
	"context"
	"errors"
	"slices"
	"sync"
)

// ErrFull is the error of one too many.
var ErrFull = errors.New("fairqueue: too many wait")

// Queue is made by New and safe for concurrent use.
type Queue struct {
	mu     sync.Mutex
	free   int               // workers; where there are any, nobody waits
	room   int               // for more who wait
	crowds map[string]*crowd // who waits
	next   []string          // the crowds, in the order of their turns
}

// crowd is those of one crowd who wait.
type crowd struct {
	waiting int
	lines   map[string][]chan error // by name; each is told once
	next    []string                // the names, in the order of their turns
}

// New shares so many workers among those at work and so many more that wait.
func New(workers, waiting int) *Queue {
	return &Queue{free: workers, room: waiting, crowds: make(map[string]*crowd)}
}

// Begin waits for a worker, whom End gives back; the name may be empty, and is one of its crowd. Errors: the context's,
// ErrFull. Where there is no room to wait, the crowd that has most waiting loses one to a crowd that has fewer: the last of
// its name that has most. Within a crowd it is the same with names.
func (q *Queue) Begin(ctx context.Context, crowd, name string) error {
	told, err := q.wait(crowd, name)
	if told == nil {
		return err
	}
	select {
	case err := <-told:
		return err
	case <-ctx.Done():
	}
	if !q.leave(crowd, name, told) && <-told == nil { // it was its turn just now
		q.End()
	}
	return ctx.Err()
}

// wait gets in line, unless there is a worker or no room.
func (q *Queue) wait(of, name string) (told chan error, err error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.free > 0 {
		q.free--
		return nil, nil
	}
	if q.room == 0 && !q.makeRoomLocked(of, name) {
		return nil, ErrFull
	}
	c := q.crowds[of]
	if c == nil {
		c = &crowd{lines: make(map[string][]chan error)}
		q.crowds[of] = c
		q.next = append(q.next, of)
	}
	if len(c.lines[name]) == 0 {
		c.next = append(c.next, name)
	}
	told = make(chan error, 1)
	c.lines[name] = append(c.lines[name], told)
	c.waiting++
	q.room--
	return told, nil
}

// makeRoomLocked sends one of the largest crowd away, if that is larger than the newcomer's will be, or of the newcomer's
// own one of the longest line, if that is longer than the newcomer's will be.
func (q *Queue) makeRoomLocked(of, name string) bool {
	own := q.crowds[of]
	most, loses := 1, of
	if own != nil {
		most += own.waiting
	}
	for name, c := range q.crowds {
		if c.waiting > most {
			most, loses = c.waiting, name
		}
	}
	from, least := q.crowds[loses], 1
	if loses == of {
		if own == nil {
			return false
		}
		least += len(own.lines[name]) + 1
	}
	longest := ""
	for name, line := range from.lines {
		if len(line) >= least {
			longest, least = name, len(line)+1
		}
	}
	line := from.lines[longest]
	if len(line)+1 != least {
		return false
	}
	last := line[len(line)-1]
	q.removeLocked(loses, longest, len(line)-1)
	last <- ErrFull // has room: each is told once
	return true
}

// leave takes one who waits out of line. False: it was told already.
func (q *Queue) leave(of, name string, told chan error) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	c := q.crowds[of]
	if c == nil {
		return false
	}
	at := slices.Index(c.lines[name], told)
	if at >= 0 {
		q.removeLocked(of, name, at)
	}
	return at >= 0
}

// End gives a worker back, or on to the first in line of the name whose turn it is, of the crowd whose turn it is.
func (q *Queue) End() {
	q.mu.Lock()
	defer q.mu.Unlock()
	if len(q.next) == 0 {
		q.free++
		return
	}
	of := q.next[0]
	c := q.crowds[of]
	name := c.next[0]
	first := c.lines[name][0]
	q.removeLocked(of, name, 0)
	if len(c.lines[name]) > 0 {
		c.next = append(c.next[1:], name)
	}
	if c.waiting > 0 {
		q.next = append(q.next[1:], of)
	}
	first <- nil
}

func (q *Queue) removeLocked(of, name string, at int) {
	q.room++
	c := q.crowds[of]
	c.waiting--
	c.lines[name] = slices.Delete(c.lines[name], at, at+1)
	if len(c.lines[name]) == 0 {
		delete(c.lines, name)
		c.next = without(c.next, name)
	}
	if c.waiting == 0 {
		delete(q.crowds, of)
		q.next = without(q.next, of)
	}
}

func without(names []string, name string) []string {
	return slices.DeleteFunc(names, func(other string) bool { return other == name })
}

// Waiting is how many wait.
func (q *Queue) Waiting() (n int) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for _, c := range q.crowds {
		n += c.waiting
	}
	return n
}
