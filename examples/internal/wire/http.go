package wire

import (
	"encoding/json"
	"io"
	"net/http"
	"strings"
	"testing"
)

// Do sends a request and returns the answer and its body. header has names and values alternately.
func Do(tb testing.TB, method, url, body string, header ...string) (*http.Response, string) {
	tb.Helper()
	r, err := http.NewRequestWithContext(tb.Context(), method, url, strings.NewReader(body))
	if err != nil {
		tb.Fatal(err)
	}
	for i := 0; i+1 < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	response, err := http.DefaultClient.Do(r)
	if err != nil {
		tb.Fatal(err)
	}
	defer func() { _ = response.Body.Close() }()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		tb.Fatal(err)
	}
	return response, string(text)
}

// Answer is the answer of login or registration.
type Answer struct {
	Status      int `json:"-"`
	Token, Code string
}

// Post sends a name and a password to /login or /register.
func Post(tb testing.TB, url, username, password string) (a Answer) {
	tb.Helper()
	body := encode(tb, map[string]string{"username": username, "password": password})
	response, text := Do(tb, http.MethodPost, url, body, "Content-Type", "application/json")
	decode(tb, text, &a)
	a.Status = response.StatusCode
	return a
}

// Code is Post for a request that must succeed. It returns the code.
func Code(tb testing.TB, url, username, password string) string {
	tb.Helper()
	a := Post(tb, url, username, password)
	if a.Status != http.StatusOK || a.Token == "" {
		tb.Fatalf("POST %s as %s: %d %s", url, username, a.Status, a.Code)
	}
	return a.Token
}

// Auth returns the auth object of the handshake for a code or token.
func Auth(token string) any { return map[string]string{"token": token} }

func encode(tb testing.TB, v any) string {
	tb.Helper()
	text, err := json.Marshal(v)
	if err != nil {
		tb.Fatal(err)
	}
	return string(text)
}

func decode(tb testing.TB, text string, dst any) {
	tb.Helper()
	if err := json.Unmarshal([]byte(text), dst); err != nil {
		tb.Fatalf("%v in %.300q", err, text)
	}
}
