// Package slab keeps many records of one type in pages. A record is known by its number, so that
// records refer to each other without pointers and the garbage collector has only the pages to
// follow.
package slab

import "github.com/z-open/socketauth/internal/chunks"

// pageSize is how many records a page has. A slab grows by one page at a time and moves no record.
const pageSize = 64

// A Record is a type of which a slab has many. Link is where a record that is free keeps the number
// of the next one.
type Record[T any] interface {
	*T
	Link() *uint32
}

// A Slab is a set of records. The zero value is empty and ready to use. Its memory is that of the
// most records that it had at once.
type Slab[T any, P Record[T]] struct {
	pages []*[pageSize]T
	made  chunks.Source[T]
	free  uint32 // the record that was freed last, or 0
	used  uint32 // how many numbers were ever given out
	count int
}

// At returns the record of a number that Take has returned.
func (s *Slab[T, P]) At(n uint32) P { return &s.pages[(n-1)/pageSize][(n-1)%pageSize] }

// Take returns the number of a zero record. It is never 0, which can stand for none.
func (s *Slab[T, P]) Take() uint32 {
	s.count++
	if n := s.free; n != 0 {
		link := s.At(n).Link()
		s.free, *link = *link, 0
		return n
	}
	if int(s.used) == len(s.pages)*pageSize {
		s.pages = append(s.pages, (*[pageSize]T)(s.made.Page(pageSize)))
	}
	s.used++
	return s.used
}

// Free gives a record back.
func (s *Slab[T, P]) Free(n uint32) {
	s.count--
	var zero T
	r := s.At(n)
	*r = zero
	*r.Link(), s.free = s.free, n
}

// Len returns how many records are in use.
func (s *Slab[T, P]) Len() int { return s.count }
