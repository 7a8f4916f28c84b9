package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"runtime"
	"runtime/debug"
	"slices"
	"strings"
	"testing"
)

const (
	childEnv = "SOCKETAUTH_BENCH_SERVE" // the candidate that this process serves instead of running tests

	idleBefore = 200  // sockets that are open before the measurement
	idle       = 2000 // sockets whose memory is measured
)

// usage is what a process uses, by the unit of the benchmark's metric.
type usage map[string]float64

// child runs in the process whose memory is measured. It writes its address, then its usage for
// each line that it reads, and ends at the end of its input.
func child(name string) error {
	all := candidates()
	i := slices.IndexFunc(all, func(c candidate) bool { return c.name == name })
	if i < 0 {
		return fmt.Errorf("no candidate %q", name)
	}
	mux := http.NewServeMux()
	if _, err := all[i].serve(mux); err != nil {
		return err
	}
	h := httptest.NewServer(mux)
	fmt.Println(h.URL)
	for in := bufio.NewScanner(os.Stdin); in.Scan(); {
		u, err := measure()
		if err != nil {
			return err
		}
		if err := json.NewEncoder(os.Stdout).Encode(u); err != nil {
			return err
		}
	}
	return nil
}

func measure() (usage, error) {
	runtime.GC() // two collections empty the pools
	debug.FreeOSMemory()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	u := usage{
		"heap-B/socket":     float64(m.HeapAlloc),
		"stack-B/socket":    float64(m.StackInuse),
		"goroutines/socket": float64(runtime.NumGoroutine()),
	}
	status, err := os.ReadFile("/proc/self/status")
	if errors.Is(err, os.ErrNotExist) {
		return u, nil // only Linux provides the rest
	}
	_, line, _ := strings.Cut(string(status), "VmRSS:")
	var kilobytes float64
	if _, scanErr := fmt.Sscanf(line, "%f kB", &kilobytes); scanErr != nil {
		return nil, fmt.Errorf("RSS: %w", errors.Join(err, scanErr))
	}
	u["RSS-B/socket"] = kilobytes * 1024
	return u, nil
}

// process is a child process, as its parent uses it.
type process struct {
	cmd     *exec.Cmd
	url     string
	in      io.WriteCloser
	answers *bufio.Reader
}

// spawn starts this program again, to serve a candidate.
func spawn(name string) (*process, error) {
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), childEnv+"="+name)
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	p := &process{cmd: cmd, in: in, answers: bufio.NewReader(out)}
	url, err := p.answers.ReadString('\n')
	if err != nil {
		return nil, errors.Join(err, p.stop())
	}
	p.url = strings.TrimSpace(url)
	return p, nil
}

func (p *process) usage() (u usage, err error) {
	if _, err := io.WriteString(p.in, "\n"); err != nil {
		return nil, err
	}
	line, err := p.answers.ReadBytes('\n')
	if err != nil {
		return nil, err
	}
	return u, json.Unmarshal(line, &u)
}

func (p *process) stop() error {
	_ = p.in.Close() // it fails if the process has ended, and Wait returns how
	return p.cmd.Wait()
}

// perSocket returns what each of a number of websockets costs the server while it is idle. One
// event was answered on each. before is how many sockets are opened first, so that things which are
// made only once do not count.
func perSocket(ctx context.Context, c candidate, before, sockets int) (_ usage, err error) {
	p, err := spawn(c.name)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, p.stop()) }()
	s := &server{candidate: c, url: p.url}
	var clients []*client
	defer func() {
		for _, c := range clients {
			c.close()
		}
	}()
	open := func(n int) (usage, error) {
		for range n {
			c, err := enter(ctx, s, dialWebsocket)
			if err != nil {
				return nil, err
			}
			clients = append(clients, c)
		}
		http.DefaultClient.CloseIdleConnections() // those of logins
		return p.usage()
	}
	was, err := open(before)
	if err != nil {
		return nil, err
	}
	u, err := open(sockets)
	for unit := range u {
		u[unit] = (u[unit] - was[unit]) / float64(sockets)
	}
	return u, err
}

// BenchmarkIdle measures the memory of an idle websocket, in a separate server process.
func BenchmarkIdle(b *testing.B) {
	for _, c := range candidates() {
		b.Run(c.name, func(b *testing.B) {
			total := make(usage)
			for b.Loop() {
				u, err := perSocket(b.Context(), c, idleBefore, idle)
				if err != nil {
					b.Fatal(err)
				}
				for unit, v := range u {
					total[unit] += v
				}
			}
			b.ReportMetric(0, "ns/op") // the time means nothing here
			for unit, v := range total {
				b.ReportMetric(v/float64(b.N), unit)
			}
		})
	}
}

// TestIdle guards that the memory of the serving process is measured.
func TestIdle(t *testing.T) {
	for _, c := range candidates() {
		t.Run(c.name, func(t *testing.T) {
			u, err := perSocket(t.Context(), c, 10, 50)
			if err != nil {
				t.Fatal(err)
			}
			if u["goroutines/socket"] < 0.5 || // one for each socket, except a few that existed before
				u["heap-B/socket"]+u["stack-B/socket"] <= 0 {
				t.Errorf("a socket costs nothing: %v", u)
			}
		})
	}
}
