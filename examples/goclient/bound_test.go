package main

import (
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/z-open/socketauth"
	"github.com/z-open/socketauth/examples/internal/dpop"
)

// TestBoundSession guards that the session is bound to the client's key from the login on, also
// after a restart, and that a thief who has its token gets nothing while the owner notices nothing.
func TestBoundSession(t *testing.T) {
	t.Parallel()
	a := serve(t, nil)
	first := a.login(t)
	path := first.file.path
	if bound := dpop.BoundTo(first.stored()); bound != first.key.Thumbprint {
		t.Errorf("the code is bound to %q", bound)
	}
	first.start()
	await(t, "the socket", a.joined)
	if sessions, err := a.Auth().Sessions(t.Context(), "ada"); err != nil || len(sessions) != 1 || !sessions[0].Bound {
		t.Errorf("%+v, %v", sessions, err)
	}
	first.shutdown()

	owner := a.client(t, path)
	owner.start()
	await(t, "the socket", a.joined)
	token := owner.stored()
	if bound := dpop.BoundTo(token); bound != first.key.Thumbprint || owner.key.Thumbprint != bound {
		t.Errorf("the token is bound to %q, and the key is %s", bound, owner.key.Thumbprint)
	}
	for len(a.audit) > 0 {
		<-a.audit
	}
	thief := a.client(t, newFile(t))
	if !thief.key.IsLost(token) {
		t.Error("the thief's key counts as the owner's")
	}
	if err := thief.file.Store(token); err != nil {
		t.Fatal(err)
	}
	thief.start()
	if r, ok := errors.AsType[*refusal](thief.end()); !ok || r.Code != "invalid_proof" || !r.Terminal {
		t.Errorf("the thief: %+v", r)
	}
	if err := owner.Call(t.Context(), "say", "still here"); err != nil || len(owner.pauses) > 0 || len(a.audit) > 0 {
		t.Errorf("the owner: %v, away %d times, %d events", err, len(owner.pauses), len(a.audit))
	}
}

// TestCodeIsBoundByItsTrade guards that a session that begins with a code of the app's is bound
// too.
func TestCodeIsBoundByItsTrade(t *testing.T) {
	t.Parallel()
	a := serve(t, func(o *socketauth.Options[string]) { o.Binding = socketauth.BindRequired })
	code, err := a.Auth().IssueCode(t.Context(), jwt.MapClaims{"sub": "ada"})
	if err != nil {
		t.Fatal(err)
	}
	c := a.client(t, newFile(t))
	if err := c.file.Store(code); err != nil {
		t.Fatal(err)
	}
	c.start()
	await(t, "the socket", a.joined)
	if bound := dpop.BoundTo(c.stored()); bound != c.key.Thumbprint || dpop.BoundTo(code) != "" {
		t.Errorf("bound to %q", bound)
	}
}

// TestClockADayOff guards that a client whose clock is wrong logs in with a nonce of the server.
func TestClockADayOff(t *testing.T) {
	t.Parallel()
	for _, off := range []time.Duration{-24 * time.Hour, 24 * time.Hour} {
		a := serve(t, nil)
		c := a.client(t, newFile(t))
		c.key.Now = func() time.Time { return time.Now().Add(off) }
		if err := c.Login(t.Context(), "/login", map[string]string{"username": "ada", "password": "open sesame"}); err != nil {
			t.Fatalf("%v off: %v", off, err)
		}
		c.start()
		await(t, "the socket", a.joined)
		if dpop.BoundTo(c.stored()) != c.key.Thumbprint {
			t.Errorf("%v off: not bound", off)
		}
	}
}

// TestKeyFile guards that a key is made once, that only its owner can read it, and that a file
// which has no key is an error and is left as it is.
func TestKeyFile(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "key")
	made, err := openKey(path)
	if err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v", info, err)
	}
	if read, err := openKey(path); err != nil || read.Thumbprint != made.Thumbprint {
		t.Errorf("another key the second time: %v", err)
	}
	if err := os.WriteFile(path, []byte("half a k"), 0o600); err != nil {
		t.Fatal(err)
	}
	_, err = openKey(path)
	if left, readErr := os.ReadFile(path); err == nil || readErr != nil || string(left) != "half a k" {
		t.Errorf("%v, %v, and the file has %q", err, readErr, left)
	}
}

// TestLostKey guards that a client without its key says so, keeps the token, which the key may come
// back for, and logs in again when it is told to.
func TestLostKey(t *testing.T) {
	a := serve(t, nil)
	t.Setenv("PASSWORD", "open sesame")
	path := newFile(t)
	args := []string{"-url", a.url.String(), "-token", path}
	login := append(args, "-user", "ada")
	if err := run(t.Context(), login, strings.NewReader(""), io.Discard); err != nil {
		t.Fatal(err)
	}
	token, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(path + ".key"); err != nil {
		t.Fatal(err)
	}
	err = run(t.Context(), args, strings.NewReader(""), io.Discard)
	if left, readErr := os.ReadFile(path); err == nil || !strings.Contains(err.Error(), "is lost") || string(left) != string(token) {
		t.Errorf("without its key: %v; %v", err, readErr)
	}
	if err := run(t.Context(), login, strings.NewReader("/logout\n"), io.Discard); err != nil {
		t.Error(err)
	}
}
