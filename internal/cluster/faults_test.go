package cluster

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

var room, hall, user = Topic{'r', "room"}, Topic{'r', "hall"}, Topic{'u', "alice"}

// TestSilentMember guards that a node that is not heard is silent after 3 seconds, is named by
// receipts without being waited for, has no address, and is forgotten after Keep.
func TestSilentMember(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := &memory{}
		ps := start(t, b, 2)
		its := &port{memory: b}
		third := newProcess(t, its, func(c *Config) { c.Advertise = "http://10.0.0.5:8080" })
		third.Start()
		join([]Topic{room}, ps[0])
		if a, ok := ps[0].Address(third.Name()); !ok || a != "http://10.0.0.5:8080" {
			t.Error(a, ok)
		}
		its.set(func(p *port) { p.mute = true })
		time.Sleep(silentAfter - beatEvery)
		ps[0].expectMembers(these(ps[1], third), nil)
		ps[0].ask(these(ps[1]), these(third), 500*time.Millisecond) // it may still answer
		time.Sleep(2 * beatEvery)
		ps[0].expectMembers(these(ps[1]), these(third))
		ps[0].ask(these(ps[1]), these(third), 0)
		if a, ok := ps[0].Address(third.Name()); ok {
			t.Error(a, ok)
		}

		third.send("lost", room)
		its.set(func(p *port) { p.mute = false })
		time.Sleep(2 * beatEvery)
		ps[0].expectMembers(these(ps[1], third), nil)
		ps[0].expectGaps(control, room) // heartbeats were lost, and it cannot know what they told
		third.send("heard", room)
		ps[0].expect("heard")
		ps[0].ask(these(ps[1], third), nil, 0)

		its.set(func(p *port) { p.mute = true })
		time.Sleep(standardAge - beatEvery)
		ps[0].expectMembers(these(ps[1]), these(third))
		time.Sleep(2 * beatEvery)
		ps[0].expectMembers(these(ps[1]), nil)
		ps[0].ask(these(ps[1]), nil, 0)
		its.set(func(p *port) { p.mute = false })
		time.Sleep(2 * beatEvery)
		ps[0].expectMembers(these(ps[1], third), nil)
	})
}

// TestKeep guards that Keep says for how long a silent node is listed, and that a goodbye ends
// that.
func TestKeep(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := &memory{}
		ps := start(t, b, 2)
		p := newProcess(t, b, func(c *Config) { c.Keep = 6 * time.Second })
		p.Start()
		time.Sleep(time.Second)
		ps[0].port.set(func(p *port) { p.mute = true })
		time.Sleep(4 * time.Second)
		p.expectMembers(these(ps[1]), these(ps[0]))
		time.Sleep(3 * time.Second)
		p.expectMembers(these(ps[1]), nil)

		ps[1].port.set(func(p *port) { p.mute = true })
		time.Sleep(4 * time.Second)
		p.expectMembers(nil, these(ps[1]))
		ps[1].port.set(func(p *port) { p.mute = false })
		ps[1].close()
		synctest.Wait()
		p.expectMembers(nil, nil)
	})
}

// TestPaused guards that a process that did not run for a while, because it was stopped, takes
// nobody for silent for that, and from then on notices as soon as ever who is.
func TestPaused(t *testing.T) {
	for _, heard := range []bool{false, true} { // before it knows that it was stopped
		topics := newTopics()
		on := topics.join(control, simTag)
		s := newMembers(newNodeID(), 0, &topics)
		now := time.Unix(1e9, 0)
		id := newNodeID()
		number := uint64(0)
		hear := func() {
			number++
			h := header{form: beat, from: id, number: number, previous: number - 1, sent: now.UnixMilli()}
			s.hear(now, on, &h, (&heartbeat{first: true, last: true, nodes: s.self.run[:]}).append(nil))
		}
		run := func(d time.Duration) bool {
			for end := now.Add(d); now.Before(end); {
				now = now.Add(tickEvery)
				s.tick(now, func(Topic) {})
			}
			return s.all[id].phase == living
		}
		hear()
		if run(silentAfter-2*tickEvery) == false {
			t.Fatal("silent too early")
		}
		now = now.Add(time.Hour)
		left := 2 * tickEvery
		if heard {
			hear()
			left = silentAfter
		}
		if run(left-tickEvery) == false {
			t.Errorf("heard %v: silent because this process was stopped", heard)
		}
		if run(2*tickEvery) == true {
			t.Errorf("heard %v: not silent after %v", heard, silentAfter)
		}
	}
}

// TestBrokerDown guards that Send never waits, that what cannot be sent is counted, logged once a
// minute, and not kept, and that the others hear that it is missing.
func TestBrokerDown(t *testing.T) {
	for _, hang := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			b := &memory{}
			var l logs
			its := &port{memory: b}
			p := newProcess(t, its, func(c *Config) { c.Logger = slog.New(slog.NewTextHandler(&l, nil)) })
			p.Start()
			others := start(t, b, 2)
			join([]Topic{room, hall}, others...)
			p.send("before", room)

			its.set(func(p *port) { p.down, p.hang = !hang, hang })
			const count = 2 * maxBulk
			began := time.Now()
			for range count {
				p.Send(1, []byte("lost"), room)
			}
			p.Send(1, []byte("lost"), hall)
			if took := time.Since(began); took > 0 {
				t.Errorf("sending took %v", took)
			}
			time.Sleep(30 * time.Second)
			if s := p.Stats(); s.Dropped < count || s.Queued > 2 {
				t.Errorf("%+v", s)
			}
			if n := strings.Count(l.String(), "cannot send"); n != 1 {
				t.Errorf("logged %d times:\n%s", n, l.String())
			}
			others[0].expectMembers(these(others[1]), these(p))

			its.set(func(p *port) { p.down, p.hang = false, false })
			time.Sleep(4 * time.Second)
			others[0].expect("before")
			others[0].expectMembers(these(others[1], p), nil)
			others[0].expectGaps(room, hall)
			p.send("after", room)
			others[0].expect("after")
			others[0].expectGaps()
		})
	}
}

// TestBrokerGap guards that what the broker says to be lost is passed on.
func TestBrokerGap(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := &memory{}
		ps := start(t, b, 2)
		join([]Topic{room}, ps...)
		lose := func(topic Topic) {
			for _, s := range b.subscriptions(ps[0].codec.tag(topic).String()) {
				s.gap()
			}
		}
		lose(room)
		ps[0].expectGaps(room)
		lose(control)
		ps[0].expectGaps(control)
		lose(ps[0].inbox)
		ps[0].expectGaps()
		ending := b.subscriptions(ps[0].codec.tag(room).String())
		ps[0].Leave(room)
		for _, s := range ending {
			s.gap()
		}
		ps[0].expectGaps()
		if s := ps[0].Stats(); s.Gaps != 3 {
			t.Errorf("%+v", s)
		}
	})
}

// TestLastMessageLost guards that a gap is noticed although nothing follows what was lost.
func TestLastMessageLost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := &memory{}
		ps := start(t, b, 2)
		join([]Topic{room, hall}, ps...)
		ps[0].send("heard", room)
		lost := ps[0].codec.tag(room).String()
		b.set(func(b *memory) { b.lose = func(topic string, _ []byte) bool { return topic == lost } })
		ps[0].send("lost", room, hall)
		ps[0].send("lost", room)
		time.Sleep(beatEvery + settling + tickEvery)
		ps[1].expect("heard", "lost")
		ps[1].expectGaps(room)
		b.set(func(b *memory) { b.lose = nil })
		ps[0].send("heard", room)
		ps[1].expect("heard")
		time.Sleep(10 * time.Second)
		ps[1].expectGaps()
	})
}

// TestHeartbeatLost guards that a lost heartbeat of a member is a gap on all topics, also if a
// question is the next that is heard, and that one of a node that is no member is none.
func TestHeartbeatLost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := &memory{}
		ps := start(t, b, 2)
		time.Sleep(3 * time.Second)
		ps[0].port.set(func(p *port) { p.mute = true })
		time.Sleep(beatEvery)
		ps[0].port.set(func(p *port) { p.mute = false })
		ps[0].ask(ps[1:], nil, 0)
		ps[1].expectGaps(control)
		time.Sleep(5 * time.Second)
		ps[1].expectGaps()

		f := impostor(t, b, testKey, "")
		f.beat(heartbeat{})
		h := f.header(beat)
		h.number, h.previous = 9, 8
		f.say(control, h, (&heartbeat{first: true, last: true}).append(nil))
		ps[1].expectGaps()
	})
}

// TestHotTopic guards that heartbeats and answers go ahead of a queue that is always full.
func TestHotTopic(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ps := start(t, &memory{}, 2)
		join([]Topic{room}, ps[1])
		ps[0].port.set(func(p *port) { p.slow = time.Millisecond })
		for range 100 {
			for range 300 {
				ps[0].Send(1, make([]byte, 100), room)
			}
			time.Sleep(100 * time.Millisecond)
			ps[1].expectMembers(these(ps[0]), nil)
			if m := ps[1].Members(); time.Since(m[0].Heard) > 10*time.Millisecond {
				t.Fatal("not heard any more")
			}
		}
		if ps[0].Stats().Queued < maxBulk/2 {
			t.Error("the queue is not full")
		}
		// Two messages may be under way: the one that is being published, and one of every nine.
		began := time.Now()
		answers, _ := ps[1].Ask(t.Context(), 1, nil)
		if took := time.Since(began); len(answers) != 1 || took > 3*time.Millisecond {
			t.Errorf("%d answers took %v", len(answers), took)
		}
		ps[0].port.set(func(p *port) { p.slow = 0 })
	})
}

// TestClose guards that Close sends what is queued and a goodbye, that it ends all subscriptions,
// that nothing is heard or sent afterwards, and that a broker that hangs cannot hold it up.
func TestClose(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := &memory{}
		ps := start(t, b, 2)
		join([]Topic{room, hall}, ps...)
		ps[0].port.set(func(p *port) { p.slow = time.Millisecond })
		for range 3 {
			ps[0].Send(1, []byte("last"), room)
		}
		ps[0].close()
		ps[1].expect("last", "last", "last")
		ps[1].expectMembers(nil, nil)
		if n := b.topicCount(); n != 4 {
			t.Errorf("%d topics, not those of the other node", n)
		}
		ps[0].port.set(func(p *port) { p.slow = 0 })
		ps[0].Start()
		ps[0].Join(user)
		ps[0].Leave(room)
		ps[0].send("never", room)
		ps[1].send("unheard", room)
		ps[0].expect()
		ps[1].expect()
		ps[0].close()
		if a, unheard := ps[0].Ask(t.Context(), 1, nil); len(a) > 0 || len(unheard) != 1 {
			t.Error(a, unheard)
		}

		never := newProcess(t, b, nil)
		never.Join(room)
		never.close()

		stuck := start(t, b, 1)[0]
		join([]Topic{room, hall}, stuck)
		stuck.port.set(func(p *port) { p.hang = true })
		stuck.Send(1, []byte("stuck"), room)
		stuck.Join(user)
		ctx, stop := context.WithTimeout(t.Context(), 100*time.Millisecond)
		defer stop()
		began := time.Now()
		if err := stuck.Close(ctx); err != context.DeadlineExceeded || time.Since(began) != 100*time.Millisecond {
			t.Error(err, time.Since(began))
		}
		stuck.port.set(func(p *port) { p.hang = false })
	})
}

// TestCloseSlowBroker guards that a message on many topics holds up neither others nor Close for
// longer than messages wait, if the broker takes long for each.
func TestCloseSlowBroker(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := &memory{}
		ps := start(t, b, 2)
		var topics []Topic
		for i := range 100 {
			topics = append(topics, Topic{'r', fmt.Sprint(i)})
		}
		join(append(topics, room), ps[1])
		ps[0].port.set(func(p *port) { p.slow = 300 * time.Millisecond })
		ps[0].send("many", topics...)
		time.Sleep(4 * time.Second)
		ps[1].expect("many")
		ps[0].send("other", room)
		time.Sleep(time.Second)
		ps[1].expect("other")
		ps[0].Send(1, []byte("many"), topics...)
		for range 100 {
			ps[0].Send(1, []byte("one"), room)
		}
		began := time.Now()
		ps[0].close()
		if took := time.Since(began); took > maxWait+time.Second {
			t.Errorf("it took %v", took)
		}
		ps[1].expectMembers(nil, nil)
	})
}

// TestLarge guards the limits of messages and answers: what is larger is not sent, and named.
func TestLarge(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := &memory{}
		ps := start(t, b, 2)
		join([]Topic{room}, ps...)
		ps[0].Send(1, make([]byte, MaxData+1), room)
		ps[0].send(strings.Repeat("x", MaxData), room)
		if heard := ps[1].heard; len(heard) != 1 || len(heard[0].Data) != MaxData {
			t.Error("not heard")
		}
		ps[1].expectGaps(room)
		for size, ok := range map[int]bool{0: true, partSize: true, partSize + 1: true, maxAnswer: true, maxAnswer + 1: false} {
			want := strings.Repeat("0123456789abcdefg", size/17+1)[:size]
			ps[1].answers(func(context.Context, Kind, []byte) []byte { return []byte(want) })
			answers, unheard := ps[0].Ask(t.Context(), 1, nil)
			if ok && (len(answers) != 1 || string(answers[0].Data) != want) || ok != (len(unheard) == 0) {
				t.Errorf("%d bytes: %d answers, unheard %v", size, len(answers), unheard)
			}
		}
		if ps[0].asks.bytes != 0 || len(ps[0].asks.open) != 0 {
			t.Error("answers are still counted")
		}
		ps[1].answers(nil)
		if a, unheard := ps[0].Ask(t.Context(), 1, make([]byte, MaxData)); len(a) > 0 || len(unheard) != 1 {
			t.Error(len(a), unheard)
		}
	})
}

// TestDeafMember guards that a node which is heard and does not hear, from before it was found, is
// named by receipts, without being waited for: it may serve clients.
func TestDeafMember(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := &memory{}
		its := &port{memory: b, deaf: true}
		deaf := newProcess(t, its, nil)
		deaf.Start()
		time.Sleep(2 * beatEvery)
		ps := start(t, b, 2)
		ps[0].ask(these(ps[1]), nil, 0) // it may be about to name this one
		time.Sleep(3 * beatEvery)
		ps[0].expectMembers(these(ps[1]), these(deaf))
		ps[0].ask(these(ps[1]), these(deaf), 0)
		its.set(func(p *port) { p.deaf = false })
		time.Sleep(2 * beatEvery)
		ps[0].expectMembers(these(ps[1], deaf), nil)
		ps[0].ask(these(ps[1], deaf), nil, 0)

		its.set(func(p *port) { p.deaf = true })
		late := newProcess(t, &port{memory: b}, nil)
		late.Start()
		time.Sleep(3 * beatEvery)
		deaf.close() // which is heard
		late.expectMembers(these(ps...), nil)
	})
}
