package boardtest

import (
	"encoding/json"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/grafana/grafana-foundation-sdk/go/cog"
	"github.com/grafana/grafana-foundation-sdk/go/dashboard"
	query "github.com/grafana/grafana-foundation-sdk/go/prometheus"
	"github.com/grafana/grafana-foundation-sdk/go/stat"
	"github.com/grafana/grafana-foundation-sdk/go/timeseries"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/prometheus/promql/parser"

	"github.com/z-open/socketauth/metrics"
)

// grafana is a board as all versions of Grafana read it. The form that replaces it is read from 12
// on.
//
//lint:ignore SA1019 for the versions before
type grafana = dashboard.Dashboard

// readBoard reads the board by Grafana's own types, which know each field of a panel and of a
// query.
func readBoard(t *testing.T) grafana {
	t.Helper()
	runtime := cog.NewRuntime()
	runtime.RegisterPanelcfgVariant(stat.VariantConfig())
	runtime.RegisterPanelcfgVariant(timeseries.VariantConfig())
	runtime.RegisterDataqueryVariant(query.VariantConfig())
	text, err := os.ReadFile("../board.json")
	if err != nil {
		t.Fatal(err)
	}
	// It returns an empty list of errors, not nil, if there are none, and then leaves out the panels.
	if err := new(grafana).UnmarshalJSONStrict(text); err != nil && err.Error() != "" {
		t.Fatal(err)
	}
	var board grafana
	if err := json.Unmarshal(text, &board); err != nil {
		t.Fatal(err)
	}
	if err := board.Validate(); err != nil {
		t.Fatal(err)
	}
	return board
}

// TestBoard guards that Grafana reads the board: no field that it does not know, no panel above
// another, no number twice, nothing without a title, a description and a query.
func TestBoard(t *testing.T) {
	board := readBoard(t)
	ids := make(map[uint32]bool)
	taken := make(map[[2]uint32]string)
	place := func(title string, id *uint32, at *dashboard.GridPos) {
		if id == nil || ids[*id] || at == nil {
			t.Fatalf("%q has no number and place of its own", title)
		}
		ids[*id] = true
		for x := at.X; x < at.X+at.W; x++ {
			for y := at.Y; y < at.Y+at.H; y++ {
				if other := taken[[2]uint32{x, y}]; other != "" || x >= 24 {
					t.Fatalf("%q is above %q or out of the board", title, other)
				}
				taken[[2]uint32{x, y}] = title
			}
		}
	}
	panels := 0
	for _, p := range board.Panels {
		if r := p.RowPanel; r != nil {
			place(*r.Title, &r.Id, r.GridPos)
			continue
		}
		panels++
		place(*p.Panel.Title, p.Panel.Id, p.Panel.GridPos)
		if p.Panel.Description == nil || *p.Panel.Description == "" || len(p.Panel.Targets) == 0 || p.Panel.Options == nil {
			t.Errorf("%q has no description, query or options", *p.Panel.Title)
		}
	}
	if panels < 20 {
		t.Errorf("the board has %d panels", panels)
	}
}

// labels returns the labels of each series of the collector, by the name of the series.
func labels(t *testing.T) map[string][]string {
	t.Helper()
	descs := make(chan *prometheus.Desc, 1000)
	metrics.NewCollector(nil).Describe(descs)
	close(descs)
	desc := regexp.MustCompile(`^Desc\{fqName: "(\w+)", .*variableLabels: \{(.*)\}\}$`)
	all := make(map[string][]string)
	for d := range descs {
		found := desc.FindStringSubmatch(d.String())
		if found == nil {
			t.Fatalf("a description has another form: %s", d)
		}
		with := append(strings.Split(found[2], ","), "job", "instance") // which Prometheus adds
		all[found[1]] = with
		if strings.HasSuffix(found[1], "_duration_seconds") { // a histogram
			delete(all, found[1])
			all[found[1]+"_bucket"] = append(slices.Clone(with), "le")
			all[found[1]+"_sum"], all[found[1]+"_count"] = with, with
		}
	}
	return all
}

// check reports what is wrong with a query: Prometheus cannot parse it, the collector has no such
// metric or label, or a counter is not read by its rate. It returns the labels that the query uses.
func check(t *testing.T, title, text string, known map[string][]string) (used []string) {
	t.Helper()
	expr, err := parser.NewParser(parser.Options{}).ParseExpr(text)
	if err != nil {
		t.Errorf("%q: %s: %v", title, text, err)
		return nil
	}
	var has []string
	parser.Inspect(expr, func(node parser.Node, path []parser.Node) error {
		switch n := node.(type) {
		case *parser.VectorSelector:
			has = known[n.Name]
			if has == nil {
				t.Errorf("%q: %s: there is no metric %s", title, text, n.Name)
			}
			for _, m := range n.LabelMatchers {
				if m.Name != "__name__" {
					used = append(used, m.Name)
				}
			}
			_, ranged := path[len(path)-1].(*parser.MatrixSelector)
			if counts := regexp.MustCompile(`_(total|bucket|count|sum)$`).MatchString(n.Name); counts != ranged {
				t.Errorf("%q: %s: %s is read by its rate: %v", title, text, n.Name, ranged)
			}
		case *parser.AggregateExpr:
			used = append(used, n.Grouping...)
		}
		return nil
	})
	for _, name := range used {
		if !slices.Contains(has, name) {
			t.Errorf("%q: %s: there is no label %s", title, text, name)
		}
	}
	return used
}

// TestQueries guards that Prometheus can answer the query of each panel, for what the variables of
// the board choose.
func TestQueries(t *testing.T) {
	known := labels(t)
	variables := strings.NewReplacer("$__rate_interval", "5m", "$job", ".*", "$instance", ".*")
	queries := 0
	for _, p := range readBoard(t).Panels {
		if p.Panel == nil {
			continue
		}
		for _, target := range p.Panel.Targets {
			text := variables.Replace(target.(*query.Dataquery).Expr)
			queries++
			used := check(t, *p.Panel.Title, text, known)
			for _, name := range []string{"job", "instance"} {
				if !slices.Contains(used, name) {
					t.Errorf("%q: %s: the variable %s makes no difference", *p.Panel.Title, text, name)
				}
			}
		}
	}
	if queries < 30 {
		t.Errorf("the board has %d queries", queries)
	}
}

// TestAlerts guards that Prometheus can answer the alerts in docs/operations.md.
func TestAlerts(t *testing.T) {
	text, err := os.ReadFile("../../docs/operations.md")
	if err != nil {
		t.Fatal(err)
	}
	known := labels(t)
	alerts := regexp.MustCompile("(?m)^\\| `((?:sum|max)\\([^`]*)`").FindAllStringSubmatch(string(text), -1)
	for _, alert := range alerts {
		check(t, "alert", strings.ReplaceAll(alert[1], `\|`, "|"), known)
	}
	if len(alerts) < 4 {
		t.Errorf("docs/operations.md has %d alerts", len(alerts))
	}
}
