package eio

import (
	"testing"
	"testing/synctest"
	"time"
)

func TestOneTimer(t *testing.T) {
	// Guards that a session has one timer for all deadlines, and none when it has ended.
	inBubble(t, func(t *testing.T, e *Engine, s *Session) {
		s.mu.Lock()
		for a := range alarmCount {
			s.alarmLocked(a, e.now()+time.Hour-time.Duration(a)*time.Minute)
		}
		s.mu.Unlock()
		if n := e.tasks.Load(); n != 1 {
			t.Errorf("%d timers are set", n)
		}
		s.mu.Lock()
		s.closeLocked("", 0)
		s.mu.Unlock()
		synctest.Wait()
		if n := e.tasks.Load(); n != 0 {
			t.Errorf("%d tasks are left", n)
		}
	})
}
