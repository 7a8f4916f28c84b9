package engine

import (
	"cmp"
	"log/slog"
	"net/http"
	"time"

	"github.com/z-open/socketauth/internal/id"
)

// Options configure an engine. A field that is zero has its default.
type Options struct {
	// PingInterval is the time between two pings, which the server (Engine.IO 4) or the client (3)
	// sends. The default is 25 seconds.
	PingInterval time.Duration

	// PingTimeout is how late the answer to a ping (4), or a ping (3), may be. The default
	// is 20 seconds.
	PingTimeout time.Duration

	// ConnectTimeout is how long a client may be in no namespace: at first and, after Conn.Trust,
	// each time. The default is 45 seconds.
	ConnectTimeout time.Duration

	// FlushTimeout is how long a closing connection waits for its last messages to be written. The
	// default is 5 seconds. FirstFlush is the same until Conn.Trust is called. The default is
	// FlushTimeout.
	FlushTimeout time.Duration
	FirstFlush   time.Duration

	// WriteTimeout is for one write to a websocket, or one poll response. The default is 10
	// seconds.
	WriteTimeout time.Duration

	// MaxPayload is how many bytes a websocket message or the body of a POST may have. The
	// default is 1 MiB. FirstPayload is the same until Conn.Trust is called, and what clients are
	// told. The default is MaxPayload.
	MaxPayload   int
	FirstPayload int

	// MaxAttachments is how many attachments a packet may have, together at most 4 times the
	// payload. The default is 16.
	MaxAttachments int

	// MaxDepth is how deeply the JSON of a packet may be nested. The default is 512.
	MaxDepth int

	// MaxQueue is how many bytes may wait for one client before its connection is closed. The
	// default is 4 MiB. FirstQueue is the same until Conn.Trust is called. The default is MaxQueue.
	MaxQueue   int
	FirstQueue int

	// IDPrefix begins the id of each session. Requests name their session by its id, so the prefix
	// says where a request belongs. The default is none.
	IDPrefix string

	// Describe returns what becomes Handshake.Request, for the first HTTP request of a connection.
	// The default is nil.
	Describe func(*http.Request) any

	// Admit reports whether a connection is admitted, given what Describe returned. By default all
	// are. evict ends the connection; it returns at once, and may be called from any goroutine,
	// while Admit runs or later. Left is called once for each connection that was admitted, when it
	// has ended. Both may be nil.
	Admit func(request any, evict func()) bool
	Left  func(request any)

	// EventName returns the text of the name of an event, so that it need not be copied if there is a
	// string of the same text. By default it is copied.
	EventName func(name []byte) string

	// Namespaces has the Accept functions of the namespaces. The root is "/"; clients of Engine.IO
	// 3 are in it from the start. A client that asks for any other namespace is refused.
	Namespaces map[string]Accept

	// Logger gets log messages. By default none are logged.
	Logger *slog.Logger
}

// WithDefaults returns o with the defaults in place of zero values.
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
	if o.EventName == nil {
		o.EventName = func(name []byte) string { return string(name) }
	}
	if o.Left == nil {
		o.Left = func(any) {}
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	return o
}

// NewSessionID returns a new id for a session: IDPrefix and 128 random bits. Whoever knows the id
// of a session can read what its client is sent.
func (o *Options) NewSessionID() string { return o.IDPrefix + id.New().String() }

func positive[T cmp.Ordered](v, otherwise T) T {
	var zero T
	if v > zero {
		return v
	}
	return otherwise
}
