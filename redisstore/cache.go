package redisstore

import "sync"

// cache keeps the records that this process saw last. They may be out of date: the script that
// writes compares them with what is in Redis. It is safe for concurrent use.
type cache struct {
	most int
	mu   sync.Mutex
	// What was seen since the last turn, and before it. When one is full, the older one is dropped.
	young, old map[string]sight
}

// sight is what a decision on a session is made on, as it is in Redis.
type sight struct {
	record   string // "" if there is none
	override string // the mark and the cut beside the record
	entry    string // what is remembered of the user; only if there is no record
	remains  string // of a session that has ended
}

func (c *cache) get(key string) (seen sight, ok bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if seen, ok = c.young[key]; ok {
		return seen, true
	}
	seen, ok = c.old[key]
	return seen, ok
}

// put keeps a session that has a record, and forgets one that has none.
func (c *cache) put(key string, seen sight) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.old, key)
	if seen.record == "" || c.most < 0 {
		delete(c.young, key)
		return
	}
	if len(c.young) >= max(1, c.most/2) {
		c.young, c.old = nil, c.young
	}
	if c.young == nil {
		c.young = make(map[string]sight)
	}
	c.young[key] = seen
}

func (c *cache) drop(key string) { c.put(key, sight{}) }
