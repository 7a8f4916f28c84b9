package metrics_test

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/z-open/socketauth"
	"github.com/z-open/socketauth/metrics"
)

// scrape returns what a server of these counts answers to a scrape.
func scrape(t *testing.T, s socketauth.Stats) string {
	t.Helper()
	registry := prometheus.NewPedanticRegistry()
	registry.MustRegister(metrics.NewCollector(func() socketauth.Stats { return s }))
	w := httptest.NewRecorder()
	promhttp.HandlerFor(registry, promhttp.HandlerOpts{}).ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/metrics", nil))
	if w.Code != http.StatusOK {
		t.Fatalf("a scrape is answered %d: %s", w.Code, w.Body)
	}
	return w.Body.String()
}

// withoutMetric has the fields of Stats that no metric is about, and why.
var withoutMetric = map[string]string{
	"Nodes.Name":      "a label with another value after each start",
	"Nodes.Advertise": "a label with another value for each address",
	"Nodes.Prefix":    "a label with another value for each address",
	"Nodes.Heard":     "Silent says what follows from it",
}

// otherName has the metrics of fields that are not named after their field.
var otherName = map[string]string{
	"Sockets.Connecting":    "socketauth_sockets",
	"Sockets.Authenticated": "socketauth_sockets",
	"Requests":              "socketauth_requests_refused_total",
	"Nodes.Silent":          "socketauth_nodes",
	"Store.Calls":           "socketauth_store_call_duration_seconds", // _count, and the last _bucket
	"Store.Time":            "socketauth_store_call_duration_seconds_sum",
	"Store.Buckets.UpTo":    "socketauth_store_call_duration_seconds_bucket",
	"Store.Buckets.Calls":   "socketauth_store_call_duration_seconds_bucket",
}

// fill sets all that v has to something other than zero, except the field that is named. A map and
// a slice get one entry. It calls seen with the name of each field that holds a value.
func fill(v reflect.Value, name, except string, seen func(name string)) {
	switch v.Kind() {
	case reflect.Struct:
		if v.Type() == reflect.TypeFor[time.Time]() {
			break
		}
		for i := range v.NumField() {
			fill(v.Field(i), strings.TrimPrefix(name+"."+v.Type().Field(i).Name, "."), except, seen)
		}
		return
	case reflect.Slice:
		v.Set(reflect.MakeSlice(v.Type(), 1, 1))
		fill(v.Index(0), name, except, seen)
		return
	case reflect.Map:
		entry := reflect.New(v.Type().Elem()).Elem()
		fill(entry, name, except, seen)
		v.Set(reflect.MakeMap(v.Type()))
		v.SetMapIndex(reflect.ValueOf("x"), entry)
		return
	}
	seen(name)
	if name == except {
		return
	}
	switch {
	case v.Type() == reflect.TypeFor[time.Time]():
		v.Set(reflect.ValueOf(time.Unix(1, 0)))
	case v.CanInt():
		v.SetInt(int64(7 * time.Second))
	case v.CanUint():
		v.SetUint(7)
	case v.Kind() == reflect.Bool:
		v.SetBool(true)
	case v.Kind() == reflect.String:
		v.SetString("x")
	default:
		panic("fill does not know what to set " + name + " to")
	}
}

// TestEveryField guards that each field of Stats has a metric, named after it, that depends on it.
func TestEveryField(t *testing.T) {
	var all socketauth.Stats
	var names []string
	fill(reflect.ValueOf(&all).Elem(), "", "", func(name string) { names = append(names, name) })
	full := slices.Collect(strings.Lines(scrape(t, all)))
	for _, name := range names {
		var s socketauth.Stats
		fill(reflect.ValueOf(&s).Elem(), "", name, func(string) {})
		series := "socketauth_" + strings.ToLower(regexp.MustCompile(`([a-z])\.?([A-Z])`).ReplaceAllString(name, "${1}_${2}"))
		if other := otherName[name]; other != "" {
			series = other
		}
		_, none := withoutMetric[name]
		found := false
		for line := range strings.Lines(scrape(t, s)) {
			switch {
			case slices.Contains(full, line):
			case strings.HasPrefix(line, series):
				found = true
			default:
				t.Errorf("Stats.%s changes %q, and not %s", name, line, series)
			}
		}
		if found == none {
			t.Errorf("Stats.%s has a metric: %v; add one to metrics/table.go, or say in withoutMetric why not", name, found)
		}
	}
	for _, table := range []map[string]string{withoutMetric, otherName} {
		for name := range table {
			if !slices.Contains(names, name) {
				t.Errorf("Stats has no field %s", name)
			}
		}
	}
	if len(names) < 30 {
		t.Errorf("Stats has %d fields", len(names))
	}
}

// TestConventions guards that names, units and help are as Prometheus's conventions say, by
// promlint.
func TestConventions(t *testing.T) {
	var s socketauth.Stats
	fill(reflect.ValueOf(&s).Elem(), "", "", func(string) {})
	problems, err := testutil.CollectAndLint(metrics.NewCollector(func() socketauth.Stats { return s }))
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range problems {
		t.Errorf("%s: %s", p.Metric, p.Text)
	}
	for line := range strings.Lines(scrape(t, s)) {
		if name, _, _ := strings.Cut(strings.TrimPrefix(strings.TrimPrefix(line, "# HELP "), "# TYPE "), " "); !strings.HasPrefix(name, "socketauth_") {
			t.Errorf("%q is no metric of socketauth", line)
		}
	}
}

// described returns the metrics that the collector describes, with their labels, as the table of
// docs/operations.md has them: "socketauth_logins_total{code}".
func described(t *testing.T) []string {
	t.Helper()
	descs := make(chan *prometheus.Desc, 1000)
	metrics.NewCollector(nil).Describe(descs)
	close(descs)
	desc := regexp.MustCompile(`^Desc\{fqName: "(\w+)", .*variableLabels: (\{.*\})\}$`)
	var all []string
	for d := range descs {
		found := desc.FindStringSubmatch(d.String())
		if found == nil {
			t.Fatalf("a description has another form: %s", d)
		}
		all = append(all, found[1]+strings.TrimSuffix(found[2], "{}"))
	}
	return all
}

// TestTable guards that the runbook in docs/operations.md has a row for each metric, with its
// labels, and for no other.
func TestTable(t *testing.T) {
	text, err := os.ReadFile("../docs/operations.md")
	if err != nil {
		t.Fatal(err)
	}
	var rows []string
	for _, found := range regexp.MustCompile("(?m)^\\| `(socketauth_[^`]*)` \\|").FindAllStringSubmatch(string(text), -1) {
		rows = append(rows, found[1])
	}
	all := described(t)
	for _, name := range all {
		if !slices.Contains(rows, name) {
			t.Errorf("docs/operations.md has no row for `%s`", name)
		}
	}
	for _, row := range rows {
		if !slices.Contains(all, row) {
			t.Errorf("docs/operations.md has a row for `%s`, and there is no such metric", row)
		}
	}
}

// TestNames guards that no code of the app's breaks a scrape, whatever bytes it has: those that are
// not UTF-8 are replaced, and what then has one name is added up.
func TestNames(t *testing.T) {
	got := scrape(t, socketauth.Stats{Logins: map[string]uint64{"a\xff": 1, "a\xfe": 2, "b\"\n\\": 3, "": 4}})
	for _, line := range []string{
		`socketauth_logins_total{code="a�"} 3`, `socketauth_logins_total{code="b\"\n\\"} 3`,
		`socketauth_logins_total{code=""} 4`, `socketauth_logins_total{code="OK"} 0`,
	} {
		if !strings.Contains(got, "\n"+line+"\n") {
			t.Errorf("no line %s in\n%s", line, got)
		}
	}
}

// get returns the body of an answer, whose status is 200, to a request with that header
// Authorization.
func get(ctx context.Context, client *http.Client, url, authorization string) (_ string, err error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return "", err
	}
	r.Header.Set("Authorization", authorization)
	w, err := client.Do(r)
	if err != nil {
		return "", err
	}
	defer func() { err = errors.Join(err, w.Body.Close()) }()
	body, err := io.ReadAll(w.Body)
	if err == nil && w.StatusCode != http.StatusOK {
		err = errors.New(w.Status)
	}
	return string(body), err
}
