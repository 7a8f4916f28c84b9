package socketauth_test

import (
	"cmp"
	"encoding/json"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/z-open/socketauth/internal/dpop"
	"github.com/z-open/socketauth/internal/dpop/dpoptest"
)

// device sends requests with proofs of its key.
type device struct {
	*testServer
	key   *dpoptest.Key
	ahead time.Duration // of its clock
	nonce string        // what the server has sent last
	host  string        // that it sends requests to; "" stands for "server"
}

// device returns a device with a new key.
func (srv *testServer) device() *device { return &device{testServer: srv, key: dpoptest.NewKey()} }

// claims returns the payload of a proof for a request. token is "" for a login.
func (d *device) claims(method, path, token string) map[string]any {
	c := d.key.Claims(method, "http://"+cmp.Or(d.host, "server")+path, token)
	c["iat"] = time.Now().Add(d.ahead).Unix()
	if d.nonce != "" {
		c["nonce"] = d.nonce
	}
	return c
}

// proof returns a proof for a request. change may adjust its payload.
func (d *device) proof(method, path, token string, change ...func(claims map[string]any)) string {
	claims := d.claims(method, path, token)
	for _, f := range change {
		f(claims)
	}
	return d.key.Sign(claims)
}

// send sends a request with the header Authorization, unless that is "", and any number of proofs.
// It remembers the nonce of the answer.
func (d *device) send(method, path, authorization, body string, proofs ...string) tokenAnswer {
	d.Helper()
	client := http.Client{Transport: &http.Transport{DialContext: d.DialContext, DisableKeepAlives: true}}
	r, err := http.NewRequest(method, "http://server"+path, strings.NewReader(body))
	if err != nil {
		d.Fatal(err)
	}
	r.Host = cmp.Or(d.host, r.Host)
	if authorization != "" {
		r.Header.Set("Authorization", authorization)
	}
	if body != "" {
		r.Header.Set("Content-Type", jsonType)
	}
	for _, proof := range proofs {
		r.Header.Add("DPoP", proof)
	}
	res, err := client.Do(r)
	if err != nil {
		d.Fatal(err)
	}
	defer res.Body.Close()
	a, _ := readTokenAnswer(res)
	if nonce := res.Header.Get("DPoP-Nonce"); nonce != "" {
		d.nonce = nonce
	}
	return a
}

// ask sends a request with a token and a good proof.
func (d *device) ask(method, path, token, body string) tokenAnswer {
	d.Helper()
	return d.send(method, path, "DPoP "+token, body, d.proof(method, path, token))
}

// wants checks that a request with a token and a good proof is answered so. It returns the answer.
func (d *device) wants(method, path, token, body string, status int, code string) tokenAnswer {
	d.Helper()
	a := d.ask(method, path, token, body)
	if a.status != status || a.code != code {
		d.Errorf("%s %s: %d %v, want %d %s\n%s", method, path, a.status, a.body, status, code, d.logs)
	}
	return a
}

// login logs anna in with a proof, and returns the code.
func (d *device) login() string {
	d.Helper()
	a := d.send("POST", "/login", "", credentialsJSON("anna", "secret"), d.proof("POST", "/login", ""))
	if a.status != 200 || a.token == "" {
		d.Fatalf("%d %v\n%s", a.status, a.body, d.logs)
	}
	return a.token
}

// rotate has a code or token replaced, and confirms the next one.
func (d *device) rotate(token string) string {
	d.Helper()
	next := d.wants("POST", "/token", token, "", 200, "").token
	d.wants("POST", "/token", next, `{"confirm":true}`, 204, "")
	return next
}

// boundTo returns the thumbprint in the claim "cnf" of a token, or "".
func boundTo(t *testing.T, token string) string {
	t.Helper()
	if token == "" {
		t.Error("there is no token")
		return ""
	}
	var cnf struct{ Jkt string }
	if claim, ok := payloadOf(t, token)["cnf"]; ok {
		if err := json.Unmarshal(claim, &cnf); err != nil || !dpop.IsThumbprint(cnf.Jkt) {
			t.Errorf("cnf %s: %v", claim, err)
		}
	}
	return cnf.Jkt
}
