package cluster

import (
	"encoding/binary"
	"math/rand/v2"
	"testing"
	"testing/synctest"
	"time"
)

// TestGapAfterForgotten guards that a gap is noticed if its sender has forgotten the topic since,
// so that its next message there does not tell of the one before.
func TestGapAfterForgotten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := &memory{}
		p := newProcess(t, b, nil)
		p.Start()
		p.Join(room)
		synctest.Wait()
		f := impostor(t, b, testKey, "")
		f.beat(heartbeat{nodes: runsOf(p)})
		f.say(room, f.header(news), []byte("heard"))
		time.Sleep(settling)
		f.beat(heartbeat{})
		f.last += 5 // one of which was sent in the room
		room := f.codec.tag(room)
		f.beat(heartbeat{counters: binary.BigEndian.AppendUint64(room[:], f.last)})
		p.expectGaps()
		f.say(Topic{'r', "room"}, f.header(news), []byte("heard"))
		p.expectGaps(Topic{'r', "room"})
		time.Sleep(3 * settling)
		p.expectGaps()
		p.expect("heard", "heard")
	})
}

// TestTooOldToTell guards that a message is not heard if it was heard before, on whatever topic, or
// if that is not known any more.
func TestTooOldToTell(t *testing.T) {
	m := &member{progress: make(map[tag]progress)}
	topic := &topic{Topic: room, tag: simTag(room), begun: 1, made: 2}
	m.seen.add(recentKept + 5)
	if _, v := m.advance(topic, &header{number: 5}); v != unknown {
		t.Errorf("verdict %d", v)
	}
	m.seen.add(7) // on this topic, which has been left and joined again since
	if _, v := m.advance(topic, &header{number: 7}); v != repeated {
		t.Errorf("verdict %d", v)
	}
	if _, v := m.advance(topic, &header{number: 8}); v != accepted {
		t.Errorf("verdict %d", v)
	}
}

// TestCopyTooOld guards that a message on several topics is not heard, but known to be missing, if
// it is not known any more whether another copy was heard.
func TestCopyTooOld(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := &memory{}
		p := newProcess(t, b, nil)
		p.Start()
		p.Join(room)
		p.Join(hall)
		synctest.Wait()
		f := impostor(t, b, testKey, "")
		f.beat(heartbeat{nodes: runsOf(p)})
		for _, c := range []struct {
			topic  Topic
			copied uint64
		}{{room, recentKept + 5}, {hall, recentKept + 5}, {hall, 6}, {hall, 5}, {room, 6}} {
			h := f.header(news)
			h.copied = c.copied
			f.say(c.topic, h, binary.BigEndian.AppendUint64(nil, c.copied))
		}
		if len(p.heard) != 2 {
			t.Errorf("%d messages", len(p.heard))
		}
		p.expectGaps(hall)
	})
}

// TestHistory guards that what a member had reached before an event is never said too high, exact
// for the last events, and at most a second old as far back as anything can be replayed.
func TestHistory(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	for range 20 {
		var y history
		type entry struct {
			mark
			at time.Time
		}
		var all []entry
		now, event, number := time.Unix(0, 0), uint64(0), uint64(0)
		for range 3000 {
			now = now.Add(time.Duration(random.IntN(100)) * time.Millisecond)
			event++
			number += uint64(random.IntN(3))
			all = append(all, entry{mark{event, number}, now})
			y.add(now, all[len(all)-1].mark)
		}
		for i, e := range all[1:] {
			want := all[i]
			got := y.before(e.event)
			if got > want.number {
				t.Fatalf("before event %d: %d, and it was %d", e.event, got, want.number)
			}
			if len(all)-i < 30 && got != want.number {
				t.Fatalf("before event %d, one of the last: %d, and it was %d", e.event, got, want.number)
			}
			if now.Sub(e.at) > replayable || i < 100 {
				continue
			}
			old := all[i]
			for j := i; j >= 0 && e.at.Sub(all[j].at) < time.Second+100*time.Millisecond; j-- {
				old = all[j]
			}
			if got < old.number {
				t.Fatalf("before event %d: %d, and a second before it was %d", e.event, got, old.number)
			}
		}
	}
}

// TestRecent guards that numbers are told apart as long as they are among the last ones.
func TestRecent(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	for range 20 {
		var r recent
		seen := make(map[uint64]bool)
		top := uint64(0)
		base := random.Uint64N(1 << 40)
		for range 5000 {
			n := base + random.Uint64N(100)
			switch random.IntN(300) {
			case 0:
				base += random.Uint64N(3 * recentKept)
			case 1, 2:
				n = base - min(base, random.Uint64N(2*recentKept))
			default:
				base += random.Uint64N(50)
			}
			fresh, known := r.add(n)
			if want := top == 0 || n > top || top-n < recentKept; known != want || known && fresh == seen[n] {
				t.Fatalf("%d after %d: fresh %v, known %v", n, top, fresh, known)
			}
			if known {
				seen[n] = true
				top = max(top, n)
			}
		}
	}
}
