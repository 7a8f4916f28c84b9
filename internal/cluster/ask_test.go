package cluster

import (
	"context"
	"fmt"
	"testing"
	"testing/synctest"
	"time"
)

// TestAnswerLate guards that an answer that comes too late names who gave it, and is not taken for
// the answer to a later question.
func TestAnswerLate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ps := start(t, &memory{}, 3)
		ps[2].answers(func(ctx context.Context, _ Kind, data []byte) []byte {
			time.Sleep(700 * time.Millisecond)
			if ctx.Err() == nil {
				t.Error("the context of an answer that nobody waits for has not ended")
			}
			return []byte("late")
		})
		ps[0].ask(these(ps[1]), these(ps[2]), 500*time.Millisecond)
		ps[2].answers(nil)
		ps[0].ask(these(ps[1], ps[2]), nil, 0)
		time.Sleep(time.Second)
		ps[0].ask(these(ps[1], ps[2]), nil, 0)
		ps[1].port.set(func(p *port) { p.deaf = true })
		ps[0].ask(these(ps[2]), these(ps[1]), 500*time.Millisecond)
		ps[1].port.set(func(p *port) { p.deaf = false })

		// One that leaves meanwhile has nothing left to say.
		ps[2].answers(func(context.Context, Kind, []byte) []byte { time.Sleep(time.Second); return nil })
		go func() {
			time.Sleep(100 * time.Millisecond)
			ps[2].close()
		}()
		ps[0].ask(these(ps[1]), nil, 100*time.Millisecond)
		time.Sleep(time.Second)
	})
}

// TestAskWithoutBroker guards that a question that cannot be asked names all others at once, one
// whose broker hangs when its context ends, and one of a node that has heard nobody yet that it
// cannot know who is there.
func TestAskWithoutBroker(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := &memory{}
		ps := start(t, b, 3)
		ps[0].port.set(func(p *port) { p.down = true })
		ps[0].ask(nil, these(ps[1], ps[2]), 0)
		ps[0].port.set(func(p *port) { p.down, p.hang = false, true })
		ps[0].ask(nil, these(ps[1], ps[2]), 500*time.Millisecond)

		its := &port{memory: b, down: true}
		p := newProcess(t, its, nil)
		for _, c := range []struct {
			state string
			took  time.Duration
		}{{"not started", 0}, {"down", 0}, {"hangs", 500 * time.Millisecond}} {
			switch c.state {
			case "down":
				p.Start()
				synctest.Wait()
			case "hangs":
				its.set(func(p *port) { p.down, p.hang = false, true })
				time.Sleep(time.Second)
				p.mu.Lock()
				p.mu.Unlock()
				p.Node.mu.Lock()
				p.trouble = false
				p.Node.mu.Unlock()
			}
			ctx, stop := context.WithTimeout(t.Context(), 500*time.Millisecond)
			began := time.Now()
			answers, unheard := p.Ask(ctx, 1, nil)
			stop()
			if len(answers) != 0 || fmt.Sprint(unheard) != "[unknown]" || time.Since(began) != c.took {
				t.Errorf("%s: %v, unheard %v after %v", c.state, answers, unheard, time.Since(began))
			}
		}
		its.set(func(p *port) { p.hang = false })
		ps[0].port.set(func(p *port) { p.hang = false })
		time.Sleep(11 * time.Second)
		p.ask(these(ps...), nil, 0)
	})
}

// TestAskAtOnce guards that a question that is asked just after the start waits until the others
// have had time to say that they are there, and that they do so although they have answered a
// heartbeat before, when this node did not hear them yet.
func TestAskAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := &memory{}
		ps := start(t, b, 2)
		const late = 20 * time.Millisecond
		p := newProcess(t, &port{memory: b, late: late}, nil)
		p.Start()
		p.ask(ps, nil, late+acquaintance)
	})
}

// TestAskSilent guards that a question stops waiting for a node that falls silent meanwhile.
func TestAskSilent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ps := start(t, &memory{}, 2)
		ps[1].port.set(func(p *port) { p.mute = true })
		ctx, stop := context.WithTimeout(t.Context(), time.Minute)
		defer stop()
		began := time.Now()
		if _, unheard := ps[0].Ask(ctx, 1, nil); len(unheard) != 1 || time.Since(began) > silentAfter+tickEvery {
			t.Errorf("unheard %v after %v", unheard, time.Since(began))
		}
	})
}

// TestAskClosed guards that Close ends questions, of a node that waits for answers, and of one that
// cannot listen yet or has only just begun.
func TestAskClosed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := &memory{}
		ps := start(t, b, 2)
		ps[1].port.set(func(p *port) { p.deaf = true })
		listening := newProcess(t, b, nil)
		hanging := newProcess(t, &port{memory: b, late: time.Second}, nil)
		for _, p := range these(ps[0], listening, hanging) {
			p.Start()
			synctest.Wait()
			began := time.Now()
			done := make(chan struct{})
			go func() {
				defer close(done)
				if _, unheard := p.Ask(t.Context(), 1, nil); len(unheard) == 0 {
					t.Error("nobody is unheard")
				}
				if took := time.Since(began); took > 100*time.Millisecond {
					t.Errorf("it took %v", took)
				}
			}()
			time.Sleep(100 * time.Millisecond)
			go p.close()
			<-done
			time.Sleep(2 * time.Second)
		}
	})
}
