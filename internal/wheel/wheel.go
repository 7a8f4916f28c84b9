// Package wheel is a timer wheel without timers, goroutines or pointers: it has records, known by
// numbers, and returns those whose minute has come, one at a time, whenever it is asked.
package wheel

import "time"

const (
	levels = 3 // of minutes, of hours of 64 minutes, and of 64 such hours: 182 days
	bits   = 6
	slots  = 1 << bits
)

// Links are the records of a wheel. Each keeps the number of the next one in its slot.
type Links interface {
	Due(n uint32) *uint32
}

// A Wheel has records, each in one slot. A record that is due later than the wheel reaches is
// returned earlier, and the caller adds it again.
type Wheel struct {
	heads  [levels][slots]uint32
	counts [levels]int
	done   int64 // nothing is left in the minutes before this one
}

// New returns an empty wheel.
func New(now time.Time) Wheel { return Wheel{done: minute(now)} }

// minute returns the number of a minute, which is negative before 1970.
func minute(t time.Time) int64 { return t.Unix() / 60 }

// slot returns where a level has the records of a minute.
func slot(minute int64, level int) int64 { return minute >> (bits * level) & (slots - 1) }

// rewind makes sure that records added after the clock was set back are not returned late.
func (w *Wheel) rewind(now time.Time) { w.done = min(w.done, minute(now)+1) }

// Len returns how many records the wheel has.
func (w *Wheel) Len() int { return w.counts[0] + w.counts[1] + w.counts[2] }

// Add has a record returned once the minute of at is over.
func (w *Wheel) Add(n uint32, at, now time.Time, links Links) {
	w.rewind(now)
	w.put(n, max(minute(at)+1, w.done), links)
}

func (w *Wheel) put(n uint32, due int64, links Links) {
	level := 0
	for level < levels-1 && due-w.done >= slots<<(bits*level) {
		level++
	}
	// The last slot of a level that is not the one of now itself.
	due = min(due, w.done+(slots-1)<<(bits*level))
	head := &w.heads[level][slot(due, level)]
	*links.Due(n), *head = *head, n
	w.counts[level]++
}

// Next removes a record whose time may have come, and reports whether there is one. The caller adds
// it again if it is to be later.
func (w *Wheel) Next(now time.Time, links Links) (n uint32, ok bool) {
	w.rewind(now)
	for current := minute(now); w.done <= current; w.step(current) {
		for level := range levels {
			if w.done&(1<<(bits*level)-1) != 0 {
				break // the slot of a level is due when it begins
			}
			head := &w.heads[level][slot(w.done, level)]
			if n = *head; n != 0 {
				link := links.Due(n)
				*head, *link = *link, 0
				w.counts[level]--
				return n, true
			}
		}
	}
	return 0, false
}

// step goes on to the next minute, or to the next in which there may be a record.
func (w *Wheel) step(current int64) {
	step := int64(1)
	for level := 0; level < levels && w.counts[level] == 0; level++ {
		step <<= bits
	}
	w.done = min(w.done&^(step-1)+step, current+1)
}
