package socketauth

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
)

func TestAllFaultsAreReportedTogether(t *testing.T) {
	_, err := Infrastructure(nil, nil, Options[any]{
		Secret: []byte("short"), Timeout: -1, CodeLifetime: -1, TokenLifetime: -1, SessionLifetime: -1, ReusePolicy: 7,
		AllowedOrigins: []string{"https://*.example"}, LoginPath: "login", RegisterPath: "/{id}", SocketPath: "/socket.io",
	})
	if err == nil {
		t.Fatal("accepted")
	}
	for _, name := range []string{
		"32 bytes", "Timeout", "CodeLifetime", "TokenLifetime", "SessionLifetime", "ReusePolicy", "AllowedOrigins",
		"LoginPath", "RegisterPath", "SocketPath", "FindUserByCredentials", "Claim",
	} {
		if !strings.Contains(err.Error(), name) {
			t.Errorf("nothing about %s in: %v", name, err)
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
	secret := bytes.Clone(testSecret)
	a, err := New(Options[any]{Secret: secret})
	if err != nil {
		t.Fatal(err)
	}
	before, err := a.IssueCode(t.Context(), jwt.MapClaims{"sub": "anna"})
	if err != nil {
		t.Fatal(err)
	}
	clear(secret)
	if _, refused := a.verify(t.Context(), before); refused != nil {
		t.Errorf("the app cleared its own copy of the secret, and the library's is gone: %v", refused.cause)
	}
}

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
