// Package compare measures the library beside other servers: the same clients, in rounds in which
// the candidates take turns, each run on a server process that has just started.
package compare

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"time"

	"github.com/z-open/socketauth/bench/internal/servers"
)

// Options say what is measured.
type Options struct {
	Dir    string   // the folder of the module, which has node/
	Only   []string // names of workloads and candidates; of each kind, empty means all
	Rounds int
	Idle   int // the highest number of idle sockets, if not 0
	Short  bool
	Log    io.Writer // one line for each run
}

// Result is one run. Without Metrics it does not count.
type Result struct {
	Round     int
	Workload  string
	Candidate string
	Metrics   metrics `json:",omitempty"`
	Error     string  `json:",omitempty"`
}

// Report is what was measured.
type Report struct {
	Machine Machine
	Began   time.Time
	Ended   time.Time
	Rounds  int
	Short   bool     // the figures mean nothing
	Missing []string `json:",omitempty"` // what could not be measured at all, and why
	Results []Result
}

// Failed returns how many runs do not count.
func (r *Report) Failed() int {
	n := 0
	for _, result := range r.Results {
		if result.Error != "" {
			n++
		}
	}
	return n
}

// Run measures. It returns an error only if nothing can be measured; the failure of a run is in the
// report. If ctx ends, the report has what was measured before.
func Run(ctx context.Context, o Options) (*Report, error) {
	all, err := selected(o.Only)
	if err != nil {
		return nil, err
	}
	s := full
	if o.Short {
		s = short
	}
	if o.Idle > 0 {
		s.idle = []int{max(1, o.Idle/100), max(2, o.Idle/2), max(3, o.Idle)}
	}
	report := &Report{Machine: machine(ctx), Began: time.Now(), Rounds: o.Rounds, Short: o.Short}
	wanted := s.idle[len(s.idle)-1]
	s.limitIdle(servers.RaiseFileLimit())
	measuresIdle := slices.ContainsFunc(all, func(w workload) bool { return w.name == "idle" })
	if got := s.idle[len(s.idle)-1]; got < wanted && measuresIdle {
		report.Missing = append(report.Missing,
			fmt.Sprintf("idle with %d sockets: this system's limit of open files allows %d", wanted, got))
	}
	if !needsNode(all) {
		// Nothing is installed that is not used.
	} else if err := prepareNode(ctx, o.Dir); err != nil {
		all = withoutNode(all)
		report.Missing = append(report.Missing, "every candidate on Node: "+err.Error())
	}
	for _, text := range report.Missing {
		_, _ = fmt.Fprintln(o.Log, "not measured:", text)
	}
	for round := range o.Rounds {
		for _, w := range all {
			n := len(w.candidates)
			for i := range n {
				if ctx.Err() != nil {
					report.Ended = time.Now()
					return report, nil
				}
				c := w.candidates[(i+round)%n] // each has its turn at being first
				result := Result{Round: round + 1, Workload: w.name, Candidate: c.name}
				m, err := once(ctx, w, &run{candidate: c, scale: s, dir: o.Dir})
				if result.Metrics = m; err != nil {
					result.Metrics, result.Error = nil, err.Error()
				}
				report.Results = append(report.Results, result)
				_, _ = fmt.Fprintf(o.Log, "%d/%d %s %s %s\n", round+1, o.Rounds, w.name, c.name, describe(result))
			}
		}
	}
	report.Ended = time.Now()
	return report, nil
}

// longest is how long one run may take. It is only reached if a server does not answer.
const longest = 10 * time.Minute

func once(ctx context.Context, w workload, r *run) (metrics, error) {
	ctx, cancel := context.WithTimeout(ctx, longest)
	defer cancel()
	if w.alone {
		return w.run(ctx, r)
	}
	p, err := start(ctx, r.candidate, r.dir)
	if err != nil {
		return nil, err
	}
	defer p.stop()
	r.process = p
	return w.run(ctx, r)
}

// selected returns the workloads with the candidates that are named.
func selected(only []string) ([]workload, error) {
	all := workloads()
	names := func(w workload) bool { return slices.Contains(only, w.name) }
	chosen := func(c candidate) bool { return slices.Contains(only, c.name) }
	someWorkload := slices.ContainsFunc(all, names)
	someCandidate := false
	for _, name := range only {
		isWorkload := slices.ContainsFunc(all, func(w workload) bool { return w.name == name })
		isCandidate := slices.ContainsFunc(all, func(w workload) bool {
			return slices.ContainsFunc(w.candidates, func(c candidate) bool { return c.name == name })
		})
		if !isWorkload && !isCandidate {
			return nil, fmt.Errorf("%q is neither a workload nor a candidate", name)
		}
		someCandidate = someCandidate || isCandidate
	}
	var result []workload
	for _, w := range all {
		if someWorkload && !names(w) {
			continue
		}
		if someCandidate {
			w.candidates = slices.DeleteFunc(slices.Clone(w.candidates), func(c candidate) bool { return !chosen(c) })
		}
		if len(w.candidates) > 0 {
			result = append(result, w)
		}
	}
	if len(result) == 0 {
		return nil, errors.New("none of the candidates named is in one of the workloads named")
	}
	return result, nil
}

func needsNode(all []workload) bool {
	return slices.ContainsFunc(all, func(w workload) bool {
		return slices.ContainsFunc(w.candidates, func(c candidate) bool { return len(c.node) > 0 })
	})
}

func withoutNode(all []workload) []workload {
	for i, w := range all {
		all[i].candidates = slices.DeleteFunc(slices.Clone(w.candidates), func(c candidate) bool { return len(c.node) > 0 })
	}
	return slices.DeleteFunc(all, func(w workload) bool { return len(w.candidates) == 0 })
}

// prepareNode installs what the candidates on Node need, unless it is there.
func prepareNode(ctx context.Context, dir string) error {
	dir = filepath.Join(dir, "node")
	for _, tool := range []string{"node", "npm"} {
		if _, err := exec.LookPath(tool); err != nil {
			return fmt.Errorf("%s is not installed", tool)
		}
	}
	lock, err := os.Stat(filepath.Join(dir, "package-lock.json"))
	if err != nil {
		return err
	}
	installed, err := os.Stat(filepath.Join(dir, "node_modules", ".package-lock.json"))
	if err == nil && installed.ModTime().After(lock.ModTime()) {
		return nil
	}
	if out, err := exec.CommandContext(ctx, "npm", "ci", "--prefix", dir, "--no-audit", "--no-fund").CombinedOutput(); err != nil {
		return fmt.Errorf("npm ci: %w: %s", err, out)
	}
	return nil
}
