package compare

import (
	"fmt"
	"io"
	"math"
	"slices"
	"strings"
	"text/tabwriter"
)

// describe returns a result in one line.
func describe(r Result) string {
	if r.Error != "" {
		return "FAILED: " + r.Error
	}
	var parts []string
	for _, name := range metricOrder {
		if v, ok := r.Metrics[name]; ok {
			parts = append(parts, name+" "+number(v))
		}
	}
	return strings.Join(parts, ", ")
}

// number returns three significant digits, and all those before the point.
func number(v float64) string {
	if v == 0 || math.IsNaN(v) || math.IsInf(v, 0) {
		return fmt.Sprint(v)
	}
	digits := max(0, 2-int(math.Floor(math.Log10(math.Abs(v)))))
	return fmt.Sprintf("%.*f", digits, v)
}

// median returns the median, the lowest and the highest of values, of which there is at least one.
func median(values []float64) (mid, low, high float64) {
	values = slices.Sorted(slices.Values(values))
	n := len(values)
	return (values[(n-1)/2] + values[n/2]) / 2, values[0], values[n-1]
}

// WriteTable writes a table for each workload: of each metric the median, the range, and how many
// times the first candidate's median that is.
func (r *Report) WriteTable(out io.Writer) error {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	p := func(format string, args ...any) { _, _ = fmt.Fprintf(w, format, args...) } // Flush returns the error
	p("%s\n", r.Machine)
	if r.Short {
		p("A short run: the figures mean nothing.\n")
	}
	for _, text := range r.Missing {
		p("Not measured: %s\n", text)
	}
	for _, load := range workloads() {
		r.writeWorkload(p, load)
	}
	return w.Flush()
}

func (r *Report) writeWorkload(p func(format string, args ...any), load workload) {
	values := make(map[string]map[string][]float64) // candidate, metric
	failed := make(map[string][]string)
	for _, result := range r.Results {
		if result.Workload != load.name {
			continue
		}
		if values[result.Candidate] == nil {
			values[result.Candidate] = make(map[string][]float64)
		}
		if result.Error != "" {
			failed[result.Candidate] = append(failed[result.Candidate], result.Error)
		}
		for name, v := range result.Metrics {
			values[result.Candidate][name] = append(values[result.Candidate][name], v)
		}
	}
	if len(values) == 0 {
		return
	}
	columns := slices.DeleteFunc(slices.Clone(metricOrder), func(name string) bool {
		for _, m := range values {
			if len(m[name]) > 0 {
				return false
			}
		}
		return true
	})
	p("\n%s: %s\n", load.name, load.about)
	p("candidate\t%s\n", strings.Join(columns, "\t"))
	var first map[string][]float64
	for _, c := range load.candidates {
		m, ok := values[c.name]
		if !ok {
			continue
		}
		if first == nil {
			first = m
		}
		cells := []string{c.name}
		for _, name := range columns {
			cells = append(cells, cell(m[name], first[name]))
		}
		p("%s\n", strings.Join(cells, "\t"))
	}
	for _, c := range load.candidates {
		if errs := failed[c.name]; len(errs) > 0 {
			p("%s: %d runs failed and do not count, the first with: %s\n", c.name, len(errs), errs[0])
		}
	}
}

func cell(values, first []float64) string {
	if len(values) == 0 {
		return "-"
	}
	mid, low, high := median(values)
	text := fmt.Sprintf("%s (%s to %s)", number(mid), number(low), number(high))
	if len(first) > 0 {
		if base, _, _ := median(first); base != 0 {
			text += fmt.Sprintf(" x%.2f", mid/base)
		}
	}
	return text
}
