package cluster

import (
	"testing"
	"time"
)

// memberWalk is what a node knows of one other, together with what has happened.
type memberWalk struct {
	members
	now      time.Time
	other    nodeID
	number   uint64
	on, room *topic
	record   []packet // what the other has said

	heardAt  time.Time // when something of it was last taken
	foundAt  time.Time // when something of it was taken and it was new, or had expired
	named    bool      // it has named this node since it was new or expired
	left     bool      // it has said goodbye
	accepted bool      // the last event was a message that was taken
	replayed bool      // the last event was something recorded
}

func newMemberWalk() *memberWalk {
	w := &memberWalk{now: time.Unix(1e9, 0), other: nodeID{name: [8]byte{'o'}, run: [16]byte{1}}}
	t := newTopics()
	w.members = newMembers(nodeID{name: [8]byte{'s'}, run: [16]byte{2}}, 10*time.Second, &t)
	w.on, w.room = t.join(control, simTag), t.join(room, simTag)
	return w
}

func (w *memberWalk) say(t *topic, of form, body []byte) {
	if w.accepted = false; w.left {
		return // it has ended
	}
	w.number++
	p := packet{tag: t.tag, header: header{form: of, from: w.other, number: w.number, sent: w.now.UnixMilli()}, body: body}
	w.record = append(w.record, p)
	w.take(p)
}

func (w *memberWalk) take(p packet) {
	m := w.all[w.other]
	wasNew := m == nil || m.phase == expired
	if w.accepted = w.hear(w.now, w.topics.byTag[p.tag], &p.header, p.body).verdict == accepted; !w.accepted {
		return
	}
	if w.heardAt = w.now; wasNew {
		w.foundAt = w.now
	}
	switch p.header.form {
	case beat:
		b, _ := readHeartbeat(p.body)
		w.named = w.named && !wasNew || hasRun(b.nodes, w.self.run)
	case goodbye:
		w.left = true
	}
}

func (w *memberWalk) pass(d time.Duration) {
	w.accepted = false
	for end := w.now.Add(d); w.now.Before(end); {
		w.now = w.now.Add(min(time.Second, end.Sub(w.now)))
		w.tick(w.now, func(Topic) {})
	}
}

// replay has somebody say the first or last thing again that the other has said.
func (w *memberWalk) replay(i int) {
	w.replayed = true
	if len(w.record) > 0 {
		w.take(w.record[(len(w.record)+i)%len(w.record)])
	}
}

var memberEvents = []struct {
	name string
	run  func(w *memberWalk)
}{
	{"a heartbeat that names it", func(w *memberWalk) {
		w.say(w.on, beat, (&heartbeat{first: true, last: true, nodes: w.self.run[:]}).append(nil))
	}},
	{"a heartbeat that does not", func(w *memberWalk) { w.say(w.on, beat, (&heartbeat{first: true, last: true}).append(nil)) }},
	{"a message", func(w *memberWalk) { w.say(w.room, news, nil) }},
	{"a question", func(w *memberWalk) { w.say(w.on, question, nil) }},
	{"goodbye", func(w *memberWalk) { w.say(w.on, goodbye, nil) }},
	{"the first is said again", func(w *memberWalk) { w.replay(0) }},
	{"the last is said again", func(w *memberWalk) { w.replay(-1) }},
	{"2 s", func(w *memberWalk) { w.pass(2 * time.Second) }},
	{"9 s", func(w *memberWalk) { w.pass(9 * time.Second) }},
	{"70 s", func(w *memberWalk) { w.pass(70 * time.Second) }},
}

// fault returns what is wrong, or "".
func (w *memberWalk) fault() string {
	m := w.all[w.other]
	quiet := w.now.Sub(w.heardAt)
	listed := len(w.list()) == 1
	deaf := !w.named && m != nil && w.heardAt.Sub(w.foundAt) >= settling // it goes on without naming this node
	switch {
	case w.replayed && w.accepted:
		return "something recorded was taken"
	case w.accepted && w.record[len(w.record)-1].header.form >= question && !w.named:
		return "taken from one who has not named this node"
	case listed != ((w.named && quiet < w.keep || deaf) && !w.left):
		return "listed, or not, and the reverse is right"
	case listed && (m.phase == living) != (w.named && quiet < silentAfter):
		return "living and not heard, or silent and heard"
	case m == nil && len(w.names) > 0, m != nil && (w.names[w.other.name] == m) != (m.phase < expired):
		return "its name is taken, or free, and the reverse is right"
	case m != nil && quiet > w.keep+replayable+2*time.Second:
		return "not forgotten"
	case m == nil && w.number > 0 && quiet < replayable && !w.heardAt.IsZero():
		return "forgotten too early"
	}
	return ""
}

// TestEveryOrderOfMember guards, for every order of events, when another node is listed, living,
// silent and forgotten, and that nothing is taken from it before it has named this one, or twice,
// and nothing that was recorded of it.
func TestEveryOrderOfMember(t *testing.T) {
	depth := 5
	if raceEnabled {
		depth = 4
	}
	count := 0
	var path []int
	var walk func()
	walk = func() {
		w := newMemberWalk()
		for i, event := range path {
			w.replayed, w.accepted = false, false
			memberEvents[event].run(w)
			if fault := w.fault(); fault != "" {
				for _, event := range path[:i+1] {
					t.Log(memberEvents[event].name)
				}
				t.Fatal(fault)
			}
		}
		if count++; len(path) == depth {
			return
		}
		for event := range memberEvents {
			path = append(path, event)
			walk()
			path = path[:len(path)-1]
		}
	}
	walk()
	t.Logf("%d orders", count)
}
