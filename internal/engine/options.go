package engine

import (
	"cmp"
	"log/slog"
	"net/http"
	"time"
)

// Options configure an engine; a field that is zero has the default it states.
type Options struct {
	PingInterval   time.Duration // between two pings, of the server (Engine.IO 4) or of the client (3); 25 s
	PingTimeout    time.Duration // how long the answer to a ping (4), or a ping itself (3), may be late; 20 s
	ConnectTimeout time.Duration // how long a connection may be in no namespace, at first or, once Conn.Trust was called, later; 45 s
	FlushTimeout   time.Duration // how long the end of a connection waits for its last messages to be written; 5 s
	FirstFlush     time.Duration // the same until Conn.Trust is called; FlushTimeout
	WriteTimeout   time.Duration // for one frame or one poll response; 10 s
	MaxPayload     int           // bytes of one websocket message or one POST body; 1 MiB
	FirstPayload   int           // the same until Conn.Trust is called, and what clients are told; MaxPayload
	MaxAttachments int           // attachments of one packet, together at most 4 times the payload; 16
	MaxDepth       int           // levels of JSON in one packet; 512
	MaxQueue       int           // bytes that wait for one peer, past which it is dropped; 4 MiB
	FirstQueue     int           // the same until Conn.Trust is called; MaxQueue

	// Describe makes of the first HTTP request of a connection what becomes Handshake.Request; nil: nothing.
	Describe func(*http.Request) any

	// Admit says whether there is room for the connection that was described so; nil: always. evict ends it at once, and
	// returns as soon; it may be called from any goroutine, while Admit runs or ever after. Left is called once for each
	// that was admitted and has ended; nil: it is not.
	Admit func(request any, evict func()) bool
	Left  func(request any)

	// Namespaces says who is told of the clients that join one. The root is "/"; clients of Engine.IO 3 are in it from
	// the start. Any other that a client asks for is refused.
	Namespaces map[string]Accept

	Logger *slog.Logger // nil: nothing is logged
}

// WithDefaults is o with the defaults in the place of what is zero.
func (o Options) WithDefaults() Options {
	o.PingInterval = positive(o.PingInterval, 25*time.Second)
	o.PingTimeout = positive(o.PingTimeout, 20*time.Second)
	o.ConnectTimeout = positive(o.ConnectTimeout, 45*time.Second)
	o.FlushTimeout = positive(o.FlushTimeout, 5*time.Second)
	o.FirstFlush = positive(o.FirstFlush, o.FlushTimeout)
	o.WriteTimeout = positive(o.WriteTimeout, 10*time.Second)
	o.MaxPayload = positive(o.MaxPayload, 1<<20)
	o.FirstPayload = positive(o.FirstPayload, o.MaxPayload)
	o.MaxAttachments = positive(o.MaxAttachments, 16)
	o.MaxDepth = positive(o.MaxDepth, 512)
	o.MaxQueue = positive(o.MaxQueue, 4<<20)
	o.FirstQueue = positive(o.FirstQueue, o.MaxQueue)
	if o.Describe == nil {
		o.Describe = func(*http.Request) any { return nil }
	}
	if o.Admit == nil {
		o.Admit = func(any, func()) bool { return true }
	}
	if o.Left == nil {
		o.Left = func(any) {}
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	return o
}

func positive[T cmp.Ordered](v, otherwise T) T {
	var zero T
	if v > zero {
		return v
	}
	return otherwise
}
