package socketauth

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"unicode/utf8"
)

// FuzzReadCredentials checks that any body is either credentials of valid UTF-8 or a fault.
func FuzzReadCredentials(f *testing.F) {
	f.Add("application/json", `{"username":"anna","password":"secret"}`)
	f.Add("application/x-www-form-urlencoded", "username=anna&password=secret")
	f.Add("application/x-www-form-urlencoded", "username=%ff&%zz=1;a")
	f.Add("application/json"+"; charset=utf-8", `{"username":{"toString":1},"a":"\ud800","a":1e999}`)
	f.Add("text/plain", `{}`)
	f.Add("application/json", `null`)
	f.Add("application/json", strings.Repeat("[", 20_000))
	f.Fuzz(func(t *testing.T, media, body string) {
		r := httptest.NewRequest(http.MethodPost, "/login", strings.NewReader(body))
		r.Header.Set("Content-Type", media)
		c, fault := readCredentials(httptest.NewRecorder(), r)
		if (c == nil) == (fault == nil) {
			t.Errorf("%v, %v", c, fault)
		}
		for name := range c {
			if !utf8.ValidString(name) || !utf8.ValidString(c.Get(name)) {
				t.Errorf("%q: %q", name, c.Get(name))
			}
		}
		(&config{}).accountsOf(c)
	})
}
