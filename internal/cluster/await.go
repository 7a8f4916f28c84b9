package cluster

import "context"

// Await waits until the node hears the topics, so that what others send from now on is delivered,
// as far as it has joined them. It returns false if it gives up, because ctx has ended or the
// broker is out of reach.
func (n *Node) Await(ctx context.Context, topics ...Topic) bool {
	for _, t := range topics {
		for {
			ready, hears := n.awaited(t)
			if hears {
				break
			}
			if ready == nil {
				return false
			}
			select {
			case <-ready:
			case <-n.life.Done():
				return false
			case <-ctx.Done():
				return false
			}
		}
	}
	return true
}

// awaited reports whether the node hears a topic or has not joined it. If neither, it returns what
// is closed with the end of the next attempt to subscribe to it, or nil if the last attempt has
// failed.
func (n *Node) awaited(name Topic) (ready <-chan struct{}, hears bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	t := n.topics.byTopic[name]
	switch {
	case n.closed || !n.started:
		return nil, false
	case t == nil || t.joined == 0 || t.state == subscribed:
		return nil, true
	case n.topics.failures > 0:
		return nil, false
	}
	if t.ready == nil {
		t.ready = make(chan struct{})
	}
	return t.ready, false
}

// settled wakes those who await the topic.
func (t *topic) settled() {
	if t.ready != nil {
		close(t.ready)
		t.ready = nil
	}
}
