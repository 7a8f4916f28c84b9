package socketauth

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
	"time"

	"github.com/golang-jwt/jwt/v5"
)

func TestAllFaultsAreReportedTogether(t *testing.T) {
	_, err := Infrastructure(nil, nil, Options[any]{
		Secret: []byte("short"), Timeout: -1, CodeLifetime: -1, TokenLifetime: -1, SessionLifetime: -1, ReusePolicy: 7,
		AllowedOrigins: []string{"https://*.example", "app.example"}, Hosts: []string{"https://host.example"}, LoginPath: "login", RegisterPath: "/{id}", SocketPath: "/socket.io?",
	})
	if err == nil {
		t.Fatal("accepted")
	}
	for _, name := range []string{
		"has 5 bytes", "Timeout", "CodeLifetime", "TokenLifetime", "SessionLifetime", "ReusePolicy", "AllowedOrigins", "*.example", `"app.example"`, "Hosts",
		"LoginPath", "RegisterPath", "SocketPath", "FindUserByCredentials", "Claim",
	} {
		if !strings.Contains(err.Error(), name) {
			t.Errorf("nothing about %s in: %v", name, err)
		}
	}
}

func TestSlipsOfTheAppAreFaults(t *testing.T) {
	for part, o := range map[string]Options[any]{
		"30 * time.Second": {Secret: testSecret, CodeLifetime: 30},
		"is a nil *":       {Secret: testSecret, Blacklist: (*measured)(nil)},
		"are both":         {Secret: testSecret, LoginPath: "/in", RegisterPath: "/in"},
	} {
		if _, err := New(o); err == nil || !strings.Contains(err.Error(), part) {
			t.Errorf("want %q: %v", part, err)
		}
	}
}

func TestEachFunctionDemandsOnlyWhatItUses(t *testing.T) {
	a, err := New(Options[any]{Secret: testSecret})
	if err != nil {
		t.Fatalf("a core that serves no login: %v", err)
	}
	if err := a.APIServe(nil); err == nil || !strings.Contains(err.Error(), "FindUserByCredentials") {
		t.Errorf("login without hooks: %v", err)
	}
	verifying := apiOptions(io.Discard)
	verifying.Secret, verifying.Keys = nil, []Key{{Method: jwt.SigningMethodHS256, Verify: testSecret}}
	b, err := New(verifying)
	if err != nil {
		t.Fatalf("a core that only verifies: %v", err)
	}
	_, codeErr := b.IssueCode(t.Context(), jwt.MapClaims{"sub": "anna"})
	_, socketErr := b.SocketServe(nil, http.NewServeMux())
	for _, err := range []error{codeErr, socketErr, b.APIServe(http.NewServeMux())} {
		if err == nil || !strings.Contains(err.Error(), "no Sign") {
			t.Errorf("minting without a key that signs: %v", err)
		}
	}
	if _, err := Infrastructure(nil, nil, apiOptions(io.Discard)); err == nil || !strings.Contains(err.Error(), "mux is nil") {
		t.Errorf("without a mux: %v", err)
	}
}

func TestDefaults(t *testing.T) {
	c, err := Options[any]{Secret: testSecret}.config()
	if err != nil {
		t.Fatal(err)
	}
	for name, is := range map[string]bool{
		"Timeout":         c.timeout == 5*time.Second,
		"CodeLifetime":    c.tokens.codeLifetime == 30*time.Second,
		"TokenLifetime":   c.tokens.tokenLifetime == 24*time.Hour,
		"SessionLifetime": c.tokens.sessionLifetime == 30*24*time.Hour,
		"ReusePolicy":     c.reusePolicy == EndSession,
		"paths":           c.loginPath == "/login" && c.registerPath == "/register" && c.socketPath == "/socket.io/",
		"Blacklist":       c.blacklist != nil,
		"Logger":          c.log == slog.Default(),
	} {
		if !is {
			t.Errorf("%s has another default", name)
		}
	}
}

func TestOptionsAreCopied(t *testing.T) {
	for name, make := range map[string]func() (o Options[any], forget func()){
		"Secret": func() (Options[any], func()) {
			secret := bytes.Clone(testSecret)
			return Options[any]{Secret: secret}, func() { clear(secret) }
		},
		"HMAC": func() (Options[any], func()) {
			secret := bytes.Clone(testSecret)
			return Options[any]{Keys: []Key{{Method: jwt.SigningMethodHS256, Sign: secret, Verify: secret}}}, func() { clear(secret) }
		},
		"EdDSA": func() (Options[any], func()) {
			key := testKeys(t)[4]
			return Options[any]{Keys: []Key{key}}, func() {
				clear(key.Sign.(ed25519.PrivateKey))
				clear(key.Verify.(ed25519.PublicKey))
			}
		},
	} {
		o, forget := make()
		a, err := New(o)
		if err != nil {
			t.Fatal(err)
		}
		forget()
		code, err := a.IssueCode(t.Context(), jwt.MapClaims{"sub": "anna"})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := newIssuer(t, first(make())).verify(t.Context(), code); name != "EdDSA" && err != nil {
			t.Errorf("%s: the app cleared its own copy, and the library's is gone: %v", name, err)
		}
	}
}

func first[A, B any](a A, _ B) A { return a }

func TestSecretsAreInNothingThatIsPrinted(t *testing.T) {
	const word = "hunter2hunter2hunter2hunter2hunter2"
	key := Key{ID: "k", Method: jwt.SigningMethodHS256, Sign: []byte(word), Verify: []byte(word)}
	options := Options[any]{Secret: []byte(word), Keys: []Key{key}}
	credentials := Credentials{"password": word}
	var out bytes.Buffer
	for _, v := range []any{options, &options, key, &key, []Key{key}, credentials, &credentials, struct{ C Credentials }{credentials}} {
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

func TestHookMayBeGivenForAnyUserType(t *testing.T) {
	type person struct{ name string }
	o := Options[person]{
		Secret:                testSecret,
		FindUserByCredentials: func(_ context.Context, c Credentials) (person, error) { return person{c.Get("username")}, nil },
		Claim:                 func(p person) (jwt.MapClaims, error) { return jwt.MapClaims{"sub": p.name}, nil },
	}
	c, err := o.config()
	if err != nil {
		t.Fatal(err)
	}
	claims, err := c.login(t.Context(), Credentials{"username": "anna"})
	if err != nil || claims["sub"] != "anna" {
		t.Errorf("%v, %v", claims, err)
	}
}
