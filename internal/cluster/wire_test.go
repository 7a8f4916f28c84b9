package cluster

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"reflect"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// TestConfig guards which configurations are refused.
func TestConfig(t *testing.T) {
	good := Config{Broker: &memory{}, Key: testKey, Logger: slog.New(slog.DiscardHandler)}
	for name, change := range map[string]func(c *Config){
		"":                  func(c *Config) {},
		"no broker":         func(c *Config) { c.Broker = nil },
		"no logger":         func(c *Config) { c.Logger = nil },
		"no key":            func(c *Config) { c.Key = nil },
		"a key too short":   func(c *Config) { c.Key = testKey[1:] },
		"not an address":    func(c *Config) { c.Advertise = "10.0.0.5:8080" },
		"too long a key":    func(c *Config) { c.Key = append([]byte{1}, testKey...) },
		"an address's path": func(c *Config) { c.Advertise = "http://10.0.0.5/x" },
	} {
		c := good
		change(&c)
		n, err := New(c)
		if (err == nil) != (name == "") || (n == nil) != (err != nil) {
			t.Errorf("%q: %v", name, err)
		}
	}
	names := make(map[string]bool)
	for range 100 {
		n, err := New(good)
		if err != nil {
			t.Fatal(err)
		}
		if names[n.Name()] = true; len(n.Name()) != NameLength || !validName(n.self.name) {
			t.Errorf("the name %q", n.Name())
		}
	}
	if len(names) != 100 {
		t.Error("nodes have the same name")
	}
}

// TestWire guards that what is written can be read, and what the topics of the broker look like.
func TestWire(t *testing.T) {
	c, err := newCodec(testKey)
	if err != nil {
		t.Fatal(err)
	}
	for _, size := range []int{0, 1, 1000, MaxData} {
		want := header{news, 7, newNodeID(), 5, 3, 2, time.Now().UnixMilli()}
		body := bytes.Repeat([]byte{9}, size)
		got, data, v := c.open(c.tag(room), c.seal(c.tag(room), &want, body))
		if v != accepted || got != want || !bytes.Equal(data, body) || cap(data) != len(data) {
			t.Errorf("%d bytes: %+v, %d", size, got, v)
		}
	}
	for _, bad := range []header{
		{form: 0, number: 1}, {form: news + 1, number: 1}, {form: news, number: 0}, {form: news, number: 5, previous: 5},
		{form: news, number: 1, from: nodeID{name: [8]byte{'a', 'b', 'c', 'd', 'e', 'f', 'g', '/'}}},
	} {
		if bad.from.name[0] == 0 {
			bad.from = newNodeID()
		}
		if _, _, v := c.open(c.tag(room), c.seal(c.tag(room), &bad, nil)); v != malformed {
			t.Errorf("%+v: %d", bad, v)
		}
	}
	for _, b := range []heartbeat{
		{}, {last: true}, {first: true, hello: true, address: []byte("http://a"), nodes: make([]byte, 48), counters: make([]byte, 3*counterSize)},
	} {
		data := b.append(nil)
		got, ok := readHeartbeat(data)
		if !ok || got.last != b.last || got.first != b.first || got.hello != b.hello || !bytes.Equal(got.address, b.address) ||
			!bytes.Equal(got.nodes, b.nodes) || !bytes.Equal(got.counters, b.counters) {
			t.Errorf("%+v: %+v", b, got)
		}
		for n := range data {
			if got, ok := readHeartbeat(data[:n]); ok && (len(data)-n)%counterSize != 0 {
				t.Errorf("%d of %d bytes: %+v", n, len(data), got)
			}
		}
	}
	p := part{5, 2, partMore, []byte("x")}
	if got, ok := readPart(p.append(nil)); !ok || !reflect.DeepEqual(got, p) {
		t.Errorf("%+v", got)
	}
	other, err := newCodec(bytes.Repeat([]byte{1}, 32))
	if err != nil {
		t.Fatal(err)
	}
	topics := make(map[string]bool)
	for _, topic := range []Topic{control, room, hall, user, {'u', "room"}, {0, "room"}, {'r', ""}} {
		for _, c := range []*codec{c, other} {
			s := c.tag(topic).String()
			if topics[s] || len(s) != 22 || strings.Trim(s, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_") != "" {
				t.Errorf("%v is %q", topic, s)
			}
			topics[s] = true
		}
	}
}

// TestSecret guards that neither the key nor the names of topics are on the bus or in the log.
func TestSecret(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var l logs
		b := &memory{record: true}
		var ps []*process
		for range 2 {
			p := newProcess(t, b, func(c *Config) { c.Logger = slog.New(slog.NewTextHandler(&l, nil)) })
			p.Start()
			ps = append(ps, p)
		}
		join([]Topic{user}, ps...)
		ps[0].send("hello", user)
		f := impostor(t, b, bytes.Repeat([]byte{1}, 32), "")
		f.codec.topics = ps[0].codec.topics
		f.beat(heartbeat{})
		time.Sleep(2 * time.Minute)
		f.beat(heartbeat{})
		all := l.String()
		for _, m := range b.carried {
			all += m.topic + string(m.data)
		}
		for _, secret := range []string{string(testKey), string(ps[0].codec.topics), user.Name} {
			if strings.Contains(all, secret) || strings.Contains(fmt.Sprintf("%+v", ps[0].config), secret) {
				t.Errorf("%q is said", secret)
			}
		}
		if n := strings.Count(l.String(), "MAC is wrong"); n != 4 || !strings.Contains(l.String(), "more_since_last=0") {
			t.Errorf("logged %d times", n)
		}
	})
}

// TestReceiveAllocations guards that a message that is received costs few allocations, and one that
// is refused none.
func TestReceiveAllocations(t *testing.T) {
	n, f, topic := receiver(t)
	const count = 1000
	var genuine, forged [][]byte
	for range 2*count + 2 {
		h := f.header(news)
		data := f.codec.seal(topic.tag, &h, make([]byte, 100))
		genuine = append(genuine, data)
		data = bytes.Clone(data)
		data[len(data)-1]++
		forged = append(forged, data)
	}
	next := func(from [][]byte) func() {
		i := 0
		return func() { n.receive(topic, from[i]); i++ }
	}
	limit := 0.0
	if raceEnabled { // sync.Pool then forgets at random
		limit = 5
	}
	if got := testing.AllocsPerRun(count, next(genuine)); got > limit || n.stats.Received < count {
		t.Errorf("%v allocations for a message, %+v", got, n.stats)
	}
	if got := testing.AllocsPerRun(count, next(forged)); got > limit+1 || n.stats.Rejected < count {
		t.Errorf("%v allocations for a forged message, %+v", got, n.stats)
	}
}

// TestReceiveAfterClose guards that nothing is delivered once Close was called, although the broker
// has not ended the subscription yet.
func TestReceiveAfterClose(t *testing.T) {
	n, f, topic := receiver(t)
	n.config.Deliver = func(m Message) { t.Errorf("delivered: %+v", m) }
	if err := n.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	h := f.header(news)
	n.receive(topic, f.codec.seal(topic.tag, &h, nil))
	h = f.header(question)
	n.receive(n.control, f.codec.seal(n.control.tag, &h, appendQuestion(nil, 1, 1000)))
	if n.stats.Received != 1 || n.workers != 0 {
		t.Errorf("%+v", n.stats)
	}
}

// receiver returns a node that is not started but hears one topic, and another node that it knows,
// which nobody hears.
func receiver(t testing.TB) (*Node, *forger, *topic) {
	n, err := New(Config{Broker: &memory{}, Key: testKey, Logger: slog.New(slog.NewTextHandler(io.Discard, nil)), Deliver: func(m Message) {}})
	if err != nil {
		t.Fatal(err)
	}
	c, err := newCodec(testKey)
	if err != nil {
		t.Fatal(err)
	}
	f := &forger{codec: c, id: newNodeID()}
	h := f.header(beat)
	n.receive(n.control, c.seal(n.control.tag, &h, (&heartbeat{first: true, last: true, nodes: n.self.run[:]}).append(nil)))
	if len(n.Members()) != 1 {
		t.Fatal("the other node is not known")
	}
	n.Join(room)
	return n, f, n.topics.byTopic[room]
}

// FuzzReceive guards that bytes that somebody without the key publishes do nothing, and that those
// of a node that misbehaves do not stop this one. The first byte says which topic they are on, the
// second whether they get a MAC.
func FuzzReceive(f *testing.F) {
	n, other, _ := receiver(f)
	h := other.header(news)
	message := other.codec.seal(n.control.tag, &h, []byte("body"))
	f.Add(byte(0), false, message)
	f.Add(byte(1), true, message[:headerSize])
	f.Add(byte(2), true, append(message[:headerSize:headerSize], (&part{1, 0, partLast, nil}).append(nil)...))
	f.Add(byte(0), true, append([]byte{version, byte(beat)}, (&heartbeat{first: true, nodes: make([]byte, 16)}).append(make([]byte, headerSize-2))...))
	f.Add(byte(0), true, append([]byte{version, byte(question)}, appendQuestion(make([]byte, headerSize-2), 1, 1)...))
	f.Fuzz(func(t *testing.T, which byte, sealed bool, data []byte) {
		delivered := 0
		n, other, joined := receiver(t)
		n.config.Deliver = func(m Message) {
			if delivered++; !sealed || m.Topic != room || m.Node != string(other.id.name[:]) {
				t.Errorf("delivered: %+v", m)
			}
		}
		on := []*topic{n.control, joined, n.replies}[which%3]
		if sealed && len(data) >= headerSize { // a message of the other node, with the rest at random
			copy(data[3:], other.id.name[:])
			copy(data[3+NameLength:], other.id.run[:])
			data = append(data, n.codec.macs.Get().(*mac).of(on.tag, data)...)
		} else {
			sealed = false
		}
		before := n.Stats()
		n.receive(on, bytes.Clone(data))
		n.receive(on, data)
		after := n.Stats()
		if !sealed && after.Rejected != before.Rejected+2 || delivered > 1 || len(n.members.all) != 1 {
			t.Errorf("%+v, %d delivered, %d members", after, delivered, len(n.members.all))
		}
		if err := n.Close(context.Background()); err != nil {
			t.Error(err)
		}
	})
}

// TestConcurrentUse guards, with the race detector, that a node can be used by many goroutines at
// the same time, that all that is sent arrives, and that nothing of it is left after Close.
func TestConcurrentUse(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ps := start(t, &memory{}, 3)
		join([]Topic{hall}, ps...)
		var wait sync.WaitGroup
		for i, p := range ps {
			for j := range 4 {
				random := rand.New(rand.NewPCG(uint64(i), uint64(j)))
				wait.Go(func() {
					for k := range 100 {
						switch k % 4 {
						case 0:
							p.Join(room)
						case 1:
							p.Send(1, []byte{byte(k)}, room, hall)
						case 2:
							p.Leave(room)
						case 3:
							if answers, unheard := p.Ask(t.Context(), 1, []byte("?")); len(answers) != 2 || len(unheard) > 0 {
								t.Error(answers, unheard)
							}
						}
						p.Members()
						p.Stats()
						p.Address(ps[0].Name())
						time.Sleep(time.Duration(random.IntN(100)) * time.Millisecond)
					}
				})
			}
		}
		wait.Wait()
		time.Sleep(time.Second)
		for _, p := range ps {
			p.mu.Lock()
			if len(p.heard) != 200 || len(p.gaps) > 0 {
				t.Errorf("%d messages, gaps on %v", len(p.heard), p.gaps)
			}
			p.mu.Unlock()
		}
	})
}
