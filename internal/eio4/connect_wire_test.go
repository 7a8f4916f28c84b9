package eio4_test

import (
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/z-open/socketauth/internal/engine"
)

func TestConnectWithAuth(t *testing.T) {
	// Guards that the answer to a CONNECT with auth comes together with what the application then
	// sends at once, and does not wait for it long; and that one without auth does not wait.
	for _, test := range []struct {
		packet    string
		sentAfter time.Duration
		together  bool
		answered  time.Duration
	}{
		{`40{"token":"x"}`, time.Millisecond, true, time.Millisecond},
		{`40{"token":"x"}`, time.Second, false, 5 * time.Millisecond},
		{`40`, time.Millisecond, false, 0},
	} {
		t.Run(fmt.Sprint(test.packet, " ", test.sentAfter), func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				s, app := serveIO(t, engine.Options{})
				app.onConnect = func(_ string, c engine.Conn) {
					go func() {
						<-time.After(test.sentAfter)
						emit(t, c, "welcome")
					}()
				}
				p := s.open()
				polled, start := p.pollLater(), time.Now()
				synctest.Wait() // until the poll is pending
				p.post(test.packet).want(t, 200, "ok")
				body := (<-polled).body
				took := time.Since(start)
				answer, welcome, more := strings.Cut(body, "\x1e")
				wantConnect(t, "/", answer)
				if more != test.together || more && welcome != `42["welcome"]` || took != test.answered {
					t.Errorf("%s is answered with %q after %v", test.packet, body, took)
				}
				if !more {
					p.want(`42["welcome"]`)
				}
			})
		})
	}
}
