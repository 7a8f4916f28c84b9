package cluster

import (
	"context"
	"testing"
	"testing/synctest"
	"time"
)

// TestAwait guards that Await returns once the subscriptions are made, the topics were left, an
// attempt to subscribe has failed, the context has ended, or the node is closed, and does not wait
// longer.
func TestAwait(t *testing.T) {
	a, b := Topic{'r', "a"}, Topic{'r', "b"}
	for name, c := range map[string]struct {
		event func(p *process, end context.CancelFunc) // after a second; nil: none
		want  bool
		took  time.Duration
	}{
		"made":     {nil, true, 2 * time.Second},
		"left":     {func(p *process, _ context.CancelFunc) { p.Leave(a); p.Leave(b) }, true, time.Second},
		"canceled": {func(_ *process, end context.CancelFunc) { end() }, false, time.Second},
		"closed":   {func(p *process, _ context.CancelFunc) { go func() { _ = p.Close(context.Background()) }() }, false, time.Second},
		"failed":   {nil, false, subscribeTimeout},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				broker := &port{memory: &memory{}}
				p := newProcess(t, broker, nil)
				ctx, end := context.WithCancel(t.Context())
				defer end()
				if p.Await(ctx, a) {
					t.Error("a node that was not started hears")
				}
				p.Start()
				time.Sleep(time.Second)
				if !p.Await(ctx) || !p.Await(ctx, a) {
					t.Error("it waits for what it has not joined")
				}
				broker.set(func(b *port) { b.slow, b.hang = 2*time.Second, name == "failed" })
				p.Join(a)
				p.Join(b)
				began := time.Now()
				if c.event != nil {
					time.AfterFunc(time.Second, func() { c.event(p, end) })
				}
				if got, took := p.Await(ctx, a, b), time.Since(began); got != c.want || took != c.took {
					t.Errorf("%v after %v, want %v after %v", got, took, c.want, c.took)
				}
				if name == "made" && (!p.Hears(a) || !p.Hears(b) || !p.Await(ctx, a, b)) {
					t.Error("it does not hear")
				}
				broker.set(func(b *port) { b.slow, b.hang = 0, false })
				time.Sleep(2 * subscribeTimeout)
			})
		})
	}
}
