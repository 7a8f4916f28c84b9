package socketauth_test

import (
	"encoding/json"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/z-open/socketauth"
	"github.com/z-open/socketauth/blacklist"
)

// tokenAnswer is what TokenPath has answered.
type tokenAnswer struct {
	status int
	token  string         // "" if there is none
	code   string         // "" if it was accepted
	body   map[string]any // as it came
	header http.Header
}

// withTokens is withServer with a TokenPath.
func withTokens(t *testing.T, change func(*socketauth.Options[string]), test func(srv *testServer)) {
	t.Helper()
	withServer(t, func(o *socketauth.Options[string]) {
		o.TokenPath = "/token"
		if change != nil {
			change(o)
		}
	}, test)
}

// use has the options use the store, with a new one in memory behind it.
func (f *faultyStore) use(o *socketauth.Options[string]) {
	f.Store = blacklist.NewMemory() // by the clock of the test
	o.Blacklist = f
}

// tokens sends a request to TokenPath. media is the Content-Type if there is a body.
func (srv *testServer) tokens(method, bearer, media, body string, headers ...string) tokenAnswer {
	srv.Helper()
	client := http.Client{Transport: &http.Transport{DialContext: srv.DialContext, DisableKeepAlives: true}}
	r, _ := http.NewRequest(method, "http://server/token", strings.NewReader(body))
	if bearer != "" {
		r.Header.Set("Authorization", "Bearer "+bearer)
	}
	if media != "" {
		r.Header.Set("Content-Type", media)
	}
	for i := 0; i < len(headers); i += 2 {
		r.Header.Set(headers[i], headers[i+1])
	}
	res, err := client.Do(r)
	if err != nil {
		srv.Fatal(err)
	}
	defer res.Body.Close()
	a, text := readTokenAnswer(res)
	if res.Header.Get("Cache-Control") != "no-store" {
		srv.Errorf("%d %s: Cache-Control %q", a.status, text, res.Header.Get("Cache-Control"))
	}
	if a.status == 401 && !strings.HasPrefix(res.Header.Get("WWW-Authenticate"), "Bearer") {
		srv.Errorf("%s: WWW-Authenticate %q", text, res.Header.Get("WWW-Authenticate"))
	}
	if (a.status == 503 || a.status == 429) != (res.Header.Get("Retry-After") != "") {
		srv.Errorf("%d %s: Retry-After %q", a.status, text, res.Header.Get("Retry-After"))
	}
	return a
}

// readTokenAnswer reads an answer, and returns its body too.
func readTokenAnswer(res *http.Response) (a tokenAnswer, text []byte) {
	text, _ = io.ReadAll(res.Body)
	a = tokenAnswer{status: res.StatusCode, header: res.Header}
	_ = json.Unmarshal(text, &a.body)
	a.token, _ = a.body["token"].(string)
	a.code, _ = a.body["code"].(string)
	return a, text
}

// exchange has a code or token replaced by a request.
func (srv *testServer) exchange(token string) tokenAnswer {
	srv.Helper()
	return srv.tokens(http.MethodPost, token, "", "")
}

// exchanged is exchange for what must be accepted. It returns the next token.
func (srv *testServer) exchanged(token string) string {
	srv.Helper()
	a := srv.exchange(token)
	if a.status != 200 || a.token == "" || len(a.body) != 1 {
		srv.Fatalf("%d %v\n%s", a.status, a.body, srv.logs)
	}
	return a.token
}

// confirmToken confirms a token by a request.
func (srv *testServer) confirmToken(token string) tokenAnswer {
	srv.Helper()
	return srv.tokens(http.MethodPost, token, jsonType, `{"confirm":true}`)
}

// rotated has a code or token replaced, and confirms the next one.
func (srv *testServer) rotated(token string) string {
	srv.Helper()
	next := srv.exchanged(token)
	if a := srv.confirmToken(next); a.status != 204 || a.body != nil {
		srv.Fatalf("%d %v\n%s", a.status, a.body, srv.logs)
	}
	return next
}

// end ends a session by a request.
func (srv *testServer) end(token string) tokenAnswer {
	srv.Helper()
	return srv.tokens(http.MethodDelete, token, "", "")
}

// wants checks the status and the code of an answer.
func (a tokenAnswer) wants(t *testing.T, status int, code string) {
	t.Helper()
	if a.status != status || a.code != code {
		t.Errorf("%d %v, want %d %s", a.status, a.body, status, code)
	}
}
