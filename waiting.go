package socketauth

import (
	"github.com/z-open/socketauth/internal/backlog"
	"github.com/z-open/socketauth/internal/engine"
	"github.com/z-open/socketauth/internal/hub"
)

// waitingLimits bound what waits for one authenticated socket: messages, and events.
var waitingLimits = backlog.Limits{Items: 1024, Cost: 4 << 20}

// waiting is what waits for one socket: rooms and messages while its client is being let in, and
// messages and events while its claims are brought up to date. C is the type of an event.
type waiting[C any] struct {
	rooms    []string // joined in OnAuthenticated
	messages backlog.Queue[outgoing]
	calls    backlog.Queue[*C]
}

// actingKey is the key in the context of OnClaimsChanged under which its socket is.
type actingKey struct{}

// callKey is the key in the context of a handler under which its call is.
type callKey struct{}

// The values of call.runs.
const (
	inTurn       = iota // the events after it wait
	concurrently        // it lets them be handled beside it; set with the socket's lock held
	returned
)

// outgoing is a message that waits.
type outgoing struct {
	message *engine.Message
	groups  []hub.Group  // it is sent only if the socket is still in one of them; nil: in any case
	send    func() error // instead of an emit of the message; may be nil
}

func (w *waiting[C]) empty() bool {
	return w.rooms == nil && w.messages.Len() == 0 && w.calls.Len() == 0
}

// turn has an event of the given size wait for its turn, and returns the one whose turn it is: nil
// if there is none, or if all are held. c may be nil. full reports that too many wait.
func (w *waiting[C]) turn(c *C, size int, held bool) (next *C, full bool) {
	if c != nil && (held || w.calls.Len() > 0) {
		if !w.calls.Push(waitingLimits, size, c) {
			return nil, true
		}
		c = nil
	}
	if c == nil && !held {
		c, _ = w.calls.Pop()
	}
	return c, false
}

// add has a message wait, and reports whether there was room. What OnAuthenticated emits has no
// limits: the app knows how much that is.
func (w *waiting[C]) add(o outgoing, unlimited bool) bool {
	size := 256 + len(o.message.Text)
	for _, data := range o.message.Attachments {
		size += len(data)
	}
	if unlimited {
		w.messages.Add(size, o)
		return true
	}
	return w.messages.Push(waitingLimits, size, o)
}
