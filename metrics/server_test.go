package metrics_test

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/z-open/socketauth"
	"github.com/z-open/socketauth/metrics"
	"github.com/z-open/socketauth/socketauthtest"
)

// newServer starts a server in which logins succeed with the password "right", and are refused with
// a code that is not UTF-8 with "odd".
func newServer(t *testing.T) *socketauthtest.Server {
	t.Helper()
	return socketauthtest.NewServer(t, socketauth.Options[string]{
		FindUserByCredentials: func(_ context.Context, c socketauth.Credentials) (string, error) {
			switch c.Get("password") {
			case "right":
				return c.Get("username"), nil
			case "odd":
				return "", &socketauth.PublicError{Code: "odd\xff"}
			}
			return "", socketauth.ErrInvalidCredentials
		},
		Claim: func(user string) (jwt.MapClaims, error) { return jwt.MapClaims{"sub": user}, nil },
	})
}

// authenticate3 has a client of Engine.IO 3, which polls, authenticate with a token.
func authenticate3(t *testing.T, srv *socketauthtest.Server, token string) {
	t.Helper()
	at := srv.URL + "/socket.io/?EIO=3&transport=polling"
	opened, err := get(t.Context(), srv.HTTPClient(), at, "")
	if err != nil {
		t.Fatal(err)
	}
	sid := regexp.MustCompile(`"sid":"([^"]+)"`).FindStringSubmatch(opened)
	if sid == nil {
		t.Fatalf("opened with %q", opened)
	}
	at += "&sid=" + sid[1]
	event := `42["authenticate",{"token":"` + token + `"}]`
	answer, err := srv.HTTPClient().Post(at, "text/plain", strings.NewReader(fmt.Sprintf("%d:%s", len(event), event)))
	if err != nil {
		t.Fatal(err)
	}
	_ = answer.Body.Close()
	for heard := ""; !strings.Contains(heard, `42["authenticated"`); {
		if heard, err = get(t.Context(), srv.HTTPClient(), at, ""); err != nil {
			t.Fatal(err)
		}
	}
}

// TestScrape guards that what clients do is what a scrape says, over real connections; and that two
// servers of one process are told apart by a label.
func TestScrape(t *testing.T) {
	srv, other := newServer(t), newServer(t)
	registry := prometheus.NewPedanticRegistry()
	for name, s := range map[string]*socketauthtest.Server{"first": srv, "second": other} {
		prometheus.WrapRegistererWith(prometheus.Labels{"server": name}, registry).
			MustRegister(metrics.NewCollector(s.Auth().Stats))
	}
	srv.Mux.Handle("GET /metrics", promhttp.HandlerFor(registry, promhttp.HandlerOpts{}))
	srv.Mux.Handle("GET /private", srv.Auth().Middleware(http.NotFoundHandler()))

	for _, password := range []string{"right", "wrong", "wrong", "odd"} {
		answer, err := srv.HTTPClient().PostForm(srv.URL+"/login", url.Values{"username": {"anna"}, "password": {password}})
		if err != nil {
			t.Fatal(err)
		}
		_ = answer.Body.Close()
	}
	srv.Connect()
	anna, bert, carl := srv.Dial(jwt.MapClaims{"sub": "anna"}), srv.Dial(jwt.MapClaims{"sub": "bert"}), srv.Dial(jwt.MapClaims{"sub": "carl"})
	token := anna.Token()
	if err := anna.Authenticate(token); err != nil { // replaces the token
		t.Fatal(err)
	}
	if err := srv.Connect().Authenticate(token); err == nil {
		t.Fatal("a token that was replaced is accepted")
	}
	anna.WaitClosed()
	bert.Emit("logout")
	bert.Wait("logged_out")
	bert.WaitClosed()
	if _, err := srv.Auth().RevokeUser(t.Context(), "nobody"); err != nil {
		t.Fatal(err)
	}
	if _, err := get(t.Context(), srv.HTTPClient(), srv.URL+"/private", "Bearer x"); err == nil || err.Error() != "401 Unauthorized" {
		t.Fatal(err)
	}
	carl.Events() // is connected still
	authenticate3(t, srv, srv.Code(jwt.MapClaims{"sub": "dora"}))

	lines := []string{
		`socketauth_sockets{engine="4",server="first",state="authenticated"} 1`,
		`socketauth_sockets{engine="4",server="first",state="connecting"} 1`,
		`socketauth_sockets{engine="3",server="first",state="authenticated"} 1`,
		`socketauth_sockets{engine="3",server="second",state="connecting"} 0`,
		`socketauth_logins_total{code="OK",server="first"} 1`,
		`socketauth_logins_total{code="USER_INVALID",server="first"} 2`,
		`socketauth_logins_total{code="odd�",server="first"} 1`,
		`socketauth_logins_total{code="OK",server="second"} 0`,
		`socketauth_authentications_total{code="ok",server="first"} 4`,
		`socketauth_authentications_total{code="token_reused",server="first"} 1`,
		`socketauth_requests_refused_total{code="invalid_token",server="first"} 1`,
		`socketauth_rotations_total{server="first"} 1`,
		`socketauth_reuses_total{server="first"} 1`,
		`socketauth_logouts_total{server="first"} 1`,
		`socketauth_revocations_total{server="first"} 1`,
		`socketauth_revocations_total{server="second"} 0`,
		`socketauth_store_call_duration_seconds_bucket{server="first",le="10"} [1-9]\d*`,
		`socketauth_store_call_duration_seconds_bucket{server="first",le="1e-05"} \d+`,
		`socketauth_store_call_duration_seconds_sum{server="first"} \d\S+`,
		`socketauth_store_call_duration_seconds_count{server="first"} [1-9]\d*`,
		`socketauth_store_errors_total{server="first"} 0`,
		`socketauth_store_silence_seconds{server="first"} 0`,
		`socketauth_nodes{server="first",state="silent"} 0`,
		`socketauth_bus_queued{server="first"} 0`,
		`socketauth_forwarded_forged_total{server="first"} 0`,
	}
	missing, got := lines, ""
	for stop := time.Now().Add(30 * time.Second); len(missing) > 0 && time.Now().Before(stop); { // an end is counted soon after
		var err error
		if got, err = get(t.Context(), srv.HTTPClient(), srv.URL+"/metrics", ""); err != nil {
			t.Fatal(err)
		}
		missing = slices.DeleteFunc(slices.Clone(lines), func(line string) bool {
			return regexp.MustCompile(`(?m)^` + strings.NewReplacer("{", `\{`, "}", `\}`).Replace(line) + `$`).MatchString(got)
		})
	}
	if len(missing) > 0 {
		t.Errorf("no line\n%s\nin\n%s", strings.Join(missing, "\n"), got)
	}
}
