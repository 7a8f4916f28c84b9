package compare

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/z-open/socketauth/bench/internal/load"
	"github.com/z-open/socketauth/bench/internal/servers"
)

// process is a server in a process of its own.
type process struct {
	cmd *exec.Cmd
	in  io.Closer
	url string
}

// start starts a candidate's server and returns when it answers. The server ends with ctx.
func start(ctx context.Context, c candidate, dir string) (*process, error) {
	path, err := os.Executable()
	if err != nil {
		return nil, err
	}
	cmd := exec.Command(path)
	if len(c.node) > 0 {
		cmd = exec.Command("node", c.node...)
		cmd.Dir = filepath.Join(dir, "node")
	}
	cmd.Env = append(os.Environ(), servers.NameEnv+"="+c.server, servers.SecretEnv+"="+secret, "NODE_ENV=production")
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
	p := &process{cmd: cmd, in: in}
	context.AfterFunc(ctx, func() { _ = cmd.Process.Kill() }) // so that nothing waits for an answer
	line, err := bufio.NewReader(out).ReadString('\n')
	p.url = strings.TrimSpace(line)
	if err == nil {
		_, err = load.Do(ctx, load.NewHTTPClient(0), "GET", p.url+servers.ReadyPath, "", nil)
	}
	if err != nil {
		p.stop()
		return nil, fmt.Errorf("%s did not start: %w", c.name, err)
	}
	return p, nil
}

// stop ends the process at once: its end is not measured.
func (p *process) stop() {
	_ = p.cmd.Process.Kill()
	_ = p.cmd.Wait() // it was killed, and says so
	_ = p.in.Close()
}

// cpu returns the processor time that the process has used, user and system. The kernel counts it
// in steps of 10 ms.
func (p *process) cpu() (time.Duration, error) {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", p.cmd.Process.Pid))
	if err != nil {
		return 0, err
	}
	// The second field is the name in parentheses, which may contain spaces. utime is field 14.
	_, rest, _ := strings.Cut(string(stat), ") ")
	fields := strings.Fields(rest)
	if len(fields) < 13 {
		return 0, fmt.Errorf("malformed stat %q", stat)
	}
	user, uerr := strconv.ParseInt(fields[11], 10, 64)
	system, serr := strconv.ParseInt(fields[12], 10, 64)
	const tick = 10 * time.Millisecond // USER_HZ is 100 on every platform that Go supports
	return time.Duration(user+system) * tick, errors.Join(uerr, serr)
}

// rss returns the resident memory of the process in bytes.
func (p *process) rss() (float64, error) {
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.cmd.Process.Pid))
	if err != nil {
		return 0, err
	}
	_, line, _ := strings.Cut(string(status), "VmRSS:")
	var kilobytes float64
	if _, err := fmt.Sscanf(line, "%f kB", &kilobytes); err != nil {
		return 0, fmt.Errorf("RSS: %w", err)
	}
	return kilobytes * 1024, nil
}

// sleep waits for the duration or the end of ctx.
func sleep(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
