package throttle

// ways is how many slots a key can be in.
const ways = 8

// slot is one entry: a bucket and extra data. The bucket is last because an empty struct there
// would be padded.
type slot[T any] struct {
	extra T
	key   uint64 // 0: unused
	bucket
}

// table keeps a fixed number of entries. A key belongs to one set of slots, which cannot be
// predicted without the secret. If the set is full, the entry whose bucket is full again first is
// replaced: first those with nothing spent, the oldest of them first, and last those that have
// spent most.
type table[T any] struct {
	slots []slot[T]
}

// newTable returns a table of n entries, a power of two.
func newTable[T any](n int) table[T] { return table[T]{slots: make([]slot[T], n)} }

func (t *table[T]) set(key uint64) []slot[T] {
	first := int(key>>1) & (len(t.slots)/ways - 1) * ways
	return t.slots[first : first+ways : first+ways]
}

// find returns the entry of key, or nil.
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

// peek returns a copy of the entry of key, or one with nothing spent if there is none.
func (t *table[T]) peek(key uint64) slot[T] {
	if s := t.find(key); s != nil {
		return *s
	}
	return slot[T]{}
}

// get returns the entry of key, which it creates if there is none.
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

// entry returns the entry of key. If there is none, it creates it or returns nil.
func (t *table[T]) entry(key uint64, create bool) *slot[T] {
	if create {
		return t.get(key)
	}
	return t.find(key)
}
