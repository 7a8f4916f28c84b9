package compare

import (
	"bytes"
	"io"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/z-open/socketauth/bench/internal/load"
	"github.com/z-open/socketauth/bench/internal/servers"
)

func TestMain(m *testing.M) {
	if servers.Main() || servers.StoreMain() {
		return // this was a process that is measured
	}
	os.Exit(m.Run())
}

// TestShort guards that every workload works with every candidate: those on Node too, where Node is
// installed.
func TestShort(t *testing.T) {
	_, err := exec.LookPath("node")
	hasNode := err == nil
	var log bytes.Buffer
	report, err := Run(t.Context(), Options{Dir: "../..", Rounds: 1, Short: true, Log: &log})
	if err != nil {
		t.Fatal(err)
	}
	if hasNode && len(report.Missing) > 0 || !hasNode && len(report.Missing) != 1 {
		t.Errorf("Node is installed: %v, and not measured was: %q", hasNode, report.Missing)
	}
	for _, r := range report.Results {
		if r.Error != "" && r.Candidate != ours.name && r.Candidate != oursEIO3.name {
			// Some peers now and then close a connection of a busy machine, which is their fault.
			t.Logf("again, %s of %s: %s", r.Workload, r.Candidate, r.Error)
			r = again(t, r)
		}
		if r.Error != "" || len(r.Metrics) == 0 {
			t.Errorf("%s of %s: %v, %s", r.Workload, r.Candidate, r.Metrics, r.Error)
		}
	}
	for _, w := range workloads() {
		for _, c := range w.candidates {
			ran := slices.ContainsFunc(report.Results, func(r Result) bool { return r.Workload == w.name && r.Candidate == c.name })
			if !ran && (hasNode || len(c.node) == 0) {
				t.Errorf("%s of %s did not run", w.name, c.name)
			}
		}
	}
	var table strings.Builder
	if err := report.WriteTable(&table); err != nil {
		t.Fatal(err)
	}
	for _, w := range workloads() {
		if !strings.Contains(table.String(), "\n"+w.name+": ") {
			t.Errorf("the table lacks %s:\n%s", w.name, &table)
		}
	}
}

// again repeats a failed run, up to three times.
func again(t *testing.T, r Result) Result {
	for range 3 {
		report, err := Run(t.Context(), Options{Dir: "../..", Only: []string{r.Workload, r.Candidate}, Rounds: 1, Short: true, Log: io.Discard})
		if err != nil {
			t.Fatal(err)
		}
		if r = report.Results[0]; r.Error == "" {
			break
		}
	}
	return r
}

// TestWrongAnswers guards that a run does not count if a server answers something else than is due.
func TestWrongAnswers(t *testing.T) {
	for _, w := range workloads() {
		if w.alone {
			continue
		}
		t.Run(w.name, func(t *testing.T) {
			wrong := candidate{name: "wrong", server: "gws", dialect: load.EIO4}
			if slices.Contains([]string{"login", "middleware", "flood"}, w.name) {
				wrong = candidate{name: "wrong", server: "gws", dialect: load.Raw} // which has no login
			}
			m, err := once(t.Context(), w, &run{candidate: wrong, scale: short, dir: "../.."})
			if err == nil {
				t.Errorf("figures of a server that cannot do it: %v", m)
			}
		})
	}
}

// TestMeasureTime guards that a run is measured for its whole duration, also if each worker has
// done something before the clock was read.
func TestMeasureTime(t *testing.T) {
	self, err := os.FindProcess(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	r := &run{scale: short, process: &process{cmd: &exec.Cmd{Process: self}}}
	var measuring atomic.Bool
	var done counts
	done.within.Store(1)
	began := time.Now()
	if _, err := r.measure(t.Context(), &measuring, &done, 1); err != nil {
		t.Fatal(err)
	}
	if took := time.Since(began); took < short.warmup+short.duration {
		t.Errorf("%v, and %v are due", took, short.warmup+short.duration)
	}
}

// TestSelected guards what -only chooses.
func TestSelected(t *testing.T) {
	for _, c := range []struct {
		only []string
		want string // workload:candidate,...
	}{
		{[]string{"echo", "gws", "centrifuge"}, "echo:centrifuge,gws"},
		{[]string{"otter"}, "store:otter"},
		{[]string{"login"}, "login:socketauth,gin-jwt,net/http"},
		{[]string{"net/http"}, "login:net/http middleware:net/http"},
	} {
		all, err := selected(c.only)
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, w := range all {
			var names []string
			for _, c := range w.candidates {
				names = append(names, c.name)
			}
			got = append(got, w.name+":"+strings.Join(names, ","))
		}
		if strings.Join(got, " ") != c.want {
			t.Errorf("%q: %q instead of %q", c.only, got, c.want)
		}
	}
	for _, only := range [][]string{{"ecco"}, {"store", "gws"}} {
		if all, err := selected(only); err == nil {
			t.Errorf("%q: %d workloads", only, len(all))
		}
	}
}

// TestMedian guards the figures of the table.
func TestMedian(t *testing.T) {
	if mid, low, high := median([]float64{5, 1, 3}); mid != 3 || low != 1 || high != 5 {
		t.Error(mid, low, high)
	}
	if mid, _, _ := median([]float64{4, 1, 3, 2}); mid != 2.5 {
		t.Error(mid)
	}
	if got := cell([]float64{30, 10, 20}, []float64{40}); got != "20.0 (10.0 to 30.0) x0.50" {
		t.Errorf("%q", got)
	}
	if got := number(123456); got != "123456" {
		t.Error(got)
	}
}

// TestIdleLimit guards that idle never wants more sockets than files are allowed.
func TestIdleLimit(t *testing.T) {
	for _, files := range []int{1024, 20_000, 1 << 20} {
		s := full
		s.limitIdle(files)
		if !slices.IsSorted(s.idle) || s.idle[0] < 1 || s.idle[2] > files || s.idle[2] > full.idle[2] {
			t.Errorf("%d files: %v", files, s.idle)
		}
	}
}
