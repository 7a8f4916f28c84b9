package dpop

import (
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// use records a proof that is valid for a minute, and fails the test unless it is accepted.
func use(t *testing.T, r *Replay, thumbprint, id string) {
	t.Helper()
	if seen, wait := r.Use(thumbprint, id, time.Minute); seen || wait > 0 {
		t.Fatalf("%s %s: %v, %v", thumbprint, id, seen, wait)
	}
}

// TestReplay guards that a proof is accepted once by each key while it is valid, and that it is
// forgotten after that.
func TestReplay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var r Replay
		seen := func(thumbprint, id string, want bool) {
			t.Helper()
			if got, wait := r.Use(thumbprint, id, 80*time.Second); got != want || wait > 0 {
				t.Errorf("%s %s: seen %v, wait %v", thumbprint, id, got, wait)
			}
		}
		seen("a", "1", false)
		seen("a", "1", true)
		seen("a", "2", false)
		seen("b", "1", false)
		time.Sleep(60 * time.Second) // there is a sweep between
		seen("c", "3", false)
		seen("a", "1", true)
		seen("a", "2", true)
		seen("b", "1", true)
		time.Sleep(20*time.Second - 1)
		seen("a", "1", true)
		time.Sleep(time.Nanosecond)
		seen("a", "1", false) // before the next sweep
		seen("c", "3", true)
		time.Sleep(time.Hour)
		seen("d", "1", false)
		if len(r.keys) != 1 || r.cost != 1+costOfKey {
			t.Errorf("%d keys are remembered, at a cost of %d", len(r.keys), r.cost)
		}
	})
}

// TestReplayLimit guards that a key which has used too many proofs waits until the first of them is
// no longer valid, that none of them is forgotten before, and that other keys do not wait.
func TestReplayLimit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var r Replay
		use(t, &r, "a", "first")
		time.Sleep(10 * time.Second)
		for n := range MaxProofs - 1 {
			use(t, &r, "a", strconv.Itoa(n))
		}
		if seen, wait := r.Use("a", "more", time.Minute); seen || wait != 50*time.Second {
			t.Errorf("one too many: seen %v, wait %v", seen, wait)
		}
		use(t, &r, "b", "more")
		for _, id := range []string{"first", "0", "1022"} {
			if seen, _ := r.Use("a", id, time.Minute); !seen {
				t.Errorf("%s is forgotten", id)
			}
		}
		time.Sleep(40 * time.Second)
		use(t, &r, "b", "at a sweep")
		time.Sleep(10 * time.Second)
		use(t, &r, "a", "more") // before the next one; it was not remembered when it was refused
		if seen, wait := r.Use("a", "another", time.Minute); seen || wait != 10*time.Second {
			t.Errorf("one too many later: seen %v, wait %v", seen, wait)
		}
	})
}

// TestReplayTotal guards that what is remembered of all keys together is bounded, that keys which
// use few proofs are served for longer than those which use many, and that the room is free again
// later.
func TestReplayTotal(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := Replay{most: 8 * MaxProofs}
		refused := 0
		for key := range 100 {
			for n := range MaxProofs {
				if _, wait := r.Use(strconv.Itoa(key), strconv.Itoa(n), time.Minute); wait > 0 {
					refused++
					if wait > time.Minute {
						t.Fatalf("wait %v", wait)
					}
				}
			}
			if key == 10 { // more than half is taken
				use(t, &r, "few", "1")
			}
		}
		if _, wait := r.Use("new", "1", time.Minute); wait == 0 || r.cost > r.most || refused == 0 {
			t.Errorf("wait %v at a cost of %d", wait, r.cost)
		}
		if len(r.keys["5"].proofs) > scarceProofs || len(r.keys["50"].proofs) > scarceProofs {
			t.Errorf("%d and %d proofs", len(r.keys["5"].proofs), len(r.keys["50"].proofs))
		}
		if seen, _ := r.Use("few", "1", time.Minute); !seen {
			t.Error("a proof is forgotten")
		}
		time.Sleep(time.Minute)
		use(t, &r, "new", "1")
		if len(r.keys) != 1 || r.cost != 1+costOfKey {
			t.Errorf("%d keys are remembered, at a cost of %d", len(r.keys), r.cost)
		}
	})
}

// TestReplayShrinks guards that a key keeps no room for many proofs when few are left.
func TestReplayShrinks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var r Replay
		for n := range MaxProofs - 1 {
			use(t, &r, "a", strconv.Itoa(n))
		}
		if seen, wait := r.Use("a", "valid for longer", time.Hour); seen || wait > 0 || cap(r.keys["a"].proofs) < MaxProofs {
			t.Fatal("it was to have many proofs")
		}
		time.Sleep(2 * time.Minute)
		use(t, &r, "b", "1")
		if k := r.keys["a"]; len(k.proofs) != 1 || cap(k.proofs) > 8 {
			t.Errorf("%d proofs of a capacity of %d", len(k.proofs), cap(k.proofs))
		}
	})
}

// TestReplayAtOnce guards that of several requests with one proof at the same time, one is
// accepted.
func TestReplayAtOnce(t *testing.T) {
	var r Replay
	for id := range 100 {
		var accepted atomic.Int32
		var wg sync.WaitGroup
		for range 8 {
			wg.Go(func() {
				if seen, wait := r.Use("a", strconv.Itoa(id), time.Minute); !seen && wait == 0 {
					accepted.Add(1)
				}
			})
		}
		if wg.Wait(); accepted.Load() != 1 {
			t.Fatalf("accepted %d times", accepted.Load())
		}
	}
}

// TestNonces guards that a nonce is accepted by all that have its key, with its age, and that no
// other text is.
func TestNonces(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n, other, same := NewNonces([]byte("key")), NewNonces([]byte("another")), NewNonces([]byte("key"))
		nonce := n.New()
		time.Sleep(3 * time.Second)
		if age, ok := same.Age(nonce); !ok || age != 3*time.Second {
			t.Errorf("age %v, %v", age, ok)
		}
		if _, ok := other.Age(nonce); ok {
			t.Error("a nonce of another key is accepted")
		}
		answer := n.NewFor("question")
		if _, ok := same.Age(answer); !ok || !same.IsFor(answer, "question") {
			t.Error("a nonce for a question is not accepted")
		}
		if same.IsFor(answer, "another") || same.IsFor(nonce, "question") || same.IsFor(nonce, "") || other.IsFor(answer, "question") || n.IsFor("", "") {
			t.Error("a nonce is taken for one for another question")
		}
		for i := range nonce {
			for _, c := range []byte("Aw\n=.") {
				if changed := nonce[:i] + string(c) + nonce[i+1:]; changed != nonce {
					if _, ok := n.Age(changed); ok {
						t.Errorf("%q is accepted for %q", changed, nonce)
					}
				}
			}
		}
		for _, text := range []string{"", nonce[:31], nonce + "A", "lv_VI97HAXpY6yYWAAAC"} {
			if _, ok := n.Age(text); ok {
				t.Errorf("%q is accepted", text)
			}
		}
	})
}

// BenchmarkReplay measures the use of a proof by a key that has used as many as it may.
func BenchmarkReplay(b *testing.B) {
	var r Replay
	for n := range MaxProofs {
		r.Use("a", strconv.Itoa(n), time.Hour)
	}
	b.ReportAllocs()
	for b.Loop() {
		r.Use("a", "more", time.Hour)
	}
}
