package compare

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/z-open/socketauth/bench/internal/load"
	"github.com/z-open/socketauth/bench/internal/servers"
)

// client is a connection and what it presents next time.
type client struct {
	*load.Conn
	token string
}

// open gets the first token of client i and connects it.
func (r *run) open(ctx context.Context, h *http.Client, i int) (client, error) {
	token, err := r.token(ctx, h, r.url, i)
	if err != nil {
		return client{}, err
	}
	conn, token, err := load.Open(ctx, r.url, r.dialect, i, token)
	return client{conn, token}, err
}

// openAll connects n clients, each of which has had one echo. The caller closes those it returns,
// even after an error.
func (r *run) openAll(ctx context.Context, n int) ([]client, error) {
	h := load.NewHTTPClient(0)
	defer h.CloseIdleConnections()
	return prepareAll(ctx, n, func(ctx context.Context, i int) (client, error) {
		c, err := r.open(ctx, h, i)
		if err != nil {
			return client{}, err
		}
		if err := c.Echo(); err != nil {
			c.Close()
			return client{}, err
		}
		return c, nil
	})
}

func closeAll(clients []client) {
	for _, c := range clients {
		c.Close()
	}
}

// handshake: each client presents what it got the time before.
func handshake(ctx context.Context, r *run) (metrics, error) {
	return repeat(ctx, r, r.workers, func(ctx context.Context, i int) (worker, error) {
		h := load.NewHTTPClient(i)
		token, err := r.token(ctx, h, r.url, i)
		h.CloseIdleConnections()
		return worker{op: func(ctx context.Context) error {
			conn, next, err := load.Open(ctx, r.url, r.dialect, i, token)
			if err != nil {
				return err
			}
			token = next
			return conn.Leave()
		}}, err
	})
}

func pollingHandshake(ctx context.Context, r *run) (metrics, error) {
	return repeat(ctx, r, r.workers, func(ctx context.Context, i int) (worker, error) {
		h := load.NewHTTPClient(i)
		token, err := r.token(ctx, h, r.url, i)
		return worker{done: h.CloseIdleConnections, op: func(ctx context.Context) error {
			conn, next, err := load.OpenPolling(ctx, h, r.url, r.dialect, token)
			if err != nil {
				return err
			}
			token = next
			return conn.Leave()
		}}, err
	})
}

func echo(ctx context.Context, r *run) (metrics, error) {
	h := load.NewHTTPClient(0)
	defer h.CloseIdleConnections()
	return repeat(ctx, r, r.echoSockets, func(ctx context.Context, i int) (worker, error) {
		c, err := r.open(ctx, h, i)
		if err != nil {
			return worker{}, err
		}
		return worker{op: func(context.Context) error { return c.Echo() }, done: c.Close}, nil
	})
}

// broadcast has the server emit a text n times.
func (r *run) broadcast(ctx context.Context, h *http.Client, text string, n int) error {
	_, err := load.Do(ctx, h, http.MethodPost, r.url+servers.BroadcastPath+"?n="+strconv.Itoa(n), text, nil)
	return err
}

// receive has every client read the broadcasts that are due, and returns when all of them have.
// each is called in the client's goroutine.
func receive(clients []client, due int, each func(i, message int, text string) error) error {
	var reading sync.WaitGroup
	var once sync.Once
	var failure error // the first one: those that follow are about connections that closeAll closes
	for i, c := range clients {
		reading.Go(func() {
			for m := range due {
				text, err := c.News()
				if err == nil {
					err = each(i, m, text)
				}
				if err != nil {
					once.Do(func() { failure = fmt.Errorf("broadcast %d of client %d: %w", m, i, err) })
					closeAll(clients) // so that the others do not wait either
					return
				}
			}
		})
	}
	reading.Wait()
	return failure
}

func firstError(errs []error) error {
	i := slices.IndexFunc(errs, func(err error) bool { return err != nil })
	if i < 0 {
		return nil
	}
	return errs[i]
}

const newsText = "a line of news, of about the length that people write before they press enter"

// burst is repeated. The first time is the warm-up.
func burst(ctx context.Context, r *run) (metrics, error) {
	clients, err := r.openAll(ctx, r.receivers)
	defer closeAll(clients)
	if err != nil {
		return nil, err
	}
	h := load.NewHTTPClient(0)
	defer h.CloseIdleConnections()
	var elapsed, used time.Duration
	for n := range r.bursts + 1 {
		cpu, err := r.cpu()
		if err != nil {
			return nil, err
		}
		began := time.Now()
		sent := make(chan error, 1)
		go func() {
			err := r.broadcast(ctx, h, newsText, r.burst)
			if err != nil {
				closeAll(clients) // so that nobody waits for it
			}
			sent <- err
		}()
		err = receive(clients, r.burst, func(_, m int, text string) error {
			if due := strconv.Itoa(m) + " " + newsText; text != due {
				return fmt.Errorf("%q instead of %q", text, due)
			}
			return nil
		})
		took := time.Since(began)
		if err = errors.Join(<-sent, err); err != nil {
			return nil, err
		}
		after, err := r.cpu()
		if err != nil {
			return nil, err
		}
		if n > 0 {
			elapsed, used = elapsed+took, used+after-cpu
		}
	}
	messages := float64(r.bursts * r.burst * r.receivers)
	return metrics{opsPerSecond: messages / elapsed.Seconds(), cpuPerOp: float64(used.Microseconds()) / messages}, nil
}

// paced measures from before the request for a broadcast until each client has it.
func paced(ctx context.Context, r *run) (metrics, error) {
	clients, err := r.openAll(ctx, r.receivers)
	defer closeAll(clients)
	if err != nil {
		return nil, err
	}
	h := load.NewHTTPClient(0)
	defer h.CloseIdleConnections()
	base := time.Now()
	cpu, err := r.cpu()
	if err != nil {
		return nil, err
	}
	sent := make(chan error, 1)
	go func() {
		tick := time.NewTicker(r.pace)
		defer tick.Stop()
		var err error
		for i := 0; i < r.paced && err == nil; i++ {
			<-tick.C
			err = r.broadcast(ctx, h, fmt.Sprintf("%d %d %s", i, time.Since(base), newsText), 1)
		}
		if err != nil {
			closeAll(clients)
		}
		sent <- err
	}()
	latencies := make([]time.Duration, len(clients)*r.paced)
	err = receive(clients, r.paced, func(i, m int, text string) error {
		now := time.Since(base)
		fields := strings.SplitN(text, " ", 4) // the number in the request, the broadcast's, its time, the text
		if len(fields) != 4 || fields[0] != "0" || fields[1] != strconv.Itoa(m) || fields[3] != newsText {
			return fmt.Errorf("%q instead of broadcast %d", text, m)
		}
		at, err := strconv.ParseInt(fields[2], 10, 64)
		latencies[i*r.paced+m] = now - time.Duration(at)
		return err
	})
	if err = errors.Join(<-sent, err); err != nil {
		return nil, err
	}
	after, err := r.cpu()
	if err != nil {
		return nil, err
	}
	m := metrics{cpuPerOp: float64((after - cpu).Microseconds()) / float64(len(latencies))}
	addQuantiles(m, latencies)
	return m, nil
}
