//go:build !race

// With the race detector, a sync.Pool now and then loses what it holds, so that allocations cannot
// be counted.

package socketauth

import (
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
)

// TestTokenAllocations checks that verifying and minting a session token allocates nothing but the
// token itself.
func TestTokenAllocations(t *testing.T) {
	for name, o := range map[string]Options[any]{
		"plain":   {Secret: testSecret},
		"for you": {Secret: testSecret, Issuer: "me", Audience: "you"},
	} {
		i := newIssuer(t, o)
		code := mustCode(t, i, jwt.MapClaims{"sub": "anna", "roles": []string{"admin"}})
		session := mustSuccessor(t, i, code)
		verify := 5.0 // the token, its sub, sid and jti, and the app's claims
		login := 16.0 // most of them to marshal the claims that the app gives
		if o.Issuer != "" {
			verify += 4 // iss and aud, and what they are compared with
			login += 2
		}
		for what, c := range map[string]struct {
			most float64
			f    func() error
		}{
			"a code is verified":          {verify + 1, func() error { _, err := i.verify(t.Context(), code.Text); return err }}, // also its token_use
			"a session token is verified": {verify, func() error { _, err := i.verify(t.Context(), session.Text); return err }},
			"a session token is minted":   {3, func() error { _, err := i.successor(t.Context(), session); return err }}, // the token, its jti and text
			"a code is minted": {login, func() error {
				_, err := i.code(t.Context(), jwt.MapClaims{"sub": "anna", "roles": []string{"admin"}}, time.Now(), "")
				return err
			}},
		} {
			var err error
			if n := testing.AllocsPerRun(100, func() { err = c.f() }); err != nil || n > c.most {
				t.Errorf("%s: %s with %v allocations, more than %v: %v", name, what, n, c.most, err)
			}
		}
	}
}
