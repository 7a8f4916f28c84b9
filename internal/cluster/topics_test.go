package cluster

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// topicsWalk is topics together with what its caller has seen of it.
type topicsWalk struct {
	topics
	now    time.Time
	joined [2]int
	open   [2]bool // what the broker has
	busy   []*topic
	closed bool
	forgot [2]int // how often what was heard was forgotten, and began
	began  [2]int
}

var walkTopics = [2]Topic{{'r', "0"}, {'r', "1"}}

func newTopicsWalk() *topicsWalk {
	w := &topicsWalk{topics: newTopics(), now: time.Unix(0, 0)}
	w.subscribe = func(_ time.Time, t *topic) {}
	w.forget = func(t *topic) { w.forgot[t.index()]++ }
	return w
}

func (t *topic) index() int { return int(t.Name[0] - '0') }

// topicEvents are what can happen to topics. Each returns false if it cannot happen now.
var topicEvents = []struct {
	name string
	run  func(w *topicsWalk) bool
}{
	{"join 0", func(w *topicsWalk) bool { return w.joinOne(0) }},
	{"join 1", func(w *topicsWalk) bool { return w.joinOne(1) }},
	{"leave 0", func(w *topicsWalk) bool { return w.leaveOne(0) }},
	{"leave 1", func(w *topicsWalk) bool { return w.leaveOne(1) }},
	{"next", func(w *topicsWalk) bool {
		t := w.next(w.now)
		if t == nil {
			return false
		}
		if t.state == asked {
			w.began[t.index()]++
		}
		w.busy = append(w.busy, t)
		return true
	}},
	{"first ok", func(w *topicsWalk) bool { return w.end(0, true) }},
	{"first fails", func(w *topicsWalk) bool { return w.end(0, false) }},
	{"second ok", func(w *topicsWalk) bool { return w.end(1, true) }},
	{"time", func(w *topicsWalk) bool {
		w.now = w.now.Add(lastRetry)
		return w.failures > 0
	}},
	{"close", func(w *topicsWalk) bool {
		if w.closed {
			return false
		}
		w.closed = true
		w.close()
		return true
	}},
}

func (w *topicsWalk) joinOne(i int) bool {
	if w.joined[i] == 2 || w.closed {
		return false
	}
	w.joined[i]++
	w.join(walkTopics[i], simTag)
	return true
}

func (w *topicsWalk) leaveOne(i int) bool {
	if w.closed {
		return false
	}
	w.joined[i] = max(w.joined[i]-1, 0)
	w.leave(walkTopics[i])
	return true
}

func (w *topicsWalk) end(i int, ok bool) bool {
	if len(w.busy) <= i {
		return false
	}
	t := w.busy[i]
	if t.state == cancelling && !ok {
		return false
	}
	w.busy = slices.Delete(w.busy, i, i+1)
	if t.state == cancelling {
		w.open[t.index()] = false
		w.cancelled(t)
		return true
	}
	w.open[t.index()] = ok
	w.done(t, w.now, ok)
	return true
}

// fault returns what is wrong, or "".
func (w *topicsWalk) fault() string {
	for i, name := range walkTopics {
		t := w.byTopic[name]
		busy := slices.ContainsFunc(w.busy, func(b *topic) bool { return b.index() == i })
		switch {
		case t == nil && (w.joined[i] > 0 && !w.closed || w.open[i] || busy):
			return "forgotten although it is joined, subscribed to, or about to be"
		case t != nil && t.joined != w.joined[i]:
			return "miscounted"
		case t == nil:
		case t.state == none && t.queue == nil:
			return "kept although there is nothing to do"
		case (t.state == asked || t.state == cancelling) != busy:
			return "under way although nobody does it, or the reverse"
		case (t.state == subscribed || t.state == cancelling) != w.open[i]:
			return "it is wrong about the subscription"
		case t.state == subscribed && (w.joined[i] == 0 || w.closed) != (t.queue == &w.unwanted):
			return "nobody has joined, and it is not cancelled; or it is"
		case t.state == none && t.queue != &w.wanted:
			return "joined, and not subscribed to"
		case t != w.byTag[t.tag]:
			return "not found by its tag"
		}
		if open := w.open[i] || busy && t.state == asked; w.began[i]-w.forgot[i] != 0 != open {
			return "what was heard is not forgotten with the subscription"
		}
	}
	return ""
}

// String is the same for states that behave alike.
func (w *topicsWalk) String() string {
	s := fmt.Sprint(w.joined, w.open, w.closed, w.topics.asked, w.ending, min(w.failures, 2), w.now.Before(w.retryAt))
	for _, t := range w.busy {
		s += fmt.Sprint(" busy ", t.Name, t.state)
	}
	for e := w.wanted.Front(); e != nil; e = e.Next() {
		s += " wanted " + e.Value.(*topic).Name
	}
	for e := w.unwanted.Front(); e != nil; e = e.Next() {
		s += " unwanted " + e.Value.(*topic).Name
	}
	return s
}

// TestEveryStateOfTopics guards that what is joined becomes subscribed to, and only that, in every
// order of events: a leave while the subscription is being made, a join while it is cancelled.
func TestEveryStateOfTopics(t *testing.T) {
	replay := func(path []int) (*topicsWalk, bool) {
		w := newTopicsWalk()
		for i, event := range path {
			if ok := topicEvents[event].run(w); !ok && i == len(path)-1 {
				return nil, false
			}
			if fault := w.fault(); fault != "" {
				var names []string
				for _, event := range path[:i+1] {
					names = append(names, topicEvents[event].name)
				}
				t.Fatalf("%s:\n  %s\n%v", fault, strings.Join(names, "\n  "), w)
			}
		}
		return w, true
	}
	seen := map[string]bool{newTopicsWalk().String(): true}
	level := [][]int{nil}
	depth := 0
	for ; len(level) > 0; depth++ {
		var next [][]int
		for _, path := range level {
			for event := range topicEvents {
				longer := append(slices.Clip(path), event)
				w, ok := replay(longer)
				if !ok || seen[w.String()] {
					continue
				}
				seen[w.String()] = true
				next = append(next, longer)
				w.settles(t, longer)
			}
		}
		level = next
	}
	t.Logf("%d states, the farthest %d events away", len(seen), depth-1)
	if len(seen) < 1000 {
		t.Error("too few to mean anything")
	}
}

// settles checks that a state ends as it should if everything goes well from now on.
func (w *topicsWalk) settles(t *testing.T, path []int) {
	t.Helper()
	for range 30 {
		w.now = w.now.Add(lastRetry)
		topicEvents[4].run(w)
		w.end(0, true)
	}
	for i := range walkTopics {
		if want := w.joined[i] > 0 && !w.closed; w.open[i] != want || w.byTopic[walkTopics[i]] != nil != want {
			t.Fatalf("after %v: topic %d is subscribed to: %v", path, i, w.open[i])
		}
	}
}

// TestSubscriptionsBounded guards that few subscriptions are made at the same time, one while they
// fail, with pauses that grow up to 5 seconds.
func TestSubscriptionsBounded(t *testing.T) {
	w := newTopicsWalk()
	w.forget = func(*topic) {}
	for i := range 100 {
		w.join(Topic{'r', fmt.Sprint(i)}, simTag)
	}
	take := func() (taken []*topic) {
		for next := w.next(w.now); next != nil; next = w.next(w.now) {
			taken = append(taken, next)
		}
		return taken
	}
	first := take()
	if len(first) != maxAsked {
		t.Fatalf("%d at the same time", len(first))
	}
	for i, busy := range first {
		if w.done(busy, w.now, false); i < len(first)-1 && len(take()) > 0 {
			t.Fatal("another one is made while they fail")
		}
	}
	for range 20 {
		pause := w.retryAt.Sub(w.now)
		if pause <= 0 || pause > lastRetry {
			t.Fatalf("a pause of %v", pause)
		}
		w.now = w.retryAt.Add(-1)
		if len(take()) > 0 {
			t.Fatal("too early")
		}
		w.now = w.retryAt
		again := take()
		if len(again) != 1 {
			t.Fatalf("%d at the same time", len(again))
		}
		w.done(again[0], w.now, false)
	}
	if pause := w.retryAt.Sub(w.now); pause != lastRetry {
		t.Errorf("the last pause is %v", pause)
	}
	w.now = w.retryAt
	one := take()[0]
	if w.done(one, w.now, true); w.failures != 0 || len(take()) != maxAsked {
		t.Error("still careful although it works again")
	}
	for _, topic := range w.byTopic {
		if topic.state == asked {
			w.done(topic, w.now, false)
		}
	}
	w.leave(one.Topic)
	w.cancelled(take()[0])
	for i := range 100 {
		w.leave(Topic{'r', fmt.Sprint(i)})
	}
	if len(w.byTopic)+len(w.byTag)+w.wanted.Len() > 0 {
		t.Error("topics that nobody wants any more are kept while the broker is out of reach")
	}
}

// TestJoinWhileSubscribing guards that Join and Leave do not wait for the broker, and that a topic
// is heard after any order of them.
func TestJoinWhileSubscribing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := &memory{}
		ps := start(t, b, 2)
		p := ps[1]
		for i, trouble := range []func(p *port){
			func(p *port) { p.slow = 3 * time.Second },
			func(p *port) { p.hang = true },
			func(p *port) { p.down = true },
		} {
			began := time.Now()
			p.port.set(trouble)
			p.Join(room)
			synctest.Wait()
			p.Leave(room)
			p.Join(room)
			p.Join(room)
			p.Leave(room)
			p.Leave(room)
			p.Leave(room) // once too often
			p.Join(room)
			if took := time.Since(began); took > 0 || p.Hears(room) {
				t.Errorf("%d: it took %v", i, took)
			}
			time.Sleep(10 * time.Second)
			p.port.set(func(p *port) { p.slow, p.hang, p.down = 0, false, false })
			time.Sleep(10 * time.Second)
			ps[0].send("heard", room)
			p.expect("heard")
			if !p.Hears(room) || p.Hears(hall) {
				t.Errorf("%d: it does not hear", i)
			}
			p.Leave(room)
			ps[0].send("left", room)
			p.expect()
			if synctest.Wait(); p.Hears(room) || b.topicCount() != 3 {
				t.Errorf("%d: %d topics are left", i, b.topicCount())
			}
		}
	})
}
