// Package intern keeps texts that many share, each once, with a count of those that have it.
package intern

import (
	"strings"
	"sync"

	"github.com/z-open/socketauth/internal/slab"
)

// stripes is in how many parts a table is, so that not everyone waits for the same lock.
const stripes = 8

// A Table is a set of texts. A text is known by a number, 0 being the empty text. The zero value is
// empty and ready to use. It is safe for concurrent use.
type Table struct{ stripes [stripes]stripe }

type stripe struct {
	mu      sync.Mutex
	numbers map[string]uint32
	entries slab.Slab[entry, *entry] // so that growing copies none of them
}

type entry struct {
	text string
	uses uint32
	next uint32
}

// Link implements slab.Record.
func (e *entry) Link() *uint32 { return &e.next }

// stripeOf returns where a text is: its length and its end tell more than its beginning.
func (t *Table) stripeOf(text string) uint32 {
	h := uint32(len(text))
	for n := max(0, len(text)-16); n < len(text); n++ {
		h = h*31 + uint32(text[n])
	}
	return h % stripes
}

// Replace releases a text and returns the number of another, which may be the same.
func (t *Table) Replace(old uint32, text string) (n uint32) {
	if old != 0 && t.stripes[old%stripes].has(old/stripes, text) {
		return old
	}
	if text != "" {
		at := t.stripeOf(text)
		n = t.stripes[at].use(text)*stripes + at
	}
	t.Release(old)
	return n
}

// Release releases a text, which is forgotten once nobody has it.
func (t *Table) Release(n uint32) {
	if n != 0 {
		t.stripes[n%stripes].release(n / stripes)
	}
}

// Text returns a text that somebody has.
func (t *Table) Text(n uint32) string {
	if n == 0 {
		return ""
	}
	s := &t.stripes[n%stripes]
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.entries.At(n / stripes).text
}

// Len returns how many texts there are.
func (t *Table) Len() (n int) {
	for i := range t.stripes {
		s := &t.stripes[i]
		s.mu.Lock()
		n += len(s.numbers)
		s.mu.Unlock()
	}
	return n
}

func (s *stripe) has(n uint32, text string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.entries.At(n).text == text
}

func (s *stripe) use(text string) (n uint32) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if n, known := s.numbers[text]; known {
		s.entries.At(n).uses++
		return n
	}
	if s.numbers == nil {
		s.numbers = make(map[string]uint32)
	}
	n = s.entries.Take()
	e := s.entries.At(n)
	e.text, e.uses = strings.Clone(text), 1 // which may be part of a longer one
	s.numbers[e.text] = n
	return n
}

func (s *stripe) release(n uint32) {
	s.mu.Lock()
	defer s.mu.Unlock()
	e := s.entries.At(n)
	if e.uses--; e.uses == 0 {
		delete(s.numbers, e.text)
		s.entries.Free(n)
	}
}
