package boltstore

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"

	bolt "go.etcd.io/bbolt"

	"github.com/z-open/socketauth/blacklist"
)

// layout holds the offsets in a file of the pages that a test damages.
type layout struct {
	data                 []byte
	size                 int
	freelist, root       int
	branch, leaf, second int // of the bucket of sessions: its root, and two of its leaves
	metaInside           int // the bucket of meta, which is inside a leaf
}

func layoutOf(t *testing.T, data []byte) (l layout) {
	t.Helper()
	path := filepath.Join(folder(t), "sessions.db")
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
	db, err := bolt.Open(path, 0o600, &bolt.Options{ReadOnly: true})
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	err = db.View(func(tx *bolt.Tx) error {
		l = layout{data: data, size: db.Info().PageSize}
		l.freelist = l.size * int(l.u64(tx.ID()%2*l.size+metaFreelist))
		l.root = l.size * int(tx.Cursor().Bucket().Root())
		l.branch = l.size * int(tx.Bucket([]byte(sessionsBucket)).Root())
		l.leaf, l.second = l.size*int(l.u64(l.branch+24)), l.size*int(l.u64(l.branch+40))
		if tx.Bucket([]byte(metaBucket)).Root() != 0 {
			t.Error("meta has a page of its own")
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	for n := range int(binary.NativeEndian.Uint16(data[l.root+10:])) {
		at := l.root + 16 + 16*n
		key := at + int(l.u32(at+4))
		if string(data[key:key+int(l.u32(at+8))]) == metaBucket {
			l.metaInside = key + int(l.u32(at+8)) + 16
		}
	}
	return l
}

func (l layout) u64(at int) uint64       { return binary.NativeEndian.Uint64(l.data[at:]) }
func (l layout) u32(at int) uint32       { return binary.NativeEndian.Uint32(l.data[at:]) }
func (l layout) put16(at int, to uint16) { binary.NativeEndian.PutUint16(l.data[at:], to) }
func (l layout) put32(at int, to uint32) { binary.NativeEndian.PutUint32(l.data[at:], to) }
func (l layout) put64(at int, to uint64) { binary.NativeEndian.PutUint64(l.data[at:], to) }

// key returns the key of element n of a leaf or a branch, counted from the end if n is negative.
func (l layout) key(page, n int) []byte {
	if n < 0 {
		n += int(binary.NativeEndian.Uint16(l.data[page+10:]))
	}
	at := page + headerSize + n*elementSize
	pos := 4 // of a leaf's element
	if binary.NativeEndian.Uint16(l.data[page+8:]) == branchPage {
		pos = 0
	}
	return l.data[at+int(l.u32(at+pos)):][:l.u32(at+pos+4)]
}

func TestDamagedPagesAreFound(t *testing.T) {
	// Guards: a damaged header made bolt free billions of pages in a map, and misplaced keys made
	// it write a circle of pages, both until the process was killed.
	sound, _ := sample(t)
	for name, damage := range map[string]func(l layout){
		"the list of free pages goes on past the file":      func(l layout) { l.put32(l.freelist+12, 500_000) },
		"the list of free pages goes on for ever":           func(l layout) { l.put32(l.freelist+12, math.MaxUint32) },
		"the list of free pages goes on over others":        func(l layout) { l.put32(l.freelist+12, 1) },
		"more free pages than the list has room for":        func(l layout) { l.put16(l.freelist+10, 5000) },
		"very many free pages":                              func(l layout) { l.put16(l.freelist+10, manyFree); l.put64(l.freelist+16, 1<<40) },
		"more free pages than there are numbers":            func(l layout) { l.put16(l.freelist+10, manyFree); l.put64(l.freelist+16, math.MaxUint64) },
		"a free page that is none":                          func(l layout) { l.put64(l.freelist+16, 1<<50) },
		"a free page that is the first":                     func(l layout) { l.put64(l.freelist+16, 0) },
		"a free page that is in use":                        func(l layout) { l.put64(l.freelist+16, uint64(l.leaf/l.size)) },
		"a page that is free twice":                         func(l layout) { l.put64(l.freelist+16, l.u64(l.freelist+24)) },
		"no list of free pages":                             func(l layout) { l.put16(l.freelist+8, leafPage) },
		"a leaf that goes on past the file":                 func(l layout) { l.put32(l.leaf+12, 500_000) },
		"a leaf that goes on over others":                   func(l layout) { l.put32(l.leaf+12, 1) },
		"a leaf that is another page":                       func(l layout) { l.put64(l.leaf, uint64(l.second/l.size)) },
		"a leaf of no kind":                                 func(l layout) { l.put16(l.leaf+8, 0) },
		"a leaf of more elements than it has room for":      func(l layout) { l.put16(l.leaf+10, 300) },
		"a value of 2 GB":                                   func(l layout) { l.put32(l.leaf+16+12, 1<<31) },
		"a key of 4 GB":                                     func(l layout) { l.put32(l.leaf+16+8, math.MaxUint32) },
		"an element past its page":                          func(l layout) { l.put32(l.leaf+16+4, 5000) },
		"a branch that leads to itself":                     func(l layout) { l.put64(l.branch+24, uint64(l.branch/l.size)) },
		"a branch that leads up":                            func(l layout) { l.put64(l.branch+24, uint64(l.root/l.size)) },
		"a branch that leads twice to one leaf":             func(l layout) { l.put64(l.branch+24, uint64(l.second/l.size)) },
		"a branch that leads past the file":                 func(l layout) { l.put64(l.branch+24, 1<<50) },
		"a branch that leads nowhere":                       func(l layout) { l.put16(l.branch+10, 0) },
		"a branch with a key past its page":                 func(l layout) { l.put32(l.branch+20, 1<<20) },
		"keys out of their order":                           func(l layout) { l.key(l.leaf, 0)[0] = 0xFF },
		"a key twice":                                       func(l layout) { copy(l.key(l.leaf, 1), l.key(l.leaf, 0)) },
		"a key before those of its leaf":                    func(l layout) { clear(l.key(l.second, 0)) },
		"a key past those of its leaf":                      func(l layout) { copy(l.key(l.leaf, -1), "\xFF\xFF\xFF") },
		"keys of a branch out of their order":               func(l layout) { l.key(l.branch, 1)[0] = 0xFF },
		"a first key that its branch does not have":         func(l layout) { l.key(l.second, 0)[15] ^= 1 },
		"a bucket that is none":                             func(l layout) { l.put32(l.root+16, 0) },
		"a bucket too short to be one":                      func(l layout) { l.put32(l.root+16+12, 3) },
		"a bucket inside a leaf with a value past it":       func(l layout) { l.put32(l.metaInside+16+12, 5000) },
		"a bucket inside a leaf with more than it can hold": func(l layout) { l.put16(l.metaInside+10, 60_000) },
	} {
		t.Run(name, func(t *testing.T) {
			l := layoutOf(t, append([]byte(nil), sound...))
			damage(l)
			path := filepath.Join(folder(t), "sessions.db")
			if err := os.WriteFile(path, l.data, 0o600); err != nil {
				t.Fatal(err)
			}
			s, err := Open(path)
			if !errors.Is(err, ErrCorrupt) {
				t.Errorf("%v", err)
			}
			if err == nil {
				_ = s.Close()
			}
			if left, err := os.ReadFile(path); err != nil || string(left) != string(l.data) {
				t.Errorf("Open has written to it, %v", err)
			}
		})
	}
}

func TestOpenWritesNothing(t *testing.T) {
	sound, _ := sample(t)
	path := filepath.Join(folder(t), "sessions.db")
	if err := os.WriteFile(path, sound, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := reopen(t, path).Close(); err != nil {
		t.Fatal(err)
	}
	if left, err := os.ReadFile(path); err != nil || string(left) != string(sound) {
		t.Errorf("it was changed, %v", err)
	}
}

func TestSoundFileIsAccepted(t *testing.T) {
	// Guards: Open accepts the pages that bolt writes, after each transaction and after a torn one.
	synctest.Test(t, func(t *testing.T) {
		dir := folder(t)
		path := filepath.Join(dir, "sessions.db")
		random := rand.New(rand.NewPCG(3, 4))
		for range 60 {
			s := reopen(t, path)
			many(1+random.IntN(200), func(n int) {
				if v, err := begins(s, newCode(fmt.Sprint("user ", n%7))); v != blacklist.Accepted {
					t.Errorf("verdict %d, %v", v, err)
				}
			})
			time.Sleep(time.Duration(random.IntN(50)) * time.Minute)
			many(random.IntN(40), func(int) { stir(s, 1) }) // some, or all, are forgotten
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
			data, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			size := os.Getpagesize()
			last := size * int(max(binary.NativeEndian.Uint64(data[metaTx:]), binary.NativeEndian.Uint64(data[size+metaTx:]))%2)
			data[last+metaFreelist]++ // the last transaction is torn, so the one before is used
			torn := filepath.Join(dir, "torn.db")
			if err := os.WriteFile(torn, data, 0o600); err != nil {
				t.Fatal(err)
			}
			if err := reopen(t, torn).Close(); err != nil {
				t.Fatal(err)
			}
		}
	})
}
