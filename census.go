package socketauth

import (
	"container/list"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/z-open/socketauth/internal/throttle"
)

// visit is one connection of the transport, on which a client may join, leave and join again.
type visit struct {
	request  Request
	opened   time.Time   // when the first request came: a handshake that brings a token may have been on its way since
	stranger atomic.Bool // it has joined, and not authenticated since
	engine   string      // the version that the client speaks
	network  string      // where it comes from, for limits; "": they do not apply
	socket   atomic.Pointer[Socket]
	evict    func() // ends it

	// Of the server's census.
	friend bool    // it has authenticated, and not left since
	proven bool    // it has authenticated
	left   bool    // it has ended
	places []place // where it stands among the strangers
}

// census counts the connections of one server, and knows which of the strangers is the oldest.
type census struct {
	mu        sync.Mutex
	engines   map[string]SocketStats
	sockets   int
	strangers map[string]*list.List // that were not told to make way, the oldest first: by their networks, and all by ""
}

// crowd is the strangers that one limit is for.
type crowd struct {
	name  string
	limit int
	says  string // the limit's name
}

// wideNetworks is how many times as many strangers may come from an IPv6 /48 as from a /64 of it.
const wideNetworks = 16

// crowds are those that a visit belongs to, the smallest first.
func (l Limits) crowds(v *visit) []crowd {
	all := crowd{"", l.Strangers, limitStrangers}
	if v.network == "" {
		return []crowd{all}
	}
	crowds := []crowd{{v.network, l.StrangersPerAddress, limitStrangersPerAddress}}
	if wide := throttle.Wide(v.network); wide != v.network && l.StrangersPerAddress != NoLimit {
		crowds = append(crowds, crowd{wide, wideNetworks * l.StrangersPerAddress, limitStrangersPerAddress})
	}
	return append(crowds, all)
}

// admit counts a new connection, unless there are too many of all kinds. Where there are too many strangers, the oldest
// gives its place up: who is honest is none after a round trip or two, while who means to fill the places has to come
// again as often as everybody else together. This holds for one network too, where an attacker and honest clients may
// share an address. limit is the one that was reached.
func (c *census) admit(v *visit, l Limits) (admitted bool, limit string, oldest *visit) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if past(c.sockets+1, l.Sockets) {
		return false, limitSockets, nil
	}
	if c.engines == nil {
		c.engines, c.strangers = make(map[string]SocketStats), make(map[string]*list.List)
	}
	c.sockets++
	c.moveLocked(v, 1, 0)
	limit, oldest = c.listLocked(v, l)
	return true, limit, oldest
}

// estrange moves a connection whose client has left back to the strangers, as their youngest: else whoever has an account
// could hold any number of connections, each of which has authenticated once.
func (c *census) estrange(v *visit, l Limits) (limit string, oldest *visit) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !v.friend || v.left {
		return "", nil
	}
	v.friend = false
	c.moveLocked(v, 1, -1)
	return c.listLocked(v, l)
}

// listLocked puts a visit among the strangers, and says who makes way for it.
func (c *census) listLocked(v *visit, l Limits) (limit string, oldest *visit) {
	for _, crowd := range l.crowds(v) {
		if oldest == nil {
			if oldest = c.pastLocked(crowd); oldest != nil { // of the larger crowds too
				limit = crowd.says
				c.knownLocked(oldest)
			}
		}
		if c.strangers[crowd.name] == nil {
			c.strangers[crowd.name] = list.New()
		}
		v.places = append(v.places, place{crowd.name, c.strangers[crowd.name].PushBack(v)})
	}
	return limit, oldest
}

// pastLocked is the oldest of a crowd in which there is no room for one more.
func (c *census) pastLocked(of crowd) *visit {
	strangers := c.strangers[of.name]
	if strangers == nil || !past(strangers.Len()+1, of.limit) {
		return nil
	}
	return strangers.Front().Value.(*visit)
}

// place is where a visit stands in one crowd.
type place struct {
	crowd string
	at    *list.Element
}

// knownLocked takes a visit out of the strangers.
func (c *census) knownLocked(v *visit) {
	for _, p := range v.places {
		strangers := c.strangers[p.crowd]
		if strangers.Remove(p.at); strangers.Len() == 0 {
			delete(c.strangers, p.crowd)
		}
	}
	v.places = nil
}

// befriend moves a connection to those that have authenticated, unless it has ended meanwhile.
func (c *census) befriend(v *visit) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !v.friend && !v.left {
		v.friend, v.proven = true, true
		c.knownLocked(v)
		c.moveLocked(v, -1, 1)
	}
}

// isProven says whether a connection has ever authenticated.
func (c *census) isProven(v *visit) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return v.proven
}

// leave takes a connection out.
func (c *census) leave(v *visit) {
	c.mu.Lock()
	defer c.mu.Unlock()
	v.left = true
	c.sockets--
	c.knownLocked(v)
	if v.friend {
		c.moveLocked(v, 0, -1)
	} else {
		c.moveLocked(v, -1, 0)
	}
}

func (c *census) moveLocked(v *visit, strangers, friends int) {
	n := c.engines[v.engine]
	c.engines[v.engine] = SocketStats{n.Connecting + strangers, n.Authenticated + friends}
}

func (c *census) count() map[string]SocketStats {
	c.mu.Lock()
	defer c.mu.Unlock()
	all := make(map[string]SocketStats, len(c.engines))
	for version, n := range c.engines {
		all[version] = n
	}
	return all
}

// admit is asked by the engines about each new connection.
func (s *Server) admit(request any, evict func()) bool {
	v := request.(*visit)
	s.mu.RLock()
	closing := s.closing
	s.mu.RUnlock()
	if closing {
		return false
	}
	v.evict = evict
	admitted, limit, oldest := s.census.admit(v, s.auth.limits)
	if limit != "" {
		s.makeRoom(v, limit, oldest)
	}
	return admitted
}

// makeRoom says which limit a visit has reached, and ends the stranger that has to go for it, if one has.
func (s *Server) makeRoom(v *visit, limit string, oldest *visit) {
	s.auth.limited(limit, slog.String("address", v.request.ClientIP))
	if oldest != nil {
		oldest.makeWay()
	}
}

// makeWay ends a stranger's connection, but not where the store is about to decide on its token: to lose the answer could
// cost an honest client its session, and it will be one of those who are in, or gone, soon.
func (v *visit) makeWay() {
	if s := v.socket.Load(); s == nil || s.expel() {
		v.evict()
	}
}

// left is told by the engines of each connection that has ended.
func (s *Server) left(request any) { s.census.leave(request.(*visit)) }
