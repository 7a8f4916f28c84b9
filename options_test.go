package socketauth_test

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"strings"
	"testing"

	"github.com/golang-jwt/jwt/v5"

	"github.com/z-open/socketauth"
)

// TestOptionFaults checks that all faults of the options are in one error.
func TestOptionFaults(t *testing.T) {
	_, err := socketauth.Infrastructure(nil, nil, socketauth.Options[any]{
		Secret: []byte("short"), Timeout: -1, CodeLifetime: -1, TokenLifetime: -1, SessionLifetime: -1, ReusePolicy: 7, Binding: 3,
		AllowedOrigins: []string{"https://*.example", "app.example"}, Hosts: []string{"https://host.example"}, LoginPath: "login", RegisterPath: "/{id}", SocketPath: "/socket.io?", TokenPath: "token",
	})
	if err == nil {
		t.Fatal("accepted")
	}
	for _, name := range []string{
		"has 5 bytes", "Timeout", "CodeLifetime", "TokenLifetime", "SessionLifetime", "ReusePolicy", "Binding 3", "AllowedOrigins", "*.example", `"app.example"`, "Hosts",
		"LoginPath", "RegisterPath", "SocketPath", "TokenPath", "FindUserByCredentials", "Claim",
	} {
		if !strings.Contains(err.Error(), name) {
			t.Errorf("nothing about %s in: %v", name, err)
		}
	}
}

// TestOptionMistakes checks that likely mistakes in options are errors that say what is wrong.
func TestOptionMistakes(t *testing.T) {
	for part, o := range map[string]socketauth.Options[any]{
		"30 * time.Second": {Secret: testSecret, CodeLifetime: 30},
		"is a nil *":       {Secret: testSecret, Blacklist: (*faultyStore)(nil)},
		"are both":         {Secret: testSecret, LoginPath: "/in", RegisterPath: "/in"},

		`LoginPath and TokenPath are both "/login"`:      {Secret: testSecret, TokenPath: "/login"},
		`RegisterPath and TokenPath are both "/in"`:      {Secret: testSecret, RegisterPath: "/in", TokenPath: "/in"},
		`TokenPath is "/"`:                               {Secret: testSecret, TokenPath: "/"},
		`LoginPath is "/"`:                               {Secret: testSecret, LoginPath: "/"},
		`TokenPath "/socket.io/" is taken by SocketPath`: {Secret: testSecret, TokenPath: "/socket.io/"},
		`TokenPath "/socket.io" is taken by SocketPath`:  {Secret: testSecret, TokenPath: "/socket.io"},
		`RegisterPath "/io" is taken by SocketPath`:      {Secret: testSecret, RegisterPath: "/io", SocketPath: "/io/"},
	} {
		if _, err := socketauth.New(o); err == nil || !strings.Contains(err.Error(), part) {
			t.Errorf("want %q: %v", part, err)
		}
	}
}

// TestRequiredOptions checks that each function demands the options that it uses and no others.
func TestRequiredOptions(t *testing.T) {
	a, err := socketauth.New(socketauth.Options[any]{Secret: testSecret})
	if err != nil {
		t.Fatalf("an Auth that serves no login: %v", err)
	}
	if err := a.APIServe(nil); err == nil || !strings.Contains(err.Error(), "FindUserByCredentials") {
		t.Errorf("login without hooks: %v", err)
	}
	verifying := testOptions(io.Discard)
	verifying.Secret, verifying.Keys = nil, []socketauth.Key{{Method: jwt.SigningMethodHS256, Verify: testSecret}}
	b, err := socketauth.New(verifying)
	if err != nil {
		t.Fatalf("an Auth that only verifies: %v", err)
	}
	_, codeErr := b.IssueCode(t.Context(), jwt.MapClaims{"sub": "anna"})
	_, socketErr := b.SocketServe(nil, http.NewServeMux())
	for _, err := range []error{codeErr, socketErr, b.APIServe(http.NewServeMux())} {
		if err == nil || !strings.Contains(err.Error(), "no Sign") {
			t.Errorf("minting without a key that signs: %v", err)
		}
	}
	verifying.Authorization = func(context.Context, jwt.MapClaims) (string, error) { return "", nil }
	for path, want := range map[string]string{"": "", "/token": "no Sign"} {
		verifying.TokenPath = path
		b, err := socketauth.New(verifying)
		if err == nil {
			err = b.APIServe(http.NewServeMux())
		}
		if (err != nil) != (want != "") || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("signing codes alone, TokenPath %q: %v", path, err)
		}
	}
	if _, err := socketauth.Infrastructure(nil, nil, testOptions(io.Discard)); err == nil || !strings.Contains(err.Error(), "mux is nil") {
		t.Errorf("without a mux: %v", err)
	}
}

// TestFaultsSayWhatToDo checks that the faults of an app that is being set up say what to do.
func TestFaultsSayWhatToDo(t *testing.T) {
	_, missing := socketauth.Infrastructure(nil, http.NewServeMux(), socketauth.Options[any]{})
	_, empty := socketauth.New(socketauth.Options[any]{Secret: []byte{}})
	_, two := socketauth.New(socketauth.Options[any]{Secret: testSecret, Keys: []socketauth.Key{}})
	_, plain := socketauth.DecodeSecret("not base64!")
	for _, c := range []struct {
		err  error
		want string
	}{
		{missing, `Claim is missing: it returns the claims of a user, at least {"sub": id}`},
		{missing, "FindUserByCredentials is missing: it returns the user who logs in, and PasswordLogin makes one; an app that has no login but IssueCode calls New and SocketServe instead"},
		{missing, "must be set, and none is"},
		{two, "must be set, and 2 are"},
		{empty, "is the environment variable set?"},
		{plain, "make one with openssl rand -base64 32"},
	} {
		if c.err == nil || !strings.Contains(c.err.Error(), c.want) {
			t.Errorf("%v, want %q", c.err, c.want)
		}
	}
}

// TestOptionsCopied checks that keys are copied, so that the app may clear its own.
func TestOptionsCopied(t *testing.T) {
	var edPublic []byte
	for name, make := range map[string]func() (o socketauth.Options[any], forget func()){
		"Secret": func() (socketauth.Options[any], func()) {
			secret := bytes.Clone(testSecret)
			return socketauth.Options[any]{Secret: secret}, func() { clear(secret) }
		},
		"HMAC": func() (socketauth.Options[any], func()) {
			secret := bytes.Clone(testSecret)
			return socketauth.Options[any]{Keys: []socketauth.Key{{Method: jwt.SigningMethodHS256, Sign: secret, Verify: secret}}}, func() { clear(secret) }
		},
		"EdDSA": func() (socketauth.Options[any], func()) {
			public, private, err := ed25519.GenerateKey(nil)
			if err != nil {
				t.Fatal(err)
			}
			edPublic = bytes.Clone(public)
			return socketauth.Options[any]{Keys: []socketauth.Key{{Method: jwt.SigningMethodEdDSA, Sign: private, Verify: public}}}, func() {
				clear(private)
				clear(public)
			}
		},
	} {
		o, forget := make()
		a, err := socketauth.New(o)
		if err != nil {
			t.Fatal(err)
		}
		forget()
		code, err := a.IssueCode(t.Context(), jwt.MapClaims{"sub": "anna"})
		if err != nil {
			t.Fatal(err)
		}
		key := any(testSecret)
		if name == "EdDSA" {
			key = ed25519.PublicKey(edPublic)
		}
		if _, err := jwt.Parse(code, func(*jwt.Token) (any, error) { return key, nil }); err != nil {
			t.Errorf("%s: the app cleared its own copy, and the library's is gone: %v", name, err)
		}
	}
}

// TestSecretsNotPrinted checks that printing, logging or encoding options, keys and credentials
// shows no secret.
func TestSecretsNotPrinted(t *testing.T) {
	const word = "hunter2hunter2hunter2hunter2hunter2"
	key := socketauth.Key{ID: "k", Method: jwt.SigningMethodHS256, Sign: []byte(word), Verify: []byte(word)}
	options := socketauth.Options[any]{Secret: []byte(word), Keys: []socketauth.Key{key}}
	credentials := socketauth.Credentials{"password": word}
	var out bytes.Buffer
	for _, v := range []any{options, &options, key, &key, []socketauth.Key{key}, credentials, &credentials, struct{ C socketauth.Credentials }{credentials}} {
		for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%d", "%x"} {
			fmt.Fprintf(&out, verb, v)
		}
		for _, h := range []slog.Handler{slog.NewTextHandler(&out, nil), slog.NewJSONHandler(&out, nil)} {
			slog.New(h).Info("x", "v", v)
		}
		_ = json.NewEncoder(&out).Encode(map[string]any{"c": credentials})
	}
	for _, trace := range []string{word, fmt.Sprintf("%x", word), fmt.Sprint([]byte(word)), strings.Trim(fmt.Sprint([]byte(word)[:4]), "[]"), "aHVudGVy"} {
		if strings.Contains(strings.ToLower(out.String()), strings.ToLower(trace)) {
			t.Errorf("the output has %q", trace)
		}
	}
}

// TestUserTypes checks that hooks may use any type of user.
func TestUserTypes(t *testing.T) {
	type person struct{ name string }
	o := socketauth.Options[person]{
		Secret: testSecret,
		FindUserByCredentials: func(_ context.Context, c socketauth.Credentials) (person, error) {
			return person{c.Get("username")}, nil
		},
		Claim: func(p person) (jwt.MapClaims, error) { return jwt.MapClaims{"sub": p.name}, nil },
	}
	mux := http.NewServeMux()
	if _, err := socketauth.APIServe(mux, o); err != nil {
		t.Fatal(err)
	}
	_, body, _ := post(mux, "/login", jsonType, credentialsJSON("anna", ""))
	if sub := string(payloadOf(t, body["token"])["sub"]); sub != `"anna"` {
		t.Errorf("the code is %s's", sub)
	}
}
