package main

import (
	"net/http"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/z-open/socketauth/examples/internal/dpop"
)

func newKey(t *testing.T) *dpop.Key {
	t.Helper()
	key, _, err := dpop.New()
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// TestBoundSession guards that a session is bound to the client's key and goes on however many
// answers are lost, and that who has copied its token gets nothing, while its owner notices
// nothing.
func TestBoundSession(t *testing.T) {
	a, c, network, _ := startBound(t, 0.3, newKey(t))
	for range 50 {
		if _, err := c.current(t.Context(), c.token); err != nil {
			t.Fatal(err)
		}
	}
	network.rate = 0
	sessions, err := a.auth.Sessions(t.Context(), "ada")
	if err != nil || len(sessions) != 1 || !sessions[0].Bound || dpop.BoundTo(c.token) != c.key.Thumbprint {
		t.Errorf("%+v, %v", sessions, err)
	}

	thief := &client{url: a.url, http: c.http, file: tokenFile(filepath.Join(t.TempDir(), "token")), pause: c.pause}
	for name, tt := range map[string]struct {
		key  *dpop.Key
		code string
	}{"without a key": {nil, "proof_required"}, "with another key": {newKey(t), "invalid_proof"}} {
		for _, path := range []string{"/api/hello", "/token"} {
			thief.key = tt.key
			method := map[string]string{"/api/hello": http.MethodGet, "/token": http.MethodPost}[path]
			if a, err := thief.ask(t.Context(), method, path, c.token, nil); err != nil || a.status != http.StatusUnauthorized || a.Code != tt.code {
				t.Errorf("%s at %s: %d %s, %v", name, path, a.status, a.Code, err)
			}
		}
	}
	if text, err := c.Get(t.Context(), "/api/hello"); err != nil || text != "hello ada, you are admin" {
		t.Errorf("the owner: %q, %v", text, err)
	}
	if err := c.Logout(t.Context()); err != nil {
		t.Error(err)
	}
}

// TestClockADayOff guards that a client whose clock is wrong logs in, makes requests, has its token
// replaced and logs out.
func TestClockADayOff(t *testing.T) {
	for _, off := range []time.Duration{-24 * time.Hour, 24 * time.Hour} {
		key := newKey(t)
		key.Now = func() time.Time { return time.Now().Add(off) }
		a, c, _, _ := startBound(t, 0, key)
		for range 3 {
			if text, err := c.Get(t.Context(), "/api/hello"); err != nil || !strings.HasPrefix(text, "hello ada") {
				t.Errorf("%v off: %q, %v", off, text, err)
			}
			if _, err := c.current(t.Context(), c.token); err != nil {
				t.Errorf("%v off: %v", off, err)
			}
		}
		if err := c.Logout(t.Context()); err != nil {
			t.Errorf("%v off: %v", off, err)
		}
		if sessions, err := a.auth.Sessions(t.Context(), "ada"); err != nil || len(sessions) != 0 {
			t.Errorf("%v off: %+v, %v", off, sessions, err)
		}
	}
}

// TestLostKey guards that a client without its key logs in again, rather than present what it
// cannot prove.
func TestLostKey(t *testing.T) {
	a, c, network, _ := startBound(t, 0, newKey(t))
	if _, err := c.Get(t.Context(), "/api/hello"); err != nil {
		t.Fatal(err)
	}
	again, err := newClient(a.url, network, c.file, newKey(t))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := again.Get(t.Context(), "/api/hello"); err != errSignedOut {
		t.Errorf("with another key: %v", err)
	}
	if err := again.Login(t.Context(), "ada", "open sesame"); err != nil {
		t.Fatal(err)
	}
	if _, err := again.Get(t.Context(), "/api/hello"); err != nil {
		t.Error(err)
	}
}
