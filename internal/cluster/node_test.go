package cluster

import (
	"bytes"
	"context"
	"log/slog"
	"slices"
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
			if p.answer != nil {
				return p.answer(ctx, kind, data)
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

// start returns nodes that are started and know each other.
func start(t *testing.T, b Broker, count int) []*process {
	t.Helper()
	var ps []*process
	for range count {
		p := newProcess(t, b, nil)
		p.Start()
		ps = append(ps, p)
	}
	time.Sleep(acquaintance)
	synctest.Wait()
	return ps
}

func names(ps ...*process) (names []string) {
	for _, p := range ps {
		names = append(names, p.Name())
	}
	slices.Sort(names)
	return names
}

// TestNodesTogether guards that nodes find each other within milliseconds, send, ask and say goodbye.
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
		for i, p := range ps {
			want := []string{"one", "both"}
			if i == 0 {
				want = nil
			}
			if got := p.texts(); !slices.Equal(got, want) {
				t.Errorf("node %d heard %q", i, got)
			}
		}
		answers, unheard := ps[0].Ask(t.Context(), 1, []byte("?"))
		if len(answers) != 2 || len(unheard) != 0 || string(answers[0].Data) != answers[0].Node+" ?" {
			t.Error(answers, unheard)
		}
		ps[2].close()
		synctest.Wait()
		if m := ps[0].Members(); len(m) != 1 || m[0].Name != ps[1].Name() || m[0].Silent || len(ps[0].lostOn()) > 0 {
			t.Error(m, ps[0].lostOn())
		}
	})
}
