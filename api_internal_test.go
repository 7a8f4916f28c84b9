package socketauth

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"reflect"
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

// FuzzReadTexts checks that the fields of a login that are all strings are read as encoding/json
// reads them, and that it is left to encoding/json to read or refuse everything else.
func FuzzReadTexts(f *testing.F) {
	for _, seed := range []string{
		`{"username":"anna","password":"secret"}`, `{}`, ` { "a" : "b" } `, `{"a":"b","a":"c"}`, `{"a":1}`, `{"a":"b","c":null}`, `[]`, `null`, `"a"`, `{"a":"b"`,
		`{"a":"b"}{}`, `{"\u0061":"\ud83d\ude00\n"}`, `{"a":"\ud800"}`, `{"ä":"ö"}`, ``, ` `, `{"a":{"b":"c"}}`, `{"":""}`, `{"a":"b",}`, `{"a":1,"a":"b"}`,
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, body string) {
		if !utf8.ValidString(body) {
			return
		}
		var all map[string]any
		err := json.Unmarshal([]byte(body), &all)
		got := readTexts([]byte(body))
		if got != nil && (err != nil || !reflect.DeepEqual(map[string]any(got), all)) {
			t.Errorf("%q is read as %v and not %v, %v", body, map[string]any(got), all, err)
		}
	})
	if got := readTexts([]byte(`{"a":"b"}`)); got.Get("a") != "b" {
		f.Errorf("read as %v", map[string]any(got))
	}
}

// TestAnswerText checks that an answer with one text is what encoding/json makes of it.
func TestAnswerText(t *testing.T) {
	for _, text := range []string{"", "invalid_token", "a.b-c_D", `"`, `\`, "<", ">", "&", "\n", "\x7f", "ä", "\xff", "\u2028", "https://app.example/#code=a.b&x=<y>"} {
		got, want := httptest.NewRecorder(), httptest.NewRecorder()
		answerText(got, 201, "code", text)
		answer(want, 201, map[string]string{"code": text})
		if got.Code != want.Code || got.Body.String() != want.Body.String() || !reflect.DeepEqual(got.Header(), want.Header()) {
			t.Errorf("%q: %d %q %v, and not %d %q %v", text, got.Code, got.Body, got.Header(), want.Code, want.Body, want.Header())
		}
	}
}
