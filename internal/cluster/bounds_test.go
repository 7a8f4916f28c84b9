package cluster

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// TestMembersBounded guards that however many nodes there are, or somebody with the key pretends,
// few are remembered, those that are there before stay, and departed ones make room.
func TestMembersBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var l logs
		b := &memory{}
		ps := start(t, b, 1)
		p := newProcess(t, b, func(c *Config) {
			c.Logger, c.Keep = slog.New(slog.NewTextHandler(&l, nil)), 10*time.Second
		})
		p.Start()
		synctest.Wait()
		var all []*forger
		for range maxMembers + 100 {
			f := impostor(t, b, testKey, "")
			all = append(all, f)
			f.beat(heartbeat{nodes: runsOf(p)})
		}
		if n := len(p.Members()); n != maxMembers {
			t.Errorf("%d members", n)
		}
		if n := strings.Count(l.String(), "too many processes"); n != 1 {
			t.Errorf("logged %d times: %s", n, l.String())
		}
		all[0].say(control, all[0].header(goodbye), nil)
		late := impostor(t, b, testKey, "")
		late.beat(heartbeat{nodes: runsOf(p)})
		found := false
		for _, m := range p.Members() {
			found = found || m.Name == string(late.id.name[:])
		}
		p.look(func() {
			if n := len(p.members.all); n != maxMembers || !found {
				t.Errorf("%d members, the new one is among them: %v", n, found)
			}
		})
		// All of them are silent, expire, and are forgotten.
		time.Sleep(10*time.Second + replayable + time.Second)
		synctest.Wait()
		p.expectMembers(ps, nil)
		p.look(func() {
			if n := len(p.members.all) + len(p.members.names); n != 2 {
				t.Errorf("%d are remembered", n)
			}
		})
	})
}

// TestNewcomersForgotten guards that a node that was heard and has never named this one is
// forgotten.
func TestNewcomersForgotten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := &memory{}
		p := start(t, b, 1)[0]
		f := impostor(t, b, testKey, "")
		f.beat(heartbeat{})
		p.expectMembers(nil, nil)
		p.look(func() {
			if len(p.members.all) != 1 {
				t.Error("not remembered")
			}
		})
		time.Sleep(replayable + time.Second)
		synctest.Wait()
		p.look(func() {
			if len(p.members.all)+len(p.members.names) != 0 {
				t.Error("not forgotten")
			}
		})
	})
}

// TestHeardBounded guards that a node with the key can have this one remember little of topics:
// only of those that this node has joined, and only so many overdue messages.
func TestHeardBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := &memory{}
		p := newProcess(t, b, nil)
		p.Start()
		synctest.Wait()
		f := impostor(t, b, testKey, "")
		f.beat(heartbeat{nodes: runsOf(p)})
		p.Join(room)
		for range 4 {
			time.Sleep(time.Second)
			f.beat(heartbeat{})
		}
		var m *member
		p.look(func() { m = p.members.all[f.id] })
		counters := func(n int, topic func(i int) tag) (c []byte) {
			for i := range n {
				tg := topic(i)
				c = binary.BigEndian.AppendUint64(append(c, tg[:]...), f.last+1000+uint64(i))
			}
			return c
		}
		random := func(int) (t tag) { binary.BigEndian.PutUint64(t[:], rand.Uint64()); return t }
		f.beat(heartbeat{counters: counters(40000, random)})
		p.look(func() {
			if len(m.progress) > 2 || len(m.overdue) > 0 {
				t.Errorf("%d topics, %d overdue", len(m.progress), len(m.overdue))
			}
		})
		p.expectGaps()
		known := func(int) tag { return f.codec.tag(room) }
		f.beat(heartbeat{counters: counters(maxOverdue+1, known)})
		p.look(func() {
			if len(m.overdue) > maxOverdue {
				t.Errorf("%d overdue", len(m.overdue))
			}
		})
		p.expectGaps(control)
	})
}

// TestQuestionsBounded guards that a node that asks without end has few questions answered at the
// same time, and few wait.
func TestQuestionsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := &memory{}
		p := newProcess(t, b, nil)
		p.Start()
		synctest.Wait()
		f := impostor(t, b, testKey, "")
		f.beat(heartbeat{nodes: runsOf(p)})
		var mu sync.Mutex
		running, most, total := 0, 0, 0
		p.answers(func(ctx context.Context, _ Kind, _ []byte) []byte {
			mu.Lock()
			running++
			total++
			most = max(most, running)
			mu.Unlock()
			<-ctx.Done()
			mu.Lock()
			running--
			mu.Unlock()
			return nil
		})
		ask := func(size int) {
			f.say(control, f.header(question), append(appendQuestion(nil, f.last, 5000), make([]byte, size)...))
		}
		for range maxQuestions + 100 {
			ask(0)
		}
		mu.Lock()
		p.look(func() {
			if len(p.toAnswer) != maxQuestions || most != answerWorkers {
				t.Errorf("%d wait, %d at the same time", len(p.toAnswer), most)
			}
		})
		mu.Unlock()
		time.Sleep(6 * time.Second)
		synctest.Wait()
		// Those that have waited for too long are not answered.
		mu.Lock()
		p.look(func() {
			if len(p.toAnswer) != 0 || p.askedBytes != 0 || running != 0 || total != answerWorkers {
				t.Errorf("%d wait with %d bytes, %d were answered", len(p.toAnswer), p.askedBytes, total)
			}
		})
		mu.Unlock()
		for range 100 {
			ask(MaxData - questionSize)
		}
		p.look(func() {
			if p.askedBytes > maxQuestionBytes {
				t.Errorf("%d bytes wait", p.askedBytes)
			}
		})
		f.say(control, f.header(question), []byte("no question"))
		time.Sleep(6 * time.Second)
		synctest.Wait()
	})
}

// TestAsksBounded guards that only so many questions wait for their answers, and that the others
// wait for their turn no longer than their contexts last.
func TestAsksBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ps := start(t, &memory{}, 2)
		ps[1].answers(func(ctx context.Context, _ Kind, data []byte) []byte { time.Sleep(time.Millisecond); return data })
		ps[1].port.set(func(p *port) { p.mute = true })
		var wait sync.WaitGroup
		for i := range maxAsking + 10 {
			wait.Go(func() {
				ctx, stop := context.WithTimeout(t.Context(), time.Second)
				defer stop()
				began := time.Now()
				_, unheard := ps[0].Ask(ctx, 1, nil)
				if len(unheard) != 1 || time.Since(began) != time.Second {
					t.Errorf("question %d: unheard %v after %v", i, unheard, time.Since(began))
				}
			})
		}
		synctest.Wait()
		ps[0].look(func() {
			if n := len(ps[0].asks.open); n != maxAsking {
				t.Errorf("%d questions are open", n)
			}
		})
		wait.Wait()
		ps[0].look(func() {
			if len(ps[0].asks.open) != 0 {
				t.Error("questions are left")
			}
		})
		ps[1].answers(nil)
		ps[1].port.set(func(p *port) { p.mute = false })
		ps[0].ask(ps[1:], nil, 0)
	})
}

// TestAnswerParts guards that an answer is taken only whole, once, and from who was asked.
func TestAnswerParts(t *testing.T) {
	a, b, c := &member{name: "a", phase: living}, &member{name: "b", phase: living}, &member{name: "c", phase: living}
	type said struct {
		m *member
		part
	}
	for name, test := range map[string]struct {
		parts []said
		want  string // what a has answered; "-": nothing
		done  bool
	}{
		"nothing":                  {nil, "-", false},
		"whole":                    {[]said{{a, part{1, 0, partLast, []byte("x")}}}, "x", true},
		"two parts":                {[]said{{a, part{1, 0, partMore, []byte("x")}}, {a, part{1, 1, partLast, []byte("y")}}}, "xy", true},
		"not finished":             {[]said{{a, part{1, 0, partMore, []byte("x")}}}, "-", false},
		"the first is lost":        {[]said{{a, part{1, 1, partLast, []byte("y")}}}, "-", true},
		"one is lost":              {[]said{{a, part{1, 0, partMore, []byte("x")}}, {a, part{1, 2, partLast, []byte("z")}}}, "-", true},
		"and comes later":          {[]said{{a, part{1, 1, partMore, nil}}, {a, part{1, 0, partLast, []byte("x")}}}, "-", true},
		"after the last":           {[]said{{a, part{1, 1, partMore, nil}}, {a, part{1, 65535, partLast, []byte("x")}}}, "-", true},
		"said twice":               {[]said{{a, part{1, 0, partLast, []byte("x")}}, {a, part{1, 0, partLast, []byte("y")}}}, "x", true},
		"to another question":      {[]said{{a, part{2, 0, partLast, []byte("x")}}}, "-", false},
		"of one who was not asked": {[]said{{c, part{1, 0, partLast, []byte("x")}}}, "-", false},
		"of another":               {[]said{{b, part{1, 0, partMore, []byte("x")}}, {a, part{1, 0, partLast, []byte("y")}}}, "y", true},
		"refused":                  {[]said{{a, part{1, 0, partMore, []byte("x")}}, {a, part{1, 1, partRefused, nil}}}, "-", true},
		"too long": {[]said{
			{a, part{1, 0, partMore, make([]byte, maxAnswer)}}, {a, part{1, 1, partLast, []byte("x")}},
		}, "-", true},
	} {
		q := questions{open: make(map[uint64]*asking)}
		asking := q.ask([]*member{a, b})
		for _, s := range test.parts {
			q.take(s.m, s.part)
		}
		b.phase = gone
		q.left(b)
		b.phase = living
		done := false
		select {
		case <-asking.complete:
			done = true
		default:
		}
		answers, unheard := q.finish(asking)
		got := "-"
		if len(answers) == 1 {
			got = string(answers[0].Data)
		}
		if got != test.want || done != test.done || (got == "-") != (fmt.Sprint(unheard) == "[a]") || len(answers) > 1 {
			t.Errorf("%s: %q, unheard %v, complete: %v", name, got, unheard, done)
		}
		if q.bytes != 0 || len(q.open) != 0 {
			t.Errorf("%s: %d bytes and %d questions are left", name, q.bytes, len(q.open))
		}
	}
	// All answers together.
	q := questions{open: make(map[uint64]*asking)}
	var all []*asking
	for range maxAnswers/maxAnswer + 3 {
		all = append(all, q.ask([]*member{a}))
	}
	for _, asking := range all {
		q.take(a, part{asking.id, 0, partLast, make([]byte, maxAnswer)})
	}
	if q.bytes > maxAnswers {
		t.Errorf("%d bytes", q.bytes)
	}
	for i, asking := range all {
		if answers, _ := q.finish(asking); len(answers) == 1 != (i < maxAnswers/maxAnswer) {
			t.Errorf("answer %d", i)
		}
	}
	if q.bytes != 0 {
		t.Errorf("%d bytes are left", q.bytes)
	}
}

// TestQueue guards the limits of the queue, its order, and that neither kind of message starves the
// other.
func TestQueue(t *testing.T) {
	var q queue
	for range maxBulk + 10 {
		q.push(&item{form: news})
	}
	if len(q.bulk.items) != maxBulk {
		t.Errorf("%d messages", len(q.bulk.items))
	}
	for i := range 100 {
		q.push(&item{form: answer, copied: uint64(i)})
	}
	var order bytes.Buffer
	next := uint64(0)
	for range 50 {
		i := q.pop()
		if order.WriteByte('0' + byte(i.form)); i.form == answer {
			if i.copied != next {
				t.Fatal("not in order")
			}
			next++
		}
	}
	if got := order.String(); got != strings.Repeat("444444445", 5)+"44444" {
		t.Error(got)
	}
	for q.pop() != nil {
	}
	if q.bulk.bytes != 0 || q.urgent.bytes != 0 {
		t.Error("bytes are left")
	}
	for range 100 {
		q.push(&item{form: news, body: make([]byte, maxBulkBytes/10)})
	}
	if len(q.bulk.items) != 9 {
		t.Errorf("%d large messages", len(q.bulk.items))
	}
}

// TestNumbersBounded guards that the topics that were used are few, and forgotten, and that nothing
// is forgotten before a heartbeat has told of it as long as there is room.
func TestNumbersBounded(t *testing.T) {
	n := numbers{topics: make(map[tag]usedTopic)}
	now := time.Unix(0, 0)
	use := func(i int) (uint64, uint64) {
		var g tag
		binary.BigEndian.PutUint64(g[:], uint64(i))
		return n.next(g, now, false)
	}
	for i := range maxUsedTopics {
		use(i)
	}
	if c := n.counters(now); len(c) != maxUsedTopics*counterSize {
		t.Errorf("%d topics in a heartbeat", len(c)/counterSize)
	}
	n.told = n.last
	for i := range 1000 {
		use(maxUsedTopics + i)
	}
	if c := n.counters(now); len(c) < 990*counterSize || len(n.topics) != maxUsedTopics {
		t.Errorf("%d topics in a heartbeat, %d remembered", len(c)/counterSize, len(n.topics))
	}
	now = now.Add(usedFor + 1)
	if n.counters(now); len(n.topics) < 990 || len(n.topics) > 1000 {
		t.Errorf("%d topics are remembered", len(n.topics))
	}
	n.told = n.last
	if c := n.counters(now); len(c)+len(n.topics) != 0 {
		t.Errorf("%d topics are remembered", len(n.topics))
	}
	if number, previous := use(0); number != n.last || previous != 0 {
		t.Error(number, previous)
	}
	if number, previous := use(0); previous != number-1 {
		t.Error(number, previous)
	}
}

// TestHeartbeats guards that what a part of a heartbeat has told that the broker did not take is
// told again, that no part of that heartbeat follows, and that heartbeats are apart.
func TestHeartbeats(t *testing.T) {
	now := time.Unix(1e9, 0)
	o := newOutbox(newNodeID(), simTag(control), "")
	const topics = 2*countersInPart + 1
	for i := range topics {
		var g tag
		binary.BigEndian.PutUint64(g[:], uint64(i)+1)
		o.numbers.next(g, now, false)
	}
	fail, told := 1, 0
	var onBus uint64
	for beat := range 4 {
		o.tick(now)
		counters := 0
		for part := 0; ; part++ {
			out, _ := o.next(now, func() []byte { return nil })
			if out.header.form == 0 {
				break
			}
			b, ok := readHeartbeat(out.body)
			if !ok || b.first != (part == 0) || b.last != out.tells {
				t.Fatalf("part %d: %+v", part, b)
			}
			if out.header.previous != onBus {
				t.Errorf("part %d of heartbeat %d follows %d, and not %d", part, beat, out.header.previous, onBus)
			}
			counters += len(b.counters) / counterSize
			if part == fail {
				o.published(&out, false)
				counters, fail = 0, fail-1
				continue
			}
			onBus = out.header.number
			o.published(&out, true)
			if out.tells {
				told += counters
			}
		}
		now = now.Add(beatEvery)
	}
	if told != topics {
		t.Errorf("%d topics were told of, not %d", told, topics)
	}
	// Nothing is told twice, and not of answers. Heartbeats are apart.
	o.push(&item{form: answer, topics: []tag{{1}}, since: now})
	for range 2 {
		out, wait := o.next(now, func() []byte { return nil })
		if out.header.form != answer || wait != 0 {
			break
		}
		o.published(&out, true)
	}
	o.tick(now)
	out, _ := o.next(now, func() []byte { return nil })
	if b, _ := readHeartbeat(out.body); out.header.form != beat || !b.last || len(b.counters) > 0 {
		t.Errorf("%+v: %+v", out.header, b)
	}
	o.published(&out, true)
	o.beatSoon = true
	now = now.Add(beatApart / 2)
	if out, wait := o.next(now, func() []byte { return nil }); out.header.form != 0 || wait != beatApart/2 {
		t.Errorf("%+v, and wait %v", out.header, wait)
	}
	now = now.Add(beatApart / 2)
	if out, _ := o.next(now, func() []byte { return nil }); out.header.form != beat {
		t.Errorf("%+v", out.header)
	}
}

// TestManyTopics guards that a heartbeat that does not fit into one message is told in parts.
func TestManyTopics(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := &memory{}
		ps := start(t, b, 2)
		var topics []Topic
		for i := range 3*countersInPart + 7 {
			topics = append(topics, Topic{'u', fmt.Sprint(i)})
		}
		join(topics, ps[1])
		b.loseOn(ps[0].codec, topics...)
		for _, topic := range topics {
			ps[0].Send(1, nil, topic)
		}
		synctest.Wait()
		b.set(func(b *memory) { b.lose = nil })
		time.Sleep(beatEvery + settling + tickEvery)
		synctest.Wait()
		ps[1].expect()
		ps[1].expectGaps(topics...)
	})
}
