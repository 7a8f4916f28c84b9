// Package texts keeps many short texts without a pointer to each, in pages of texts of one length.
// UUIDs and IPv6 addresses take 16 bytes.
package texts

import (
	"encoding/hex"
	"hash/maphash"
	"net/netip"

	"github.com/z-open/socketauth/internal/chunks"
)

// A Ref is what a text is known by. The zero Ref is that of the empty text.
//
// It is a form, a length and the number of the text among those of that length.
type Ref uint32

const (
	formShift, lengthShift = 30, 23

	maxLength = 1<<(formShift-lengthShift) - 1 // longer texts are in a map
	maxNumber = 1<<lengthShift - 1
)

// The forms of a text.
const (
	plain = iota
	uuid  // its 16 bytes
	ipv6  // its 16 bytes
	long  // the rest of the Ref is a key of Heap.long
)

// pageSize is how many texts a page has.
const pageSize = 64

// A Heap is a set of texts. The zero value is empty and ready to use. Its memory is that of the
// most texts that it had of each length.
type Heap struct {
	lengths [maxLength + 1]*pages
	long    map[Ref]string
	next    Ref // may be free in long
	count   int
}

// Len returns how many texts there are, without empty ones.
func (h *Heap) Len() int { return h.count }

// pages are texts of one length.
type pages struct {
	size int // of each, with room for the number of the next free one
	all  [][]byte
	made chunks.Source[byte]
	free uint32 // the last that was freed, or 0
	used uint32
}

func (p *pages) at(n uint32) []byte {
	first := int((n-1)%pageSize) * p.size
	return p.all[(n-1)/pageSize][first : first+p.size : first+p.size]
}

func (p *pages) take() (n uint32) {
	if n = p.free; n != 0 {
		b := p.at(n)
		p.free = uint32(b[0]) | uint32(b[1])<<8 | uint32(b[2])<<16
		return n
	}
	if int(p.used) == len(p.all)*pageSize {
		p.all = append(p.all, p.made.Page(pageSize*p.size))
	}
	p.used++
	return p.used
}

func (p *pages) put(n uint32) {
	b := p.at(n)
	b[0], b[1], b[2] = byte(p.free), byte(p.free>>8), byte(p.free>>16)
	p.free = n
}

// Put adds a text.
func (h *Heap) Put(text string) Ref {
	var room [maxLength]byte
	form, b := encode(room[:0], text)
	return h.put(form, b)
}

// PutBytes adds a text.
func (h *Heap) PutBytes(text []byte) Ref { return h.put(plain, text) }

func (h *Heap) put(form Ref, b []byte) Ref {
	if len(b) == 0 {
		return 0
	}
	h.count++
	if len(b) > maxLength {
		return h.putLong(string(b))
	}
	p := h.lengths[len(b)]
	if p == nil {
		p = &pages{size: max(len(b), 3)}
		h.lengths[len(b)] = p
	}
	if p.free == 0 && p.used == maxNumber {
		return h.putLong(string(decode(nil, form, b)))
	}
	n := p.take()
	copy(p.at(n), b)
	return form<<formShift | Ref(len(b))<<lengthShift | Ref(n)
}

func (h *Heap) putLong(text string) Ref {
	if h.long == nil {
		h.long = make(map[Ref]string)
	}
	for {
		h.next = (h.next + 1) % (1 << formShift)
		ref := long<<formShift | h.next
		if _, taken := h.long[ref]; !taken {
			h.long[ref] = text
			return ref
		}
	}
}

// Free removes a text.
func (h *Heap) Free(ref Ref) {
	if ref == 0 {
		return
	}
	if h.count--; ref>>formShift == long {
		delete(h.long, ref)
	} else {
		h.lengths[ref>>lengthShift&maxLength].put(uint32(ref & maxNumber))
	}
}

// Append appends a text to b.
func (h *Heap) Append(b []byte, ref Ref) []byte {
	switch form := ref >> formShift; {
	case ref == 0:
		return b
	case form == long:
		return append(b, h.long[ref]...)
	default:
		return decode(b, form, h.encoded(ref))
	}
}

// encoded returns the bytes of a text that is not long.
func (h *Heap) encoded(ref Ref) []byte {
	length := ref >> lengthShift & maxLength
	return h.lengths[length].at(uint32(ref & maxNumber))[:length]
}

// Get returns a text.
func (h *Heap) Get(ref Ref) string {
	var room [maxLength]byte
	return string(h.Append(room[:0], ref))
}

// Equal reports whether a text is that one.
func (h *Heap) Equal(ref Ref, text string) bool {
	switch form := ref >> formShift; {
	case ref == 0:
		return text == ""
	case form == long:
		return h.long[ref] == text
	case form == plain:
		return string(h.encoded(ref)) == text
	case form == uuid:
		return isUUID(h.encoded(ref), text)
	}
	var room [maxLength]byte
	return string(h.Append(room[:0], ref)) == text
}

// Hash returns what maphash.String does of the text.
func (h *Heap) Hash(seed maphash.Seed, ref Ref) uint64 {
	if ref>>formShift == long {
		return maphash.String(seed, h.long[ref])
	}
	var room [maxLength]byte
	return maphash.Bytes(seed, h.Append(room[:0], ref))
}

const uuidLength = 36 // with hyphens at 8, 13, 18 and 23

// encode appends the shortest form of a text to b, whose room is enough for any that is not long.
func encode(b []byte, text string) (form Ref, encoded []byte) {
	b = append(b, text...)
	if len(text) == uuidLength {
		var id [16]byte
		var again [uuidLength]byte
		digits := append(append(append(append(append(again[:0], text[:8]...), text[9:13]...), text[14:18]...), text[19:23]...), text[24:]...)
		if _, err := hex.Decode(id[:], digits); err == nil && string(decode(again[:0], uuid, id[:])) == text {
			return uuid, append(b[:0], id[:]...)
		}
	}
	if a, ok := parseIPv6(text); ok {
		id := a.As16()
		return ipv6, append(b[:0], id[:]...)
	}
	return plain, b
}

// isUUID reports whether text is the UUID of those 16 bytes, as decode writes it.
func isUUID(encoded []byte, text string) bool {
	if len(text) != uuidLength || text[8] != '-' || text[13] != '-' || text[18] != '-' || text[23] != '-' {
		return false
	}
	const digits = "0123456789abcdef"
	at := 0
	for n, b := range encoded {
		if n == 4 || n == 6 || n == 8 || n == 10 {
			at++
		}
		if text[at] != digits[b>>4] || text[at+1] != digits[b&15] {
			return false
		}
		at += 2
	}
	return true
}

// parseIPv6 returns the address that text is, in the form in which netip writes it.
func parseIPv6(text string) (a netip.Addr, ok bool) {
	for n := 0; ; n++ { // since an error takes memory
		if n == min(len(text), 5) {
			return a, false
		}
		if text[n] == ':' {
			break
		}
	}
	a, err := netip.ParseAddr(text)
	if err != nil || !a.Is6() || a.Zone() != "" {
		return a, false
	}
	var room [64]byte
	return a, string(a.AppendTo(room[:0])) == text
}

// decode appends the text of an encoded one to b.
func decode(b []byte, form Ref, encoded []byte) []byte {
	switch form {
	case uuid:
		for n, part := range [...][]byte{encoded[:4], encoded[4:6], encoded[6:8], encoded[8:10], encoded[10:]} {
			if n > 0 {
				b = append(b, '-')
			}
			b = hex.AppendEncode(b, part)
		}
		return b
	case ipv6:
		return netip.AddrFrom16([16]byte(encoded)).AppendTo(b)
	}
	return append(b, encoded...)
}
