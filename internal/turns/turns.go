// Package turns shares a few workers among many who wait: those of one name take turns with those of the others, so that
// whoever brings many delays mostly their own.
package turns

import (
	"context"
	"errors"
	"slices"
	"sync"
)

// ErrFull is the error of one too many.
var ErrFull = errors.New("turns: too many wait")

// Turns is made by New and safe for concurrent use.
type Turns struct {
	mu    sync.Mutex
	free  int                     // workers; where there are any, nobody waits
	room  int                     // for more who wait
	lines map[string][]chan error // who waits, by name; each is told once
	next  []string                // the names, in the order of their turns
}

// New shares so many workers among those at work and so many more that wait.
func New(workers, waiting int) *Turns {
	return &Turns{free: workers, room: waiting, lines: make(map[string][]chan error)}
}

// Begin waits for a worker, whom End gives back. Errors: the context's, ErrFull. Where there is no room to wait, the name
// that has most waiting loses its last one to a name that has fewer.
func (t *Turns) Begin(ctx context.Context, name string) error {
	told, err := t.wait(name)
	if told == nil {
		return err
	}
	select {
	case err := <-told:
		return err
	case <-ctx.Done():
	}
	if !t.leave(name, told) && <-told == nil { // it was its turn just now
		t.End()
	}
	return ctx.Err()
}

// wait gets in line, unless there is a worker or no room.
func (t *Turns) wait(name string) (told chan error, err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.free > 0 {
		t.free--
		return nil, nil
	}
	if t.room == 0 && !t.makeRoomLocked(name) {
		return nil, ErrFull
	}
	if len(t.lines[name]) == 0 {
		t.next = append(t.next, name)
	}
	told = make(chan error, 1)
	t.lines[name] = append(t.lines[name], told)
	t.room--
	return told, nil
}

// makeRoomLocked sends the last of the longest line away, if that is longer than the newcomer's will be.
func (t *Turns) makeRoomLocked(newcomer string) bool {
	longest, most := "", len(t.lines[newcomer])+1
	for name, line := range t.lines {
		if len(line) > most {
			longest, most = name, len(line)
		}
	}
	line := t.lines[longest]
	if len(line) < most {
		return false
	}
	last := line[len(line)-1]
	t.removeLocked(longest, len(line)-1)
	last <- ErrFull // has room: each is told once
	return true
}

// leave takes one who waits out of line. False: it was told already.
func (t *Turns) leave(name string, told chan error) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	at := slices.Index(t.lines[name], told)
	if at >= 0 {
		t.removeLocked(name, at)
	}
	return at >= 0
}

// End gives a worker back, or on to the first in line of the name whose turn it is.
func (t *Turns) End() {
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.next) == 0 {
		t.free++
		return
	}
	name := t.next[0]
	first := t.lines[name][0]
	t.removeLocked(name, 0)
	if len(t.lines[name]) > 0 {
		t.next = append(t.next[1:], name)
	}
	first <- nil
}

func (t *Turns) removeLocked(name string, at int) {
	t.room++
	t.lines[name] = slices.Delete(t.lines[name], at, at+1)
	if len(t.lines[name]) == 0 {
		delete(t.lines, name)
		t.next = slices.DeleteFunc(t.next, func(other string) bool { return other == name })
	}
}

// Waiting is how many wait.
func (t *Turns) Waiting() (n int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, line := range t.lines {
		n += len(line)
	}
	return n
}
