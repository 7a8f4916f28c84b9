package texts

import (
	"fmt"
	"hash/maphash"
	"math/rand/v2"
	"strings"
	"testing"
)

// samples are texts of every form, and texts that are nearly of another.
func samples() []string {
	all := []string{
		"", "a", "ab", "abc", "anna", "auth0|5f7c8ec7c33c6c004bbafe82", "a\x00", "\xff", "12345678",
		"0b5f6a2e-7c19-4e8b-9d3c-5a1f0e6b7c8d", "0B5F6A2E-7C19-4E8B-9D3C-5A1F0E6B7C8D", "0b5f6a2e-7c19-4e8b-9d3c-5a1f0e6b7c8g",
		"0b5f6a2e-7c19-4e8b-9d3c-5a1f0e6b7c-d", "0b5f6a2e07c1904e8b09d3c05a1f0e6b7c8d", "00000000-0000-0000-0000-000000000000",
		"2001:db8::1", "2001:DB8::1", "2001:db8:0:0:0:0:0:1", "::ffff:192.0.2.1", "::", "fe80::1%eth0", "192.0.2.1", "a:b", ":",
	}
	for _, n := range []int{maxLength - 1, maxLength, maxLength + 1, 5000} {
		all = append(all, strings.Repeat("n", n))
	}
	return all
}

// TestHeap checks that each text comes back as it was, and is told from all others.
func TestHeap(t *testing.T) {
	var h Heap
	seed := maphash.MakeSeed()
	all := samples()
	refs := make([]Ref, len(all))
	for n, text := range all {
		refs[n] = h.Put(text)
	}
	for n, text := range all {
		if got := h.Get(refs[n]); got != text {
			t.Errorf("%q came back as %q", text, got)
		}
		if h.Hash(seed, refs[n]) != maphash.String(seed, text) {
			t.Errorf("%q: another hash", text)
		}
		for _, other := range all {
			if h.Equal(refs[n], other) != (text == other) {
				t.Errorf("%q and %q: equal %v", text, other, text != other)
			}
		}
	}
	if form := h.Put("0b5f6a2e-7c19-4e8b-9d3c-5a1f0e6b7c8d") >> formShift; form != uuid {
		t.Errorf("a UUID has form %d", form)
	}
	if form := h.Put("2001:db8::1") >> formShift; form != ipv6 {
		t.Errorf("an address has form %d", form)
	}
	if ref := h.PutBytes([]byte("2001:db8::2")); h.Get(ref) != "2001:db8::2" || ref>>formShift != plain {
		t.Errorf("%q", h.Get(ref))
	}
}

// TestHeapUsesRoomAgain checks that texts do not disturb each other, and that the room of those
// that were removed is used again.
func TestHeapUsesRoomAgain(t *testing.T) {
	var h Heap
	random := rand.New(rand.NewPCG(1, 2))
	in := make(map[Ref]string)
	most := make(map[int]int)
	lengths := make(map[int]int)
	for n := range 50_000 {
		if random.IntN(2) == 0 || len(in) == 0 {
			text := fmt.Sprintf("%0*d", 1+random.IntN(160), n)
			ref := h.Put(text)
			if _, twice := in[ref]; twice {
				t.Fatalf("%x is given twice", ref)
			}
			in[ref] = text
			lengths[len(text)]++
			most[len(text)] = max(most[len(text)], lengths[len(text)])
		} else {
			for ref, text := range in {
				if h.Get(ref) != text {
					t.Fatalf("%q became %q", text, h.Get(ref))
				}
				lengths[len(text)]--
				h.Free(ref)
				delete(in, ref)
				break
			}
		}
	}
	for length, p := range h.lengths {
		if p != nil && int(p.used) != most[length] {
			t.Errorf("room for %d texts of %d bytes, of which there were at most %d", p.used, length, most[length])
		}
	}
	if h.Len() != len(in) {
		t.Errorf("%d texts, want %d", h.Len(), len(in))
	}
	for ref := range in {
		h.Free(ref)
	}
	if h.Len() != 0 || len(h.long) != 0 {
		t.Errorf("%d texts are left, %d of them long", h.Len(), len(h.long))
	}
}

// TestHeapAllocatesNothing checks that a text put in the place of another allocates nothing.
func TestHeapAllocatesNothing(t *testing.T) {
	var h Heap
	for _, text := range samples() {
		if len(text) > maxLength {
			continue
		}
		ref := h.Put(text)
		if n := testing.AllocsPerRun(100, func() {
			h.Free(ref)
			if ref = h.Put(text); !h.Equal(ref, text) {
				t.Error("it is another")
			}
		}); n != 0 && !strings.Contains(text, ":") {
			t.Errorf("%q: %v allocations", text, n)
		}
	}
}
