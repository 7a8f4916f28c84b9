package wheel

import (
	"math/rand/v2"
	"testing"
	"time"
)

type record struct {
	next uint32
	due  time.Time
	out  bool
}

type records []record

func (r records) Due(n uint32) *uint32 { return &r[n].next }

// run returns what is due at now, adds again what is too early, and returns how often it was asked.
func (r records) run(t *testing.T, w *Wheel, now time.Time) (asked int) {
	for {
		n, ok := w.Next(now, r)
		if !ok {
			return asked
		}
		if asked++; r[n].out {
			t.Fatalf("record %d is returned twice", n)
		}
		if r[n].due.After(now) {
			w.Add(n, r[n].due, now, r)
		} else {
			r[n].out = true
		}
	}
}

// TestWheel checks that each record is returned in the minute after it is due, however long that is
// ahead, however long nobody asks, and that few are looked at too early. Clocks that are not set
// yet begin before 1970 in some places.
func TestWheel(t *testing.T) {
	for _, began := range []time.Time{time.Unix(1_700_000_000, 0), time.Unix(-1_000_000, 0), time.Unix(-1_700_000_000, 0)} {
		testWheel(t, began)
	}
}

// late returns how long after its time a record may be returned: the minute of 1970 is two minutes.
func late(due time.Time) time.Duration {
	if due.Unix()/60 == 0 {
		return 2 * time.Minute
	}
	return time.Minute
}

func testWheel(t *testing.T, began time.Time) {
	for _, pause := range []time.Duration{10 * time.Second, time.Minute, 50 * time.Minute, 20 * time.Hour} {
		random := rand.New(rand.NewPCG(1, 2))
		now := began
		w := New(now)
		const n, steps = 500, 3000
		r := make(records, 1, n+1)
		for i := range uint32(n) {
			due := now.Add(time.Duration(random.Int64N(int64(steps * pause))))
			r = append(r, record{due: due})
			w.Add(i+1, due, now, r)
		}
		asked := 0
		for range steps + 10 {
			now = now.Add(pause)
			asked += r.run(t, &w, now)
			for i, one := range r[1:] {
				early, tooLate := one.out && one.due.After(now), !one.out && !one.due.Add(late(one.due)).After(now)
				if early || tooLate {
					t.Fatalf("every %v: record %d, due %v ago, is out: %v", pause, i+1, now.Sub(one.due), one.out)
				}
			}
		}
		if w.Len() != 0 {
			t.Errorf("every %v: %d records are left", pause, w.Len())
		}
		if asked > 12*len(r) { // a few times, and once for each 182 days
			t.Errorf("every %v: %d records were returned %d times", pause, len(r)-1, asked)
		}
	}
}

// TestWheelAfterSetBack checks that nothing is returned late after the clock was ahead for years
// and was set back.
func TestWheelAfterSetBack(t *testing.T) {
	now := time.Unix(1_700_000_000, 0)
	w := New(now)
	r := make(records, 3)
	ahead := now.Add(10 * 365 * 24 * time.Hour)
	r[1].due = ahead.Add(time.Hour)
	w.Add(1, r[1].due, ahead, r)
	r.run(t, &w, ahead)
	r[2].due = now.Add(time.Hour)
	w.Add(2, r[2].due, now, r)
	for range 62 {
		now = now.Add(time.Minute)
		r.run(t, &w, now)
	}
	if r[1].out || !r[2].out {
		t.Errorf("out: %v, %v", r[1].out, r[2].out)
	}
	if r.run(t, &w, ahead.Add(62*time.Minute)); !r[1].out || w.Len() != 0 {
		t.Errorf("out: %v, and %d are left", r[1].out, w.Len())
	}
}
