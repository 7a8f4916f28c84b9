package forward

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"sync/atomic"
	"testing"
	"time"

	"github.com/z-open/socketauth/internal/eio3"
	"github.com/z-open/socketauth/internal/eio4"
	"github.com/z-open/socketauth/internal/engine"
	"github.com/z-open/socketauth/internal/engine/enginetest"
	"github.com/z-open/socketauth/internal/siotest"
)

// TestEngines guards that whatever an engine does for its clients, it does for clients whose
// requests reach it by way of another process, too.
func TestEngines(t *testing.T) {
	for version, start := range map[enginetest.Version]func(engine.Options) engine.Engine{
		enginetest.V3: func(o engine.Options) engine.Engine { return eio3.New(o) },
		enginetest.V4: func(o engine.Options) engine.Engine { return eio4.New(o) },
	} {
		t.Run(version.String(), func(t *testing.T) {
			start := func(o engine.Options) engine.Engine { return newRelay(o, start) }
			enginetest.Run(t, version, start)
			for name, test := range map[string]func(*testing.T, enginetest.Version, func(engine.Options) engine.Engine){
				"SlowBodies":     enginetest.SlowBodies,
				"UnknownLengths": enginetest.UnknownLengths,
				"Handshakes":     enginetest.Handshakes,
				"HalfEvents":     enginetest.HalfEvents,
				"UpgradesAtOnce": enginetest.UpgradesAtOnce,
			} {
				t.Run(name, func(t *testing.T) { test(t, version, start) })
			}
		})
	}
	if handedOn.Load() == 0 {
		t.Error("no request was handed on")
	}
}

// handedOn is how many requests all relays have handed on.
var handedOn atomic.Uint64

// relay is an engine that is reached by way of another process, except for the first request of
// each connection.
type relay struct {
	front  *Forwarder
	engine engine.Engine
	server *http.Server
}

func newRelay(o engine.Options, start func(engine.Options) engine.Engine) *relay {
	const url = "http://10.0.0.1:8080"
	listener := siotest.Listen()
	c := Config{
		Key:         make([]byte, 32),
		Peers:       func() []string { return []string{url} },
		ClientIP:    func(*http.Request) string { return "192.0.2.1" },
		MaxBody:     int64(o.WithDefaults().MaxPayload),
		MaxRequests: -1,
		Counts:      new(Counts),
		Dial:        listener.DialContext,
		Logger:      slog.New(slog.DiscardHandler),
	}
	front, err := New(c)
	if err != nil {
		panic(err)
	}
	c.Advertise = url
	back, err := New(c)
	if err != nil {
		panic(err)
	}
	o.IDPrefix = back.Name()
	r := &relay{front: front, engine: start(o)}
	r.server = &http.Server{ReadTimeout: 2 * time.Second, WriteTimeout: 2 * time.Second}
	r.server.Handler = http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		if own, handedOn := back.Serve(w, req); !handedOn {
			r.engine.ServeHTTP(w, own)
		}
	})
	go func() { _ = r.server.Serve(listener) }()
	return r
}

// ServeHTTP implements http.Handler.
func (r *relay) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	if own, handedOn := r.front.Serve(w, req); !handedOn {
		r.engine.ServeHTTP(w, own)
	}
}

// Shutdown implements engine.Engine. The process with the connections ends first, and the other one
// soon after.
func (r *relay) Shutdown(ctx context.Context) error {
	ended := make(chan error, 1)
	go func() { ended <- r.engine.Shutdown(ctx) }()
	err := error(nil)
	select {
	case err = <-ended:
		ended <- nil
	case <-time.After(time.Second):
	}
	defer func() { handedOn.Add(r.front.c.Counts.Sent.Load()) }()
	return errors.Join(r.front.Shutdown(ctx), err, <-ended, r.server.Close())
}
