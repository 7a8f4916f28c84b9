package socketauth

import (
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/z-open/socketauth/blacklist"
)

// BenchmarkPresentation measures what the library does for one presentation. It may take 1.3 times
// as long as BenchmarkParseAndSign.
func BenchmarkPresentation(b *testing.B) {
	a, err := New(Options[any]{Secret: testSecret})
	if err != nil {
		b.Fatal(err)
	}
	t, err := a.tokens.code(b.Context(), jwt.MapClaims{"sub": "anna"}, time.Now())
	if err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		t, err = a.tokens.verify(b.Context(), t.Text)
		if err != nil {
			b.Fatal(err)
		}
		next, err := a.tokens.successor(b.Context(), t)
		if err != nil {
			b.Fatal(err)
		}
		if r, err := a.blacklist.Present(b.Context(), blacklist.Presentation{Token: t.ref(), SuccessorID: next.ID, SuccessorExpiresAt: next.ExpiresAt}); r.Verdict != blacklist.Accepted {
			b.Fatal(r.Verdict, err)
		}
		t = next
	}
}

// BenchmarkParseAndSign measures what golang-jwt alone needs to parse and sign a token.
func BenchmarkParseAndSign(b *testing.B) {
	a, err := New(Options[any]{Secret: testSecret})
	if err != nil {
		b.Fatal(err)
	}
	t, err := a.tokens.code(b.Context(), jwt.MapClaims{"sub": "anna"}, time.Now())
	if err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		parsed, err := jwt.Parse(t.Text, func(*jwt.Token) (any, error) { return testSecret, nil })
		if err != nil {
			b.Fatal(err)
		}
		if _, err := jwt.NewWithClaims(jwt.SigningMethodHS256, parsed.Claims).SignedString(testSecret); err != nil {
			b.Fatal(err)
		}
	}
}
