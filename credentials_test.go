package socketauth_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"

	"golang.org/x/crypto/bcrypt"

	"github.com/z-open/socketauth"
)

// TestPasswordsHashAndCompare checks that passwords match their own hashes alone, in any script,
// and that those bcrypt would cut are errors.
func TestPasswordsHashAndCompare(t *testing.T) {
	p, ctx := cheapPasswords(), t.Context()
	for _, password := range []string{"secret", "", "пароль", "with\x00zero", strings.Repeat("x", 72)} {
		hash, err := p.Hash(ctx, password)
		if err != nil {
			t.Fatalf("%q: %v", password, err)
		}
		if err := p.Compare(ctx, hash, password); err != nil {
			t.Errorf("%q: %v", password, err)
		}
		for _, other := range []string{password + "x", "other"} {
			if err := p.Compare(ctx, hash, other); !errors.Is(err, socketauth.ErrInvalidCredentials) {
				t.Errorf("%q for %q: %v", other, password, err)
			}
		}
	}
	if _, err := p.Hash(ctx, strings.Repeat("x", 73)); !errors.Is(err, socketauth.ErrPasswordTooLong) {
		t.Errorf("73 bytes: %v", err)
	}
	if err := p.Compare(ctx, "", "secret"); !errors.Is(err, socketauth.ErrInvalidCredentials) {
		t.Errorf("a user without a password: %v", err)
	}
	if err := p.Compare(ctx, "no hash", "secret"); err == nil || errors.Is(err, socketauth.ErrInvalidCredentials) {
		t.Errorf("a hash that is none looks like a wrong password: %v", err)
	}
}

// TestPasswordsOutdated checks that the hashes to make anew after Cost was raised are found, and no
// others.
func TestPasswordsOutdated(t *testing.T) {
	for _, tt := range []struct {
		made, now int
		want      bool
	}{{4, 5, true}, {5, 5, false}, {6, 5, false}, {9, 0, true}, {10, 0, false}} {
		hash, err := (&socketauth.Passwords{Cost: tt.made}).Hash(t.Context(), "secret")
		if err != nil {
			t.Fatal(err)
		}
		if got := (&socketauth.Passwords{Cost: tt.now}).Outdated(hash); got != tt.want {
			t.Errorf("made at %d, Cost %d: %v", tt.made, tt.now, got)
		}
	}
	for _, hash := range []string{"", "no hash", "$2a$"} {
		if new(socketauth.Passwords).Outdated(hash) {
			t.Errorf("%q", hash)
		}
	}
}

// TestPasswordLogin checks who PasswordLogin lets in, and its errors.
func TestPasswordLogin(t *testing.T) {
	p := cheapPasswords()
	hash, err := p.Hash(t.Context(), "secret")
	if err != nil {
		t.Fatal(err)
	}
	down := errors.New("database down")
	login := socketauth.PasswordLogin(p, func(_ context.Context, name string) (string, string, error) {
		switch name {
		case "anna":
			return "Anna", hash, nil
		case "oauth":
			return "Otto", "", nil
		case "down":
			return "", "", down
		}
		return "", "", socketauth.ErrInvalidCredentials
	})
	for name, c := range map[string]struct {
		credentials socketauth.Credentials
		user        string
		err         error
	}{
		"right":        {socketauth.Credentials{"username": "anna", "password": "secret"}, "Anna", nil},
		"wrong":        {socketauth.Credentials{"username": "anna", "password": "guess"}, "", socketauth.ErrInvalidCredentials},
		"unknown":      {socketauth.Credentials{"username": "otto", "password": "secret"}, "", socketauth.ErrInvalidCredentials},
		"no password":  {socketauth.Credentials{"username": "anna"}, "", socketauth.ErrInvalidCredentials},
		"none stored":  {socketauth.Credentials{"username": "oauth", "password": ""}, "", socketauth.ErrInvalidCredentials},
		"not a string": {socketauth.Credentials{"username": "anna", "password": 5}, "", socketauth.ErrInvalidCredentials},
		"down":         {socketauth.Credentials{"username": "down", "password": "secret"}, "", down},
	} {
		user, err := login(t.Context(), c.credentials)
		if user != c.user || !errors.Is(err, c.err) || (err == nil) != (c.err == nil) {
			t.Errorf("%s: %q, %v", name, user, err)
		}
	}
}

// TestPasswordLoginFields checks that the log says which field of a login is missing, as "username"
// is if a page sends "email", and never what the fields contain.
func TestPasswordLoginFields(t *testing.T) {
	withServer(t, func(o *socketauth.Options[string]) {
		o.FindUserByCredentials = socketauth.PasswordLogin(cheapPasswords(), func(context.Context, string) (string, string, error) {
			return "", "", socketauth.ErrInvalidCredentials
		})
	}, func(srv *testServer) {
		srv.post("/login", `{"username":"otto","password":"hidden"}`)
		if strings.Contains(srv.logs.String(), "has no text") {
			t.Errorf("a field is missing that is not:\n%s", srv.logs)
		}
		for body, field := range map[string]string{
			`{"email":"anna@app.example","password":"hidden"}`: "username",
			`{"username":"anna"}`:                              "password",
			`{"username":"anna","password":7}`:                 "password",
		} {
			if answer := srv.post("/login", body); !strings.Contains(answer, "USER_INVALID") {
				t.Errorf("%s: %s", body, answer)
			}
			srv.expectLogged(`level=INFO msg="socketauth: login refused" cause="socketauth: invalid credentials: the field \"` + field + `\" has no text`)
		}
		if strings.Contains(srv.logs.String(), "hidden") {
			t.Errorf("the log has a password:\n%s", srv.logs)
		}
	})
}

// TestPasswordQueueFull checks that passwords past the queue are refused at once, and that waiting
// ends with the context.
func TestPasswordQueueFull(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := &socketauth.Passwords{Cost: bcrypt.MinCost, Concurrent: 1, Queue: 1}
		release, err := socketauth.Occupy(p)
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		waiting := make(chan error, 1)
		go func() { waiting <- p.Compare(ctx, "", "x") }()
		synctest.Wait()
		select {
		case err := <-waiting:
			t.Fatalf("did not wait: %v", err)
		default:
		}
		if _, err := p.Hash(t.Context(), "x"); !errors.Is(err, socketauth.ErrUnavailable) {
			t.Errorf("one too many: %v", err)
		}
		cancel()
		if err := <-waiting; !errors.Is(err, context.Canceled) {
			t.Errorf("the one that waited: %v", err)
		}
		release()
		if _, err := p.Hash(t.Context(), "x"); err != nil {
			t.Errorf("after that: %v", err)
		}
	})
}

// BenchmarkPasswordLogin measures an unknown user and a wrong password, which must take the same
// time: compare the medians of many samples.
// go test -run - -bench PasswordLogin -count 20 .
func BenchmarkPasswordLogin(b *testing.B) {
	passwords := new(socketauth.Passwords)
	hash, err := passwords.Hash(b.Context(), "secret")
	if err != nil {
		b.Fatal(err)
	}
	login := socketauth.PasswordLogin(passwords, func(_ context.Context, name string) (string, string, error) {
		if name != "anna" {
			return "", "", socketauth.ErrInvalidCredentials
		}
		return name, hash, nil
	})
	for _, name := range []string{"anna", "nobody"} {
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				if _, err := login(b.Context(), socketauth.Credentials{"username": name, "password": "wrong"}); !errors.Is(err, socketauth.ErrInvalidCredentials) {
					b.Fatal(err)
				}
			}
		})
	}
}

// cheapPasswords returns Passwords of the lowest cost.
func cheapPasswords() *socketauth.Passwords { return &socketauth.Passwords{Cost: bcrypt.MinCost} }
