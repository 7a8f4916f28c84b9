//go:build unix

package processes

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/z-open/socketauth/redisstore/internal/redistest"
)

// process is a process of the app, as the test that started it has it.
type process struct {
	t     testing.TB
	url   string
	cmd   *exec.Cmd
	stdin io.Closer
	log   *tail
	ended sync.Once
}

// start starts a process of the app. It is killed at the end of the test.
func start(t testing.TB, c config) *process {
	t.Helper()
	text, err := json.Marshal(c)
	if err != nil {
		t.Fatal(err)
	}
	p := &process{t: t, cmd: exec.Command(os.Args[0]), log: new(tail)}
	p.cmd.Env = append(os.Environ(), appEnv+"="+string(text))
	p.cmd.Stderr = p.log
	if p.stdin, err = p.cmd.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	out, err := p.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		p.kill()
		if t.Failed() {
			t.Logf("the log of %s:\n%s", p.url, p.log)
		}
		if races := p.log.races(); races != "" {
			t.Errorf("%s: %s", p.url, races)
		}
	})
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		t.Fatalf("a process of the app did not start: %v\n%s", err, p.log)
	}
	p.url = strings.TrimSpace(line)
	return p
}

// startAll starts n processes with the same config.
func startAll(t testing.TB, n int, c config) []*process {
	t.Helper()
	var all []*process
	for range n {
		all = append(all, start(t, c))
	}
	return all
}

// kill ends the process as kill -9 does.
func (p *process) kill() {
	p.ended.Do(func() {
		_ = p.cmd.Process.Kill()
		_ = p.cmd.Wait()
		_ = p.stdin.Close()
	})
}

// stop has the process stand still until cont.
func (p *process) stop() {
	p.t.Helper()
	p.signal(syscall.SIGSTOP)
	redistest.AwaitStopped(p.t, p.cmd.Process.Pid)
}

func (p *process) cont() { p.signal(syscall.SIGCONT) }

func (p *process) signal(s syscall.Signal) {
	p.t.Helper()
	if err := p.cmd.Process.Signal(s); err != nil {
		p.t.Fatal(err)
	}
}

// client is what tests use for HTTP. A process that stands still must not hang a test.
var client = &http.Client{Timeout: patience}

// ask has the process do something. The error is one that it returned, or that of the request.
func (p *process) ask(ctx context.Context, what string, o order) (answer, error) {
	var a answer
	body, err := json.Marshal(o)
	if err != nil {
		return a, err
	}
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, p.url+"/admin/"+what, bytes.NewReader(body))
	if err != nil {
		return a, err
	}
	response, err := client.Do(r)
	if err != nil {
		return a, err
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		text, _ := io.ReadAll(response.Body)
		return a, fmt.Errorf("%s: %s: %s", what, response.Status, text)
	}
	if err := json.NewDecoder(response.Body).Decode(&a); err != nil {
		return a, err
	}
	if a.Error != "" {
		return a, errors.New(a.Error)
	}
	return a, nil
}

// must is ask for what must not fail.
func (p *process) must(what string, o order) answer {
	p.t.Helper()
	a, err := p.ask(p.t.Context(), what, o)
	if err != nil {
		p.t.Fatalf("%s: %v", what, err)
	}
	return a
}

// warm has the process open many connections to Redis through the proxy. While replies are lost, it
// can open no others, and what it does by itself uses up one after the other.
func (p *process) warm(proxy *redistest.Proxy) {
	p.t.Helper()
	const connections = 8 // the client of a machine with one core opens 10
	before := proxy.Open()
	proxy.Stall() // so that each question needs a connection of its own
	var work sync.WaitGroup
	for range connections + before {
		work.Go(func() { _, _ = p.ask(p.t.Context(), "sessions", order{User: "nobody"}) })
	}
	redistest.Eventually(p.t, "there are enough connections", func() bool { return proxy.Open() >= connections })
	proxy.Pass()
	work.Wait()
}

// code returns a code for the user.
func (p *process) code(user string) string {
	p.t.Helper()
	return p.must("codes", order{User: user, N: 1}).Codes[0]
}

// enter connects a client that presents a token or a code, which must be accepted. Its next token
// is confirmed when enter returns.
func (p *process) enter(token string) *socket {
	p.t.Helper()
	s, err := enter(p.t.Context(), p.url, token)
	if err == nil {
		err = s.settled(p.t.Context())
	}
	if err != nil {
		p.t.Fatalf("a client was not let in: %v", err)
	}
	p.t.Cleanup(s.close)
	return s
}

// login connects a client that logs in as the user.
func (p *process) login(user string) *socket {
	p.t.Helper()
	return p.enter(p.code(user))
}

// comesBack connects until the process accepts the token, within the time given. A refusal that
// is no request to come back ends the test.
func (p *process) comesBack(token string, within time.Duration) *socket {
	p.t.Helper()
	deadline := time.Now().Add(within)
	for {
		s, err := enter(p.t.Context(), p.url, token)
		switch code := refused(err); {
		case err == nil:
			p.t.Cleanup(s.close)
			return s
		case code != "" && code != "unavailable" && code != "timeout", time.Now().After(deadline):
			p.t.Fatalf("a client could not come back: %v", err)
		}
		pause(50 * time.Millisecond)
	}
}

// me asks the middleware about a token, and returns the status of the answer, or 0 if there is
// none.
func (p *process) me(token string) int {
	r, err := http.NewRequestWithContext(p.t.Context(), http.MethodGet, p.url+"/me", nil)
	if err != nil {
		return 0
	}
	r.Header.Set("Authorization", "Bearer "+token)
	response, err := client.Do(r)
	if err != nil {
		return 0
	}
	_ = response.Body.Close()
	return response.StatusCode
}

// eventually waits until f returns nil, and fails the test with its last error after the time
// given.
func eventually(t testing.TB, within time.Duration, f func() error) {
	t.Helper()
	for deadline := time.Now().Add(within); ; pause(20 * time.Millisecond) {
		err := f()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("not within %v: %v", within, err)
		}
	}
}

// pause lets the other processes work before a test looks at them again.
func pause(d time.Duration) { time.Sleep(d) }

// tail keeps the last part of what a process logs.
type tail struct {
	mu    sync.Mutex
	bytes []byte
	race  bool
}

const tailSize = 16 << 10

func (t *tail) Write(b []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.bytes = append(t.bytes, b...)
	t.race = t.race || bytes.Contains(t.bytes, []byte("WARNING: DATA RACE"))
	if over := len(t.bytes) - tailSize; over > 0 && !t.race {
		t.bytes = append(t.bytes[:0], t.bytes[over:]...)
	}
	return len(b), nil
}

func (t *tail) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return string(t.bytes)
}

// races returns what the race detector has found in the process.
func (t *tail) races() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	if !t.race {
		return ""
	}
	return string(t.bytes)
}
