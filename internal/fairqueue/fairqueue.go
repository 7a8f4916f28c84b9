// Package fairqueue shares a few workers among many callers. Callers have names, and names take
// turns, so that whoever brings many calls mostly delays their own. Names that are easily made up
// belong to one group: groups take turns, and the names of a group share its turns.
package fairqueue

import (
	"context"
	"errors"
	"slices"
	"sync"
)

// ErrFull is returned by Acquire if too many callers wait.
var ErrFull = errors.New("fairqueue: too many wait")

// Queue is a fair queue for workers. Use New to create one. It is safe for concurrent use.
type Queue struct {
	mu     sync.Mutex
	free   int               // workers; if there are any, nobody waits
	room   int               // how many more may wait
	groups map[string]*group // those with callers that wait
	next   []string          // the groups, in the order of their turns
}

// group is the callers of one group that wait.
type group struct {
	waiting int
	lines   map[string][]chan error // by name; each channel gets one result
	next    []string                // the names, in the order of their turns
}

// New returns a queue for the given number of workers, in which as many callers as given may wait.
func New(workers, waiting int) *Queue {
	return &Queue{free: workers, room: waiting, groups: make(map[string]*group)}
}

// Acquire waits for a worker. Release must be called when the work is done. The name may be empty,
// which is one of the names of its group. Acquire returns the context's error or ErrFull.
//
// If there is no room to wait, and the group with the most callers waiting has more than the new
// caller's group would have, it loses one: the last caller of the name with the most. Within the
// group with the most callers the same applies to names.
func (q *Queue) Acquire(ctx context.Context, group, name string) error {
	turn, err := q.wait(group, name)
	if turn == nil {
		return err
	}
	select {
	case err := <-turn:
		return err
	case <-ctx.Done():
	}
	if !q.leave(group, name, turn) && <-turn == nil { // it has got a worker meanwhile
		q.Release()
	}
	return ctx.Err()
}

// wait adds a caller to those who wait, unless a worker is free or there is no room. The channel
// that it returns gets nil or ErrFull.
func (q *Queue) wait(of, name string) (turn chan error, err error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.free > 0 {
		q.free--
		return nil, nil
	}
	if q.room == 0 && !q.makeRoomLocked(of, name) {
		return nil, ErrFull
	}
	c := q.groups[of]
	if c == nil {
		c = &group{lines: make(map[string][]chan error)}
		q.groups[of] = c
		q.next = append(q.next, of)
	}
	if len(c.lines[name]) == 0 {
		c.next = append(c.next, name)
	}
	turn = make(chan error, 1)
	c.lines[name] = append(c.lines[name], turn)
	c.waiting++
	q.room--
	return turn, nil
}

// makeRoomLocked removes a caller from the largest group, if that is larger than the new caller's
// group will be, or else from the longest line of the new caller's group, if that is longer than
// the new caller's line will be.
func (q *Queue) makeRoomLocked(of, name string) bool {
	own := q.groups[of]
	most, loses := 1, of
	if own != nil {
		most += own.waiting
	}
	for name, c := range q.groups {
		if c.waiting > most {
			most, loses = c.waiting, name
		}
	}
	from, least := q.groups[loses], 1
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
	last <- ErrFull // does not block: each channel gets one result
	return true
}

// leave removes a caller that waits. It returns false if the caller has got its result already.
func (q *Queue) leave(of, name string, turn chan error) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	c := q.groups[of]
	if c == nil {
		return false
	}
	at := slices.Index(c.lines[name], turn)
	if at >= 0 {
		q.removeLocked(of, name, at)
	}
	return at >= 0
}

// Release gives a worker back, or passes it on to the first caller of the name whose turn it is, in
// the group whose turn it is.
func (q *Queue) Release() {
	q.mu.Lock()
	defer q.mu.Unlock()
	if len(q.next) == 0 {
		q.free++
		return
	}
	of := q.next[0]
	c := q.groups[of]
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
	c := q.groups[of]
	c.waiting--
	c.lines[name] = slices.Delete(c.lines[name], at, at+1)
	if len(c.lines[name]) == 0 {
		delete(c.lines, name)
		c.next = without(c.next, name)
	}
	if c.waiting == 0 {
		delete(q.groups, of)
		q.next = without(q.next, of)
	}
}

func without(names []string, name string) []string {
	return slices.DeleteFunc(names, func(other string) bool { return other == name })
}

// Waiting returns how many callers wait.
func (q *Queue) Waiting() (n int) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for _, c := range q.groups {
		n += c.waiting
	}
	return n
}
