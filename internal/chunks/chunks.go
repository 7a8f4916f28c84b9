// Package chunks makes the pages of something that grows, several in one piece of memory. The
// garbage collector so has few pieces to mark, although pages can be small, for small things.
package chunks

import (
	"math/bits"
	"unsafe"
)

// A piece is at most 1/part of the pages that were made before it, and so takes little more than
// what is used; and it has at most pieceBytes, which are made in some microseconds.
const (
	part       = 16
	pieceBytes = 64 << 10
)

// A Source makes pages of elements. The zero value is ready to use.
type Source[T any] struct {
	spare []T
	pages int // that were made
}

// Page returns a page of zero elements. The size of a page is to be the same each time.
func (s *Source[T]) Page(size int) []T {
	if len(s.spare) == 0 {
		var element T
		most := pieceBytes / (uintptr(size) * unsafe.Sizeof(element))
		s.spare = make([]T, size*powerOfTwo(min(s.pages/part, int(most))))
	}
	page := s.spare[:size:size]
	s.spare = s.spare[size:]
	s.pages++
	return page
}

// powerOfTwo returns the largest power of two up to n, and at least 1. Of the sizes of memory that
// the runtime has, such multiples of a page waste the least.
func powerOfTwo(n int) int { return 1 << max(0, bits.Len(uint(n))-1) }
