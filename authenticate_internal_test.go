package socketauth

import (
	"encoding/json"
	"testing"
	"time"
	"unsafe"
)

// FuzzTokenIn checks that any argument of authenticate is read without a panic, and that a token is
// never found where none was given.
func FuzzTokenIn(f *testing.F) {
	f.Add(`{"token":"x"}`)
	f.Add(`{"token":{"toString":1}}`)
	f.Add(`[]`)
	for _, seed := range []string{`null`, `5`, `"x"`, `{"token":5}`, `{"token":null}`, `{"token":""}`, `{"TOKEN":"x","confirm":true}`, `{"token":"x","confirm":"true"}`, `{"token":"\ud800"}`} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, auth string) {
		if !json.Valid([]byte(auth)) {
			return
		}
		p, given := presentedAs(json.RawMessage(auth), time.Now())
		if (p.token != "" || p.confirm) && !given {
			t.Errorf("%q: a token that was not given", auth)
		}
	})
}

// TestClockSetBackLateFrame checks that a socket opened before the wall clock was set back keeps
// its place in time, so that its late frame is no reuse. It runs outside a bubble, whose times have
// no monotonic reading.
func TestClockSetBackLateFrame(t *testing.T) {
	now := time.Now()
	p := (&Socket{
		server:     &Server{auth: &Auth{config: new(config)}},
		connection: &connection{opened: readBefore(now, time.Hour)},
	}).presentation(new(token), readBefore(now, time.Hour))
	for name, got := range map[string]time.Time{"SocketOpenedAt": p.SocketOpenedAt, "PresentedAt": p.PresentedAt} {
		if off := got.Round(0).Sub(now.Round(0)).Abs(); off > time.Minute {
			t.Errorf("%s is %v off", name, off)
		}
	}
}

// readBefore returns t as if it had been read before the wall clock was set back by step: the same
// monotonic reading, a later wall clock.
func readBefore(t time.Time, step time.Duration) time.Time {
	wall := (*uint64)(unsafe.Pointer(&t)) // with a monotonic reading, seconds above 30 bits of nanoseconds
	*wall += uint64(step/time.Second) << 30
	return t
}
