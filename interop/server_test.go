package interop

import (
	"net/http"
	"testing"
	"time"

	"github.com/z-open/socketauth"
)

// TestRestart: clients reconnect by themselves after the server was shut down and started again.
func TestRestart(t *testing.T) {
	matrix(t, func(t *testing.T, r run) {
		a := serve(t, setup{})
		d := play(t, r, "restart", a.url, nil)
		d.enters("member")
		d.hears("member", "settled", r.final())

		a.stop(t)
		serve(t, setup{on: a.listener}) // at once: new connections wait for it
		d.ignore("connect_error")
		if r.final() == "polling" {
			d.lost("member") // by a refused poll, if no poll was pending
		} else {
			d.hears("member", "disconnect", "transport close")
		}
		d.hears("member", "connect")
		d.refused("member", "no_longer_valid") // the new server knows none of the sessions
		d.done()
	})
}

// TestIdle: connections last longer than the app's timeouts for requests, also behind middleware
// whose ResponseWriter has no optional methods.
func TestIdle(t *testing.T) {
	const timeout = 2 * time.Second // the server's ReadTimeout and WriteTimeout
	shapes := map[string]func(http.Handler) http.Handler{
		"server":     func(h http.Handler) http.Handler { return h },
		"middleware": withStatusLog,
	}
	for name, wrap := range shapes {
		t.Run(name, func(t *testing.T) {
			matrix(t, func(t *testing.T, r run) {
				a := serve(t, setup{server: func(s *http.Server) {
					s.ReadTimeout, s.WriteTimeout, s.Handler = timeout, timeout, wrap(s.Handler)
				}})
				d := play(t, r, "idle", a.url, map[string]any{"pause": (2*timeout + timeout/4).Milliseconds()})
				d.enters("member")
				d.hears("member", "settled", r.final())
				d.ignore("reply to speak") // comes before or after the broadcast
				d.hears("member", "news", "still here")
				d.done()
			})
		})
	}
}

// TestSubprotocols: clients that offer websocket subprotocols can connect, and one subprotocol is
// chosen.
func TestSubprotocols(t *testing.T) {
	matrix(t, func(t *testing.T, r run) {
		d := play(t, r, "subprotocols", serve(t, setup{}).url, nil)
		d.enters("member")
		d.hears("member", "settled", r.final())
		d.hears("member", "reply to echo", "alive")
		d.done()
	})
}

// statusWriter is a ResponseWriter as many logging middlewares pass it on: its only optional method
// is Unwrap.
type statusWriter struct {
	inner  http.ResponseWriter
	status int
}

func (w *statusWriter) Header() http.Header         { return w.inner.Header() }
func (w *statusWriter) Write(b []byte) (int, error) { return w.inner.Write(b) }
func (w *statusWriter) Unwrap() http.ResponseWriter { return w.inner }

func (w *statusWriter) WriteHeader(status int) {
	w.status = status
	w.inner.WriteHeader(status)
}

// withStatusLog is such a middleware.
func withStatusLog(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		next.ServeHTTP(&statusWriter{inner: w}, r)
	})
}

// TestOrigins: pages of origins that are not allowed cannot connect.
func TestOrigins(t *testing.T) {
	const allowed, foreign = "https://app.example", "https://evil.example"
	matrix(t, func(t *testing.T, r run) {
		a := serve(t, setup{options: func(o *socketauth.Options[string]) { o.AllowedOrigins = []string{allowed} }})
		d := play(t, r, "origins", a.url, map[string]any{"allowed": allowed, "foreign": foreign})
		if r.transport == "websocket" {
			d.hears("foreign", "connect_error")
		} else {
			d.hears("foreign", "connect_error", map[string]any{"message": "xhr poll error", "status": http.StatusForbidden})
		}
		d.enters("allowed")
		d.done()

		for origin, status := range map[string]int{foreign: http.StatusForbidden, allowed: http.StatusOK} {
			request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, a.url+"/socket.io/?EIO=4&transport=polling", nil)
			if err != nil {
				t.Fatal(err)
			}
			request.Header.Set("Origin", origin)
			answer, err := http.DefaultClient.Do(request)
			if err != nil {
				t.Fatal(err)
			}
			_ = answer.Body.Close()
			if answer.StatusCode != status {
				t.Errorf("a poll from %s was answered %d, %d should have been", origin, answer.StatusCode, status)
			}
		}
	})
}
