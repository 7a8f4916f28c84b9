package socketauth

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/z-open/socketauth/internal/cluster"
	"github.com/z-open/socketauth/internal/engine"
	"github.com/z-open/socketauth/internal/hub"
	"github.com/z-open/socketauth/internal/peerwire"
)

// Target is a set of sockets to send to. Each Emit reaches the sockets that are in it at that time.
// Nobody is in the zero Target.
type Target struct {
	server *Server     // nil in the zero Target
	group  hub.Group   // if it is zero, nobody is in it
	more   []hub.Group // further groups
	except []*Socket   // these are left out

	volatile bool // events are not sent to who is slow
}

// All returns all authenticated sockets.
func (s *Server) All() Target { return Target{server: s, group: everyone} }

// To returns the sockets that are in at least one of the rooms. Without rooms, nobody is.
func (s *Server) To(rooms ...string) Target {
	t := Target{server: s}
	for n, name := range rooms {
		if n == 0 {
			t.group = room(name)
		} else {
			t.more = append(t.more, room(name))
		}
	}
	return t
}

// ToUser returns the sockets of the user with the given claim "sub".
func (s *Server) ToUser(id string) Target { return Target{server: s, group: user(id)} }

// ToSession returns the sockets of the session with the given claim "sid".
func (s *Server) ToSession(sid string) Target { return Target{server: s, group: session(sid)} }

// To returns the other sockets that are in at least one of the rooms, as Server.To does.
func (s *Socket) To(rooms ...string) Target { return s.server.To(rooms...).Except(s) }

// Except returns the target without some sockets.
func (t Target) Except(sockets ...*Socket) Target {
	t.except = slices.Concat(t.except, sockets)
	return t
}

// Volatile returns the target for events that are worth nothing later, such as where a pointer is:
// a socket for whose client half of what may wait for it waits already, or whose claims are being
// brought up to date, is not sent them. Other events would disconnect it in the end.
func (t Target) Volatile() Target {
	t.volatile = true
	return t
}

// Emit sends an event to every authenticated socket, as Socket.Emit does. It returns an error if
// the arguments cannot be encoded or the event is too large. A socket that has gone is not an
// error.
//
// With Options.Cluster, the sockets of all processes are meant: those of this process are sent the
// event at once, those of others by the Broker, at most once and in the order of this process's
// emits to the same target. An event is then too large if it has more than 960 KiB. What the Broker
// does not take is lost, which is counted in Stats and logged, and is not an error.
func (s *Server) Emit(event string, args ...any) error {
	return s.All().Emit(event, args...)
}

// Emit sends an event to the authenticated sockets of the target, once to each, as Server.Emit
// does.
func (t Target) Emit(event string, args ...any) error {
	m, err := message(event, args)
	if err != nil || t.server == nil {
		return err
	}
	bus := t.server.bus
	if bus == nil {
		return t.emit(m)
	}
	groups := t.groups()
	data := peerwire.AppendEmit(nil, peerwire.Target{Server: t.server.place, Groups: groups}, m)
	if len(data) > cluster.MaxData {
		return fmt.Errorf("socketauth: event %q: %w to other processes: it has %d bytes, and %d is the maximum", event, engine.ErrTooLarge, len(data), cluster.MaxData)
	}
	err = t.emit(m)
	if err == nil && len(groups) > 0 {
		kind := kindEmit
		if t.volatile {
			kind = kindVolatile
		}
		bus.send(kind, data, groups)
	}
	return err
}

// emit sends a message to the authenticated sockets of this process.
func (t Target) emit(m *engine.Message) error {
	now := time.Now()
	for _, socket := range t.members() {
		if socket.receives(m, now, t.group, t.more, t.volatile) {
			if err := socket.conn.EmitShared(m, t.volatile); errors.Is(err, engine.ErrTooLarge) { // for every socket
				return err
			}
		}
	}
	return nil
}

// members returns the sockets of this process that are in the target, authenticated or not, each
// once.
func (t Target) members() (sockets []*Socket) {
	if len(t.more) == 0 {
		sockets = t.server.hub.Members(t.group)
	} else {
		sockets = t.server.hub.MembersOfAny(append([]hub.Group{t.group}, t.more...))
	}
	if len(t.except) > 0 {
		sockets = slices.DeleteFunc(sockets, func(s *Socket) bool { return slices.Contains(t.except, s) })
	}
	return sockets
}

// groups returns the groups of the target, each once.
func (t Target) groups() []hub.Group {
	if t.group.Kind == 0 {
		return nil
	}
	groups := []hub.Group{t.group}
	for _, g := range t.more {
		if !slices.Contains(groups, g) {
			groups = append(groups, g)
		}
	}
	return groups
}

// Sockets returns the authenticated sockets of the target, those that connected first coming first.
//
// With Options.Cluster they are those of all processes. If some processes have not answered within
// ReceiptTimeout or before ctx has ended, Sockets returns the sockets of the others with an error
// that names them and wraps ErrUnavailable.
func (t Target) Sockets(ctx context.Context) ([]Peer, error) {
	if t.server == nil {
		return nil, nil
	}
	var unheard []string
	var peers []Peer
	if bus := t.server.bus; bus != nil && t.group.Kind != 0 {
		question := peerwire.Target{Server: t.server.place, Groups: t.groups()}.Append(nil)
		_, unheard = bus.ask(ctx, kindSockets, question, func(node string, data []byte) bool {
			sockets, ok := peerwire.ParseSockets(data)
			if ok {
				peers = appendPeers(peers, node, sockets)
			}
			return ok
		})
	}
	name := ""
	if t.server.bus != nil {
		name = t.server.bus.name()
	}
	peers = appendPeers(peers, name, live(t.members()))
	slices.SortStableFunc(peers, func(a, b Peer) int { return a.Since.Compare(b.Since) })
	if len(unheard) > 0 {
		return peers, fmt.Errorf("%w: no answer from the processes %s", ErrUnavailable, strings.Join(unheard, ", "))
	}
	return peers, nil
}

func appendPeers(peers []Peer, node string, sockets []peerwire.Socket) []Peer {
	for _, s := range sockets {
		peers = append(peers, Peer{s.UserID, s.SessionID, s.Since, node})
	}
	return peers
}

// live describes those of the sockets that are authenticated.
func live(sockets []*Socket) (list []peerwire.Socket) {
	for _, socket := range sockets {
		if token := socket.newest(); token != nil && socket.live() {
			list = append(list, peerwire.Socket{UserID: token.UserID, SessionID: token.SessionID, Since: socket.connection.opened})
		}
	}
	return list
}

// deliver implements socketServer.
func (s *Server) deliver(groups []hub.Group, m *engine.Message, volatile bool) {
	if len(groups) > 0 {
		_ = Target{server: s, group: groups[0], more: groups[1:], volatile: volatile}.emit(m) // it was not too large for who sent it
	}
}

// sockets implements socketServer.
func (s *Server) sockets(groups []hub.Group) []peerwire.Socket {
	return live(s.hub.MembersOfAny(groups))
}
