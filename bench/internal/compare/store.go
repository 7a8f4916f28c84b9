package compare

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"strconv"

	"github.com/z-open/socketauth/bench/internal/servers"
)

// store runs in a process of its own that measures itself.
func store(ctx context.Context, r *run) (metrics, error) {
	path, err := os.Executable()
	if err != nil {
		return nil, err
	}
	cmd := exec.CommandContext(ctx, path)
	cmd.Env = append(os.Environ(),
		servers.StoreEnv+"="+r.server, servers.SessionsEnv+"="+strconv.Itoa(r.sessions))
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("store %s: %w", r.server, err)
	}
	var f servers.StoreFigures
	if err := json.Unmarshal(out, &f); err != nil {
		return nil, fmt.Errorf("store %s: %w: %q", r.server, err, out)
	}
	m := metrics{
		sessions: float64(f.Sessions), heapPerSession: f.HeapBytes, rssPerSession: f.RSSBytes,
		microsPerStep: f.MicrosPerStep, longestStep: f.LongestMillis, gcMillis: f.GCMillis,
	}
	if f.RevokeMicros > 0 {
		m[revokeMicros] = f.RevokeMicros
	}
	return m, nil
}
