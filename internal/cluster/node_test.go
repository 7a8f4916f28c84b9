package cluster

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// logs collects what nodes log.
type logs struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (l *logs) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.Write(b)
}

func (l *logs) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.String()
}

// newProcess returns a node that is not started.
func newProcess(t *testing.T, b Broker, change func(c *Config)) *process {
	t.Helper()
	p := &process{t: t}
	c := Config{
		Broker: b, Key: testKey, Logger: slog.New(slog.DiscardHandler),
		Deliver: func(m Message) { p.mu.Lock(); p.heard = append(p.heard, m); p.mu.Unlock() },
		Gap:     func(topic Topic) { p.mu.Lock(); p.gaps = append(p.gaps, topic); p.mu.Unlock() },
		Answer: func(ctx context.Context, kind Kind, data []byte) []byte {
			p.mu.Lock()
			answer := p.answer
			p.mu.Unlock()
			if answer != nil {
				return answer(ctx, kind, data)
			}
			return append([]byte(p.Name()+" "), data...)
		},
	}
	if change != nil {
		change(&c)
	}
	n, err := New(c)
	if err != nil {
		t.Fatal(err)
	}
	p.Node = n
	t.Cleanup(func() { p.close() })
	return p
}

func (p *process) close() {
	p.t.Helper()
	ctx, stop := context.WithTimeout(context.Background(), 10*time.Second)
	defer stop()
	if err := p.Close(ctx); err != nil {
		p.t.Error(err)
	}
}

// start returns nodes that are started and know each other, each with a port of its own.
func start(t *testing.T, b *memory, count int) []*process {
	t.Helper()
	var ps []*process
	for range count {
		port := &port{memory: b}
		p := newProcess(t, port, nil)
		p.port = port
		p.Start()
		ps = append(ps, p)
	}
	time.Sleep(acquaintance)
	synctest.Wait()
	return ps
}

// join has nodes join topics, and waits until they hear them for sure.
func join(topics []Topic, ps ...*process) {
	for _, p := range ps {
		for _, topic := range topics {
			p.Join(topic)
		}
	}
	time.Sleep(3 * time.Second)
	synctest.Wait()
}

// send sends a message, and waits until it has arrived.
func (p *process) send(text string, topics ...Topic) {
	p.Send(1, []byte(text), topics...)
	synctest.Wait()
}

// look runs f while the state of the node does not change.
func (p *process) look(f func()) {
	p.Node.mu.Lock()
	defer p.Node.mu.Unlock()
	f()
}

// answers sets how a node answers questions.
func (p *process) answers(answer func(ctx context.Context, kind Kind, data []byte) []byte) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.answer = answer
}

// expect checks what a node has heard since the last call.
func (p *process) expect(texts ...string) {
	p.t.Helper()
	p.mu.Lock()
	heard := p.heard
	p.heard = nil
	p.mu.Unlock()
	var got []string
	for _, m := range heard {
		got = append(got, string(m.Data))
	}
	if !slices.Equal(got, texts) {
		p.t.Errorf("heard %q, want %q", got, texts)
	}
}

// expectGaps checks of which topics a node was told that messages may be missing.
func (p *process) expectGaps(topics ...Topic) {
	p.t.Helper()
	p.mu.Lock()
	gaps := p.gaps
	p.gaps = nil
	p.mu.Unlock()
	byName := func(a, b Topic) int { return strings.Compare(a.Name, b.Name) }
	slices.SortStableFunc(gaps, byName)
	slices.SortStableFunc(topics, byName)
	if !slices.Equal(gaps, topics) {
		p.t.Errorf("gaps on %v, want %v", gaps, topics)
	}
}

// expectMembers checks which other nodes a node lists, and which of them as silent.
func (p *process) expectMembers(living, silent []*process) {
	p.t.Helper()
	var got, want []string
	for _, m := range p.Members() {
		got = append(got, fmt.Sprint(m.Name, m.Silent))
	}
	for _, other := range living {
		want = append(want, other.Name()+"false")
	}
	for _, other := range silent {
		want = append(want, other.Name()+"true")
	}
	slices.Sort(want)
	if !slices.Equal(got, want) {
		p.t.Errorf("members %v, want %v", got, want)
	}
}

// ask asks the others, and checks who has answered, who has not, and how long it took.
func (p *process) ask(answered, unheard []*process, took time.Duration) {
	p.t.Helper()
	ctx, stop := context.WithTimeout(p.t.Context(), 500*time.Millisecond)
	defer stop()
	began := time.Now()
	answers, missing := p.Ask(ctx, 1, []byte("?"))
	var got []string
	for _, a := range answers {
		got = append(got, a.Node)
		if string(a.Data) != a.Node+" ?" {
			p.t.Errorf("the answer is %q", a.Data)
		}
	}
	if want := names(answered); !slices.Equal(got, want) {
		p.t.Errorf("answers of %v, want %v", got, want)
	}
	if want := names(unheard); !slices.Equal(missing, want) {
		p.t.Errorf("unheard %v, want %v", missing, want)
	}
	if d := time.Since(began); d != took {
		p.t.Errorf("it took %v, want %v", d, took)
	}
}

func names(ps []*process) (names []string) {
	for _, p := range ps {
		names = append(names, p.Name())
	}
	slices.Sort(names)
	return names
}

// these makes the lists of expectMembers and ask readable.
func these(ps ...*process) []*process { return ps }

// TestNodesTogether guards that nodes find each other within milliseconds, send, ask and say
// goodbye.
func TestNodesTogether(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := &memory{}
		ps := start(t, b, 3)
		for _, p := range ps {
			if len(p.Members()) != 2 {
				t.Fatal(p.Members())
			}
		}
		room := Topic{'r', "room"}
		for _, p := range ps {
			p.Join(room)
		}
		synctest.Wait()
		ps[0].Send(3, []byte("one"), room)
		ps[0].Send(3, []byte("both"), room, Topic{'u', "x"})
		synctest.Wait()
		ps[0].expect()
		ps[1].expect("one", "both")
		ps[2].expect("one", "both")
		ps[0].ask(these(ps[1], ps[2]), nil, 0)
		ps[2].close()
		synctest.Wait()
		ps[0].expectMembers(these(ps[1]), nil)
		ps[0].expectGaps()
	})
}
