package socketauth

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/z-open/socketauth/internal/engine"
	"github.com/z-open/socketauth/internal/hub"
)

// Target is a set of sockets to send to. Each Emit reaches the sockets that are in it at that time.
type Target struct {
	server *Server
	group  hub.Group   // if it is zero, nobody is in it
	more   []hub.Group // further groups
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

// Emit sends an event to every authenticated socket, as Socket.Emit does. It returns an error if the
// arguments cannot be encoded or the event is too large. A socket that has gone is not an error.
func (s *Server) Emit(event string, args ...any) error {
	return s.All().Emit(event, args...)
}

// Emit sends an event to the authenticated sockets of the target, once to each, as Server.Emit does.
func (t Target) Emit(event string, args ...any) error {
	m, err := message(event, args)
	if err != nil {
		return err
	}
	return emit(t.members(), m)
}

// emit sends a message to those of the sockets that are authenticated.
func emit(sockets []*Socket, m *engine.Message) error {
	for _, socket := range sockets {
		if socket.live() {
			if err := socket.conn.Emit(m); errors.Is(err, engine.ErrTooLarge) { // for every socket
				return err
			}
		}
	}
	return nil
}

// members returns the sockets of this process that are in the target, authenticated or not, each
// once.
func (t Target) members() []*Socket {
	if len(t.more) == 0 {
		return t.server.hub.Members(t.group)
	}
	return t.server.hub.MembersOfAny(append([]hub.Group{t.group}, t.more...))
}

// Peer is a socket that is connected to one of the processes of the app.
type Peer struct {
	UserID    string    `json:"userId"`
	SessionID string    `json:"sessionId"`
	Since     time.Time `json:"since"` // when it connected, by the clock of its process

	// Node names the process, as Stats.Nodes does. It is empty without Options.Cluster.
	Node string `json:"node,omitempty"`
}

// Sockets returns the authenticated sockets of the target, those that connected first coming first.
func (t Target) Sockets(ctx context.Context) ([]Peer, error) {
	peers := t.peers("")
	slices.SortStableFunc(peers, func(a, b Peer) int { return a.Since.Compare(b.Since) })
	return peers, nil
}

// peers returns those of this process, which has the given name.
func (t Target) peers(node string) []Peer {
	var peers []Peer
	for _, socket := range t.members() {
		if token := socket.newest(); token != nil && socket.live() {
			peers = append(peers, Peer{token.UserID, token.SessionID, socket.connection.opened, node})
		}
	}
	return peers
}
