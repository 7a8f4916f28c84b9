package socketauth

import (
	"testing"
	"time"
	"unsafe"
)

// readBefore returns t as a process has it that read it before its wall clock was set back by step: the
// monotonic reading is the same, that of the wall clock is later.
func readBefore(t time.Time, step time.Duration) time.Time {
	wall := (*uint64)(unsafe.Pointer(&t)) // with a monotonic reading, seconds above 30 bits of nanoseconds
	*wall += uint64(step/time.Second) << 30
	return t
}

func TestClockSetBackAndLateFrames(t *testing.T) {
	// Guards: a socket opened before the clock was set back seemed to be opened after whatever was replaced since, and its
	// late frame ended the session as reuse. Outside a bubble, whose times have no monotonic reading.
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

func TestClockSetBackAndExpiry(t *testing.T) {
	// Guards: a socket stayed past the expiry of its token for as long as the clock was set back by.
	inWorld(t, func(o *Options[string]) { o.TokenLifetime = time.Hour }, func(w *world) {
		c, _ := w.in()
		time.Sleep(time.Minute)
		for _, s := range w.hub.Members(everyone) {
			s.onDeadline(s.newest().ExpiresAt.Add(-time.Second))
			c.alive()
			s.onDeadline(s.newest().ExpiresAt) // as the timer says, though the wall clock shows less
		}
		c.refusedAndGone("token_expired")
	})
}
