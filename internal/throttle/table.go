package throttle

// ways is how many entries a key can choose from.
const ways = 8

// slot is one entry: a bucket, and what is kept beside it. (The bucket comes last: an empty struct there would be padded.)
type slot[T any] struct {
	extra T
	key   uint64 // 0: unused
	bucket
}

// table keeps a fixed number of entries. A key has its place in one set of them, which nobody without the secret can
// tell; where the set is full, the entry that is free again first makes room: those with nothing spent before all
// others, the oldest of them first, and those who have spent most last of all.
type table[T any] struct {
	slots []slot[T]
}

// newTable makes a table of n entries, a power of two.
func newTable[T any](n int) table[T] { return table[T]{slots: make([]slot[T], n)} }

func (t *table[T]) set(key uint64) []slot[T] {
	first := int(key>>1) & (len(t.slots)/ways - 1) * ways
	return t.slots[first : first+ways : first+ways]
}

// find gives the entry of key, or nil.
func (t *table[T]) find(key uint64) *slot[T] {
	if key == 0 {
		return nil
	}
	set := t.set(key)
	for i := range set {
		if set[i].key == key {
			return &set[i]
		}
	}
	return nil
}

// peek gives a copy of the entry of key: one with nothing spent where there is none.
func (t *table[T]) peek(key uint64) slot[T] {
	if s := t.find(key); s != nil {
		return *s
	}
	return slot[T]{}
}

// get gives the entry of key, made if need be.
func (t *table[T]) get(key uint64) *slot[T] {
	if s := t.find(key); s != nil {
		return s
	}
	set := t.set(key)
	first := &set[0]
	for i := range set {
		if set[i].free < first.free {
			first = &set[i]
		}
	}
	*first = slot[T]{key: key}
	return first
}
