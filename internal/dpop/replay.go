package dpop

import (
	"cmp"
	"hash/maphash"
	"slices"
	"sync"
	"time"
)

// The bounds of a Replay.
const (
	// MaxProofs is how many proofs of one key are remembered at the same time.
	MaxProofs = 1024

	// scarceProofs is the same once half of what may be remembered of all keys together is.
	scarceProofs = 64

	// maxCost is how much is remembered of all keys together: one for each proof, and costOfKey for
	// each key. A proof takes 16 bytes, and up to four times that where the list of its key has
	// shrunk.
	maxCost   = 1 << 21
	costOfKey = 16

	// sweepEvery is how often what is no longer valid is forgotten.
	sweepEvery = 30 * time.Second
)

// Replay remembers which proofs were accepted, so that none is accepted twice while it is valid.
// What it remembers is never given up for something else: once too many proofs are remembered,
// further ones are refused. The zero value is ready to use. It is safe for concurrent use.
type Replay struct {
	mu    sync.Mutex
	seed  maphash.Seed
	keys  map[string]*keyProofs // by thumbprint
	cost  int
	began time.Time // what times are counted from, by the monotonic clock
	swept time.Time
	most  int // instead of maxCost, in tests
}

// keyProofs are the proofs of one key.
type keyProofs struct{ proofs []usedProof }

// usedProof is a proof that was accepted.
type usedProof struct {
	id    uint64        // a hash of its ID with a seed that nobody else knows
	until time.Duration // when it is no longer valid, since Replay.began
}

// Use records that the proof with the given ID, of the key with the given thumbprint, was accepted,
// and that it is valid for as long as it says. seen reports that it was accepted before. If it
// cannot be remembered, wait is how long it takes until another one can be; then it must not be
// accepted.
func (r *Replay) Use(thumbprint, id string, valid time.Duration) (seen bool, wait time.Duration) {
	r.mu.Lock()
	defer r.mu.Unlock()
	now := time.Now()
	if r.keys == nil {
		r.seed, r.keys, r.began, r.swept = maphash.MakeSeed(), make(map[string]*keyProofs), now, now
	}
	at := now.Sub(r.began)
	if now.Sub(r.swept) >= sweepEvery {
		r.swept = now
		r.sweep(at)
	}
	k, known := r.keys[thumbprint]
	if !known {
		k = new(keyProofs)
	}
	hash := maphash.String(r.seed, id)
	for _, p := range k.proofs {
		if p.id == hash && p.until > at {
			return true, 0
		}
	}
	if wait := r.makeRoom(k, at); wait > 0 {
		return false, wait
	}
	if !known {
		r.keys[thumbprint] = k
		r.cost += costOfKey
	}
	k.proofs = append(k.proofs, usedProof{hash, at + valid})
	r.cost++
	return false, 0
}

// makeRoom returns 0 if one more proof of a key can be remembered, and otherwise how long it takes
// until that may be so.
func (r *Replay) makeRoom(k *keyProofs, at time.Duration) (wait time.Duration) {
	total := cmp.Or(r.most, maxCost)
	isFull := func() bool {
		limit := MaxProofs
		if r.cost >= total/2 {
			limit = scarceProofs
		}
		return len(k.proofs) >= limit || r.cost+costOfKey >= total
	}
	if isFull() {
		r.forget(k, at)
	}
	switch {
	case !isFull():
		return 0
	case len(k.proofs) == 0:
		return sweepEvery
	}
	first := slices.MinFunc(k.proofs, func(a, b usedProof) int { return cmp.Compare(a.until, b.until) })
	return first.until - at
}

// forget removes the proofs of a key that are no longer valid.
func (r *Replay) forget(k *keyProofs, at time.Duration) {
	before := len(k.proofs)
	k.proofs = slices.DeleteFunc(k.proofs, func(p usedProof) bool { return p.until <= at })
	r.cost -= before - len(k.proofs)
	if cap(k.proofs) > 4*len(k.proofs) {
		k.proofs = slices.Clone(k.proofs)
	}
}

// sweep removes all proofs that are no longer valid, and the keys of which none is left.
func (r *Replay) sweep(at time.Duration) {
	for thumbprint, k := range r.keys {
		if r.forget(k, at); len(k.proofs) == 0 {
			r.cost -= costOfKey
			delete(r.keys, thumbprint)
		}
	}
}
