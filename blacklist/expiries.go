package blacklist

import "sync"

// expiries counts the living sessions by the second in which they expire, so that all of them are
// counted without a look at any. It is safe for concurrent use.
type expiries struct {
	mu    sync.Mutex
	pages map[int64]*expiryPage
}

const expirySeconds = 510 // in a page, which so takes 2048 bytes

type expiryPage struct {
	counts [expirySeconds]int32
	total  int
}

// move moves a session from one second to another. Zero stands for none.
func (e *expiries) move(from, to int64) {
	if from == to {
		return
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	e.add(to, 1)
	e.add(from, -1)
}

func (e *expiries) add(second int64, n int32) {
	if second == 0 {
		return
	}
	number := second / expirySeconds
	p := e.pages[number]
	if p == nil {
		if e.pages == nil {
			e.pages = make(map[int64]*expiryPage)
		}
		p = new(expiryPage)
		e.pages[number] = p
	}
	p.counts[second%expirySeconds] += n
	if p.total += int(n); p.total == 0 {
		delete(e.pages, number)
	}
}

// take removes all sessions, and returns how many expire after now.
func (e *expiries) take(now int64) (living int) {
	e.mu.Lock()
	defer e.mu.Unlock()
	for number, p := range e.pages {
		switch {
		case number > now/expirySeconds:
			living += p.total
		case number == now/expirySeconds:
			for _, n := range p.counts[max(0, now%expirySeconds+1):] { // before 1970 all of page 0
				living += int(n)
			}
		}
	}
	e.pages = nil
	return living
}
