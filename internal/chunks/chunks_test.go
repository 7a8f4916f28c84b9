package chunks

import "testing"

// TestSource guards that no two pages share an element, and that pages are made in few pieces, none
// of which is large or more than a sixteenth of what is there.
func TestSource(t *testing.T) {
	type element [3]uint32
	const size, bytes = 64, 64 * 12
	var s Source[element]
	var pages [][]element
	pieces := 0
	for n := range 20_000 {
		if len(s.spare) == 0 {
			pieces++
		}
		page := s.Page(size)
		if more := len(s.spare)/size + 1; more > 1 && (more*part > n || more*bytes > pieceBytes) {
			t.Fatalf("%d pages are made at once after %d", more, n)
		}
		if len(page) != size || cap(page) != size {
			t.Fatalf("a page of %d, with room for %d", len(page), cap(page))
		}
		for i := range page {
			if page[i] != (element{}) {
				t.Fatalf("element %d of page %d is used", i, n)
			}
			page[i] = element{uint32(n), uint32(i), 1}
		}
		pages = append(pages, page)
	}
	for n, page := range pages {
		for i := range page {
			if page[i] != (element{uint32(n), uint32(i), 1}) {
				t.Fatalf("element %d of page %d has become %v", i, n, page[i])
			}
		}
	}
	if pieces > 500 {
		t.Errorf("%d pieces for %d pages", pieces, len(pages))
	}
}

// TestSourceOfLargePages guards that a page which is larger than a piece is made too, alone.
func TestSourceOfLargePages(t *testing.T) {
	var s Source[byte]
	for range 100 {
		if page := s.Page(pieceBytes + 1); len(page) != pieceBytes+1 || len(s.spare) != 0 {
			t.Fatalf("a page of %d, and %d to spare", len(page), len(s.spare))
		}
	}
}
