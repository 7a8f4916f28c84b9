package blacklist

import "github.com/z-open/socketauth/internal/id"

// newID returns a random id as text.
func newID() string { return id.New().String() }

// size returns how many sessions the store remembers, without removing any.
func (m *memory) size() (n int) {
	for i := range m.shards {
		n += m.shards[i].records.Len()
	}
	return n
}

// remembered returns how many entries of users the store has, and how many of sessions and users it
// is to look at.
func (m *memory) remembered() (users, sessionsDue, usersDue int) {
	for i := range m.shards {
		sh := &m.shards[i]
		users += len(sh.users)
		sessionsDue += sh.due.Len()
		for _, b := range sh.usersDue.due {
			for ; b != nil; b = b.next {
				usersDue += len(b.keys)
			}
		}
		if len(sh.usersDue.due) > 0 && len(sh.users) == 0 {
			usersDue++ // minutes in which there is nothing
		}
	}
	return users, sessionsDue, usersDue
}
