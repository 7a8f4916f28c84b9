package compare

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/z-open/socketauth/bench/internal/load"
)

// comeBack has every client authenticate once and lose its connection. Then all come back at the
// same time, with what they have stored.
func comeBack(ctx context.Context, r *run) (metrics, error) {
	clients, err := r.openAll(ctx, r.returning)
	closeAll(clients)
	if err != nil {
		return nil, err
	}
	if err := sleep(ctx, r.settle/5); err != nil { // the server sees that they have left
		return nil, err
	}
	cpu, err := r.cpu()
	if err != nil {
		return nil, err
	}
	var coming sync.WaitGroup
	begin := make(chan struct{})
	errs := make([]error, len(clients))
	latencies := make([]time.Duration, len(clients))
	back := make([]client, len(clients))
	for i, c := range clients {
		coming.Go(func() {
			<-begin
			began := time.Now()
			back[i].Conn, back[i].token, errs[i] = load.Open(ctx, r.url, r.dialect, i, c.token)
			latencies[i] = time.Since(began)
		})
	}
	began := time.Now()
	close(begin)
	coming.Wait()
	took := time.Since(began)
	after, cerr := r.cpu()
	for _, c := range back {
		if c.Conn != nil {
			c.Close()
		}
	}
	if err := firstError(append(errs, cerr)); err != nil {
		return nil, err
	}
	m := metrics{allSeconds: took.Seconds(), cpuPerOp: float64((after - cpu).Microseconds()) / float64(len(clients))}
	addQuantiles(m, latencies)
	return m, nil
}

// idle opens sockets in steps. Each authenticates, has one echo and is silent from then on. The
// server is left to itself for a time before its memory is read.
func idle(ctx context.Context, r *run) (metrics, error) {
	ctx, fail := context.WithCancelCause(ctx)
	defer fail(nil)
	var open []client
	var listening sync.WaitGroup
	closing := make(chan struct{})
	defer listening.Wait()
	defer func() { closeAll(open) }()
	defer close(closing)
	h := load.NewHTTPClient(0)
	defer h.CloseIdleConnections()

	var at []float64 // resident memory at each step
	for _, due := range r.idle {
		before := len(open)
		more, err := prepareAll(ctx, due-before, func(ctx context.Context, i int) (client, error) {
			c, err := r.open(ctx, h, before+i)
			if err != nil {
				return client{}, err
			}
			if err := c.Echo(); err != nil {
				c.Close()
				return client{}, err
			}
			listening.Go(func() {
				err := c.KeepAlive()
				select {
				case <-closing:
				default:
					fail(fmt.Errorf("an idle socket: %w", err))
				}
			})
			return c, nil
		})
		open = append(open, more...)
		if err != nil {
			return nil, fmt.Errorf("after %d sockets: %w", len(open), err)
		}
		if err := sleep(ctx, r.settle); err != nil {
			return nil, err
		}
		rss, err := r.rss()
		if err != nil {
			return nil, err
		}
		at = append(at, rss)
	}
	if err := context.Cause(ctx); err != nil {
		return nil, err
	}
	last := len(at) - 1
	per := func(from, to int) float64 { return (at[to] - at[from]) / 1024 / float64(r.idle[to]-r.idle[from]) }
	return metrics{sockets: float64(r.idle[last]), kibPerSocket: per(0, last), slope: per(last-1, last), mibTotal: at[last] / (1 << 20)}, nil
}
