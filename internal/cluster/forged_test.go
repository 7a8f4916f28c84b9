package cluster

import (
	"bytes"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// forger is somebody who writes to the broker, without the key unless a test gives it.
type forger struct {
	t     *testing.T
	b     *memory
	codec *codec
	id    nodeID
	last  uint64
}

// impostor returns one that has the key, as a node that misbehaves would.
func impostor(t *testing.T, b *memory, key []byte, name string) *forger {
	t.Helper()
	c, err := newCodec(key)
	if err != nil {
		t.Fatal(err)
	}
	f := &forger{t: t, b: b, codec: c, id: newNodeID()}
	if name != "" {
		copy(f.id.name[:], name)
	}
	return f
}

// header returns the header of the next message.
func (f *forger) header(of form) header {
	f.last++
	return header{form: of, kind: 1, from: f.id, number: f.last, sent: time.Now().UnixMilli()}
}

// say publishes a message and waits until it has been heard.
func (f *forger) say(on Topic, h header, body []byte) {
	f.sayData(on, f.codec.seal(f.codec.tag(on), &h, body))
}

func (f *forger) sayData(on Topic, data []byte) {
	f.b.inject(f.codec.tag(on).String(), data)
	synctest.Wait()
}

// beat publishes a heartbeat.
func (f *forger) beat(b heartbeat) {
	b.first, b.last = true, true
	f.say(control, f.header(beat), b.append(nil))
}

// runsOf returns the runs of nodes in the form of a heartbeat.
func runsOf(ps ...*process) (b []byte) {
	for _, p := range ps {
		b = append(b, p.self.run[:]...)
	}
	return b
}

// published returns what was published on a topic with the form, without what was heard of it.
func (b *memory) published(c *codec, on Topic, of form) (all [][]byte) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, m := range b.carried {
		if m.topic == c.tag(on).String() && form(m.data[1]) == of {
			all = append(all, m.data)
		}
	}
	return all
}

// loseOn has the broker lose what is published on the topics, or nothing more.
func (b *memory) loseOn(c *codec, topics ...Topic) {
	lost := make(map[string]bool)
	for _, t := range topics {
		lost[c.tag(t).String()] = true
	}
	b.set(func(b *memory) { b.lose = func(topic string, _ []byte) bool { return lost[topic] } })
}

// TestForged guards that nothing is heard but what a node with the key has said, once, on its topic
// and to those who were there.
func TestForged(t *testing.T) {
	for name, c := range map[string]struct {
		// forge has somebody write to the broker. lost is a message of ps[0] in the room that ps[1]
		// has not heard.
		forge   func(f *forger, ps []*process, lost []byte)
		unknown bool // it is counted as of one who is not known yet
		reason  string
	}{
		"no MAC": {func(f *forger, _ []*process, lost []byte) { f.sayData(room, lost[:len(lost)-macSize]) }, false, "not in the form"},
		"the MAC of nothing": {func(f *forger, _ []*process, lost []byte) {
			f.sayData(room, append(slices.Clone(lost[:len(lost)-macSize]), make([]byte, macSize)...))
		}, false, "MAC is wrong"},
		"another key": {func(f *forger, ps []*process, _ []byte) {
			other := impostor(f.t, f.b, bytes.Repeat([]byte{1}, 32), ps[0].Name())
			other.id, other.last = ps[0].self, 1<<40
			h := other.header(news)
			f.sayData(room, other.codec.seal(f.codec.tag(room), &h, []byte("forged")))
		}, false, "MAC is wrong"},
		"the key of the app, not of messages": {func(f *forger, ps []*process, _ []byte) {
			other := &codec{topics: f.codec.topics}
			other.macs.New = func() any { return newMAC(testKey) }
			h := header{form: news, from: ps[0].self, number: 1 << 40, sent: time.Now().UnixMilli()}
			f.sayData(room, other.seal(f.codec.tag(room), &h, []byte("forged")))
		}, false, "MAC is wrong"},
		"said again at once": {func(f *forger, _ []*process, _ []byte) {
			f.sayData(room, f.b.published(f.codec, room, news)[0])
		}, false, "come again"},
		"said again, long after": {func(f *forger, _ []*process, _ []byte) {
			time.Sleep(window + time.Second)
			f.sayData(room, f.b.published(f.codec, room, news)[0])
		}, false, ""},
		"not heard, and said after 31 seconds": {func(f *forger, _ []*process, lost []byte) {
			time.Sleep(window + time.Second)
			f.sayData(room, lost)
		}, false, ""},
		"said to a node that started later": {func(f *forger, ps []*process, lost []byte) {
			ps[1].close()
			late := start(f.t, f.b, 1)[0]
			join([]Topic{room}, late)
			late.expectMembers(these(ps[0]), nil)
			f.sayData(room, lost)
			if s := late.Stats(); s.Unknown == 0 {
				f.t.Errorf("%+v", s)
			}
			late.expect()
		}, true, ""},
		"said to a node that joined later": {func(f *forger, ps []*process, _ []byte) {
			ps[0].send("in the hall", hall)
			time.Sleep(beatEvery)
			join([]Topic{hall}, ps[1])
			f.sayData(hall, f.b.published(f.codec, hall, news)[0])
		}, true, ""},
		"said to a node that has just joined": {func(f *forger, ps []*process, _ []byte) {
			ps[0].send("in the hall", hall)
			ps[0].send("later", room)
			ps[1].expect("later")
			ps[1].Join(hall)
			synctest.Wait()
			f.sayData(hall, f.b.published(f.codec, hall, news)[0])
		}, true, ""},
		"not heard, and said after a later one": {func(f *forger, ps []*process, lost []byte) {
			ps[0].send("later", room)
			ps[1].expect("later")
			f.sayData(room, lost)
		}, false, "come again"},
		"moved to another topic": {func(f *forger, ps []*process, lost []byte) {
			join([]Topic{hall}, ps[1])
			f.sayData(hall, lost)
		}, false, "MAC is wrong"},
		"moved to the control topic": {func(f *forger, _ []*process, lost []byte) { f.sayData(control, lost) }, false, "MAC is wrong"},
		"of a node that has said goodbye": {func(f *forger, ps []*process, lost []byte) {
			ps[0].close()
			f.sayData(room, lost)
		}, false, "said goodbye"},
		"truncated":      {func(f *forger, _ []*process, lost []byte) { f.sayData(room, lost[:len(lost)-1]) }, false, "MAC is wrong"},
		"much too short": {func(f *forger, _ []*process, lost []byte) { f.sayData(room, lost[:overhead-1]) }, false, "not in the form"},
		"nothing":        {func(f *forger, _ []*process, _ []byte) { f.sayData(room, nil) }, false, "not in the form"},
		"extended":       {func(f *forger, _ []*process, lost []byte) { f.sayData(room, append(slices.Clone(lost), 0)) }, false, "MAC is wrong"},
		"much too long": {func(f *forger, _ []*process, lost []byte) {
			f.sayData(room, append(slices.Clone(lost), make([]byte, MaxData)...))
		}, false, "not in the form"},
		"of another version": {func(f *forger, _ []*process, lost []byte) {
			data := slices.Clone(lost)
			data[0]++
			f.sayData(room, data)
		}, false, "another version"},
		"a heartbeat among the messages": {func(f *forger, ps []*process, _ []byte) {
			f.id, f.last = ps[0].self, 1<<40
			f.say(room, f.header(beat), (&heartbeat{first: true, last: true}).append(nil))
		}, false, "not in the form"},
		"a message among the heartbeats": {func(f *forger, ps []*process, _ []byte) {
			f.id, f.last = ps[0].self, 1<<40
			f.say(control, f.header(news), []byte("forged"))
		}, false, "not in the form"},
		"of a node that has named nobody": {func(f *forger, ps []*process, _ []byte) {
			f.beat(heartbeat{})
			f.say(room, f.header(news), []byte("forged"))
		}, true, ""},
		"of a node that nobody knows": {func(f *forger, ps []*process, _ []byte) {
			f.say(room, f.header(news), []byte("forged"))
		}, true, ""},
		"of its own name": {func(f *forger, ps []*process, _ []byte) {
			copy(f.id.name[:], ps[1].Name())
			f.beat(heartbeat{nodes: runsOf(ps...)})
			f.say(room, f.header(news), []byte("forged"))
		}, false, "name of another process"},
		"of the name of another": {func(f *forger, ps []*process, _ []byte) {
			copy(f.id.name[:], ps[0].Name())
			f.beat(heartbeat{nodes: runsOf(ps...)})
			f.say(room, f.header(news), []byte("forged"))
		}, false, "name of another process"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var l logs
				b := &memory{record: true}
				ps := start(t, b, 1)
				victim := newProcess(t, b, func(c *Config) { c.Logger = slog.New(slog.NewTextHandler(&l, nil)) })
				victim.Start()
				ps = append(ps, victim)
				join([]Topic{room}, victim)
				f := impostor(t, b, testKey, "")
				ps[0].send("heard", room)
				b.loseOn(f.codec, room)
				ps[0].send("lost", room)
				b.set(func(b *memory) { b.lose = nil })
				victim.expect("heard")
				before := victim.Stats()

				c.forge(f, ps, b.published(f.codec, room, news)[1])
				victim.expect()
				after := victim.Stats()
				if c.unknown && after.Unknown == before.Unknown && name != "said to a node that started later" || !c.unknown && after.Rejected == before.Rejected {
					t.Errorf("before: %+v\nafter:  %+v", before, after)
				}
				if !strings.Contains(l.String(), c.reason) {
					t.Errorf("%q is not logged:\n%s", c.reason, l.String())
				}
				if c.reason == "" && strings.Contains(l.String(), "are refused") {
					t.Errorf("logged as refused:\n%s", l.String())
				}
				for _, m := range victim.Members() {
					if m.Name != ps[0].Name() {
						t.Errorf("%s is listed", m.Name)
					}
				}
			})
		})
	}
}

// TestForgedByte guards that a message is not heard if any bit of it is another one.
func TestForgedByte(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := &memory{record: true}
		ps := start(t, b, 2)
		join([]Topic{room}, ps[1])
		f := impostor(t, b, testKey, "")
		b.loseOn(f.codec, room)
		ps[0].send("x", room)
		b.set(func(b *memory) { b.lose = nil })
		lost := b.published(f.codec, room, news)[0]
		for i := range lost {
			for bit := range 8 {
				data := slices.Clone(lost)
				data[i] ^= 1 << bit
				f.sayData(room, data)
			}
		}
		if s := ps[1].Stats(); s.Rejected != uint64(8*len(lost)) {
			t.Errorf("%d of %d rejected", s.Rejected, 8*len(lost))
		}
		ps[1].expect()
		f.sayData(room, lost) // which it had not heard, and is genuine
		ps[1].expect("x")
	})
}

// TestDepartedStaysGone guards that the recorded heartbeats of a node that has ended have nobody
// list it, whether they knew it or not and however long it is since.
func TestDepartedStaysGone(t *testing.T) {
	for _, goodbye := range []bool{true, false} {
		synctest.Test(t, func(t *testing.T) {
			b := &memory{record: true}
			ps := start(t, b, 3)
			time.Sleep(3 * time.Second)
			f := impostor(t, b, testKey, "")
			if !goodbye {
				ps[0].port.set(func(p *port) { p.mute = true })
			}
			ps[0].close()
			for range 5 {
				if goodbye {
					ps[1].expectMembers(these(ps[2]), nil)
				}
				late := start(t, b, 1)[0]
				for _, data := range b.published(f.codec, control, beat) {
					f.sayData(control, data)
				}
				late.expectMembers(these(ps[1], ps[2]), nil)
				late.close()
				time.Sleep(10 * time.Second)
			}
			silent := these()
			if !goodbye {
				silent = these(ps[0])
			}
			ps[1].expectMembers(these(ps[2]), silent)
			time.Sleep(standardAge)
			for _, data := range b.published(f.codec, control, beat) {
				f.sayData(control, data)
			}
			ps[1].expectMembers(these(ps[2]), nil)
		})
	}
}

// TestExpiredStaysExpired guards that the recorded messages of a node that was silent for Keep have
// nobody list it, although they are in the window of time.
func TestExpiredStaysExpired(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := &memory{record: true}
		ps := start(t, b, 1)
		p := newProcess(t, b, func(c *Config) { c.Keep = 4 * time.Second })
		p.Start()
		p.Join(room)
		time.Sleep(3 * time.Second)
		f := impostor(t, b, testKey, "")
		ps[0].send("heard", room)
		ps[0].port.set(func(p *port) { p.mute = true })
		for range 2 * replayable / time.Second {
			time.Sleep(time.Second)
			for _, data := range b.published(f.codec, control, beat) {
				f.sayData(control, data)
			}
			for _, data := range b.published(f.codec, room, news) {
				f.sayData(room, data)
			}
		}
		p.expectMembers(nil, nil)
		p.expect("heard")
		ps[0].port.set(func(p *port) { p.mute = false })
		time.Sleep(2 * time.Second)
		ps[0].send("again", room)
		p.expectMembers(ps, nil)
		p.expect("again")
	})
}

// TestClocks guards that processes whose clocks are up to 30 seconds apart hear each other, and
// that otherwise the log says by how much.
func TestClocks(t *testing.T) {
	for off, ok := range map[time.Duration]bool{
		-31 * time.Second: false, -29 * time.Second: true, 0: true, 29 * time.Second: true, 31 * time.Second: false,
		time.Hour: false, -1 << 62: false,
	} {
		synctest.Test(t, func(t *testing.T) {
			var l logs
			b := &memory{}
			p := newProcess(t, b, func(c *Config) { c.Logger = slog.New(slog.NewTextHandler(&l, nil)) })
			p.Start()
			f := impostor(t, b, testKey, "")
			for range 3 {
				time.Sleep(time.Second)
				h := f.header(beat)
				h.sent = time.Now().Add(off).UnixMilli()
				f.say(control, h, (&heartbeat{first: true, last: true, nodes: runsOf(p)}).append(nil))
			}
			if (len(p.Members()) == 1) != ok {
				t.Errorf("%v: %v", off, p.Members())
			}
			said := strings.Count(l.String(), fmt.Sprintf("node=%s", f.id.name[:]))
			if ok && said != 0 || !ok && said != 1 {
				t.Errorf("%v: %s", off, l.String())
			}
			if off.Abs() == 31*time.Second && !strings.Contains(l.String(), fmt.Sprintf("behind=%v ", -off)) {
				t.Errorf("%v: %s", off, l.String())
			}
		})
	}
}

// TestSameAddress guards that a process says once a minute that another living one advertises the
// same address, and says nothing about itself or about one whose heartbeat may be a recorded one.
func TestSameAddress(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const address = "http://10.0.0.5:8080"
		var l logs
		b := &memory{}
		p := newProcess(t, b, func(c *Config) {
			c.Advertise, c.Logger = address, slog.New(slog.NewTextHandler(&l, nil))
		})
		p.Start()
		time.Sleep(10 * time.Second)
		f := impostor(t, b, testKey, "")
		f.beat(heartbeat{address: []byte(address), first: true})
		f.beat(heartbeat{nodes: runsOf(p), address: []byte("http://10.0.0.6:8080"), first: true})
		if l.String() != "" {
			t.Errorf("logged: %s", l.String())
		}
		for range 3 {
			f.beat(heartbeat{nodes: runsOf(p), address: []byte(address), first: true})
		}
		if n := strings.Count(l.String(), "the same address"); n != 1 || !strings.Contains(l.String(), string(f.id.name[:])) {
			t.Errorf("logged %d times: %s", n, l.String())
		}
	})
}

// TestAddressNonsense guards that a member that advertises what is no address has none, which is
// logged once a minute, and gets one with the first that is.
func TestAddressNonsense(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var l logs
		b := &memory{}
		p := newProcess(t, b, func(c *Config) { c.Logger = slog.New(slog.NewTextHandler(&l, nil)) })
		p.Start()
		synctest.Wait()
		f := impostor(t, b, testKey, "")
		for _, c := range []struct {
			address string
			ok      bool
		}{
			{"http://10.0.0.5:8080", true}, {"http://u:p@10.0.0.5", false}, {"", false}, {"https://node-1.internal", true},
			{"javascript:alert(1)", false}, {"http://10.0.0.5/x", false}, {"http://[::]:80", false}, {"http://a\r\nb", false},
			{"http://a" + strings.Repeat("a", maxAddress-8), true}, {"http://[fd00::1]:80", true},
		} {
			f.beat(heartbeat{nodes: runsOf(p), address: []byte(c.address)})
			name := string(f.id.name[:])
			if a, ok := p.Address(name); ok != c.ok || c.ok && a != c.address || !c.ok && a != "" {
				t.Errorf("%q: %q %v", c.address, a, ok)
			}
			if m := p.Members(); len(m) != 1 || m[0].Address != "" != c.ok {
				t.Errorf("%q: %v", c.address, m)
			}
		}
		if n := strings.Count(l.String(), "not valid"); n != 1 || strings.Contains(l.String(), "u:p") {
			t.Errorf("logged %d times: %s", n, l.String())
		}
		// Only the first part of a heartbeat has it.
		f.say(control, f.header(beat), (&heartbeat{last: true}).append(nil))
		if _, ok := p.Address(string(f.id.name[:])); !ok {
			t.Error("forgotten")
		}
		// What is too long is no heartbeat.
		before := p.Stats().Rejected
		f.beat(heartbeat{nodes: runsOf(p), address: make([]byte, maxAddress+1)})
		if p.Stats().Rejected != before+1 {
			t.Error("not rejected")
		}
		for _, name := range []string{"", "unknown", "nobody00", string(f.id.name[:7]), p.Name()} {
			if a, ok := p.Address(name); ok {
				t.Errorf("%q has the address %q", name, a)
			}
		}
	})
}
