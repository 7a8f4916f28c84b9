package socketauth_test

import (
	"context"
	"encoding/json"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/z-open/socketauth"
	"github.com/z-open/socketauth/internal/dpop"
	"github.com/z-open/socketauth/internal/dpop/dpoptest"
	"github.com/z-open/socketauth/internal/siotest"
)

// TestBoundSession guards that a session which began with a proof goes on with proofs, each for one
// token on one connection: on both engines and all transports, with both algorithms, whether the
// client confirms or not, on the connection and on the next one, and to its logout.
func TestBoundSession(t *testing.T) {
	for _, key := range []*dpoptest.Key{dpoptest.NewKey(), dpoptest.NewEd25519()} {
		onBothEngines(t, func(t *testing.T, version string) {
			for _, transport := range siotest.Transports {
				withServer(t, nil, func(srv *testServer) {
					c := srv.dialOn(version, transport)
					o := c.presentBoundConfirming(key, srv.code())
					o.confirm()
					c.expectAuthenticated()
					srv.expectBoundTo(key, o.token)
					c.presentBound(key, o.token) // as after "rotated" or "refresh"
					token := c.expectToken()
					srv.expectBoundTo(key, token)
					if !srv.isBound() || srv.Auth().Stats().Bound != 1 {
						t.Errorf("the session is not bound, or not counted: %+v", srv.Auth().Stats())
					}

					again := srv.dialOn(version, transport)
					again.presentBound(key, token)
					token = again.expectToken()
					srv.expectBoundTo(key, token)

					last := srv.dialOn(version, transport)
					last.emit("logout", map[string]string{"token": token, "proof": key.Socket(last.engineID, token)})
					last.expect(`42["logged_out"]`)
					for _, other := range []*client{c, again} {
						for !strings.Contains(other.expect("42"), "logged_out") {
						}
					}
				})
			}
		})
	}
}

// TestBoundHandshake guards that the handshake's auth can have the proof, for codes and tokens.
func TestBoundHandshake(t *testing.T) {
	key := dpoptest.NewKey()
	withServer(t, nil, func(srv *testServer) {
		token := srv.code()
		for n := range 3 {
			auth := func(sid string) string {
				in, _ := json.Marshal(map[string]any{"token": token, "proof": key.Socket(sid, token), "confirm": n == 1})
				return string(in)
			}
			c := srv.dialTo("4", siotest.Transports[n], auth)
			if n == 1 {
				o := c.expectOffer()
				o.confirm()
				c.expectAuthenticated()
				token = o.token
			} else {
				token = c.expectToken()
			}
			srv.expectBoundTo(key, token)
		}
		if u := srv.expectTokenRefused(token, "proof_required"); u.Terminal || u.RetryAfter != 0 {
			t.Errorf("%+v", u)
		}
	})
}

// badProofs returns, by what is wrong with it, what may come as the proof of a token on the
// connection with the Engine.IO id sid, and the code that it is refused with.
func badProofs(key *dpoptest.Key, sid, token, otherSID, otherToken string) map[string]struct {
	proof any
	code  string
} {
	other := dpoptest.NewKey()
	good := key.Socket(sid, token)
	claims := map[string]any{"nonce": sid, "ath": dpop.HashOf(token)}
	with := func(name string, value any) map[string]any {
		c := maps.Clone(claims)
		if c[name] = value; value == nil {
			delete(c, name)
		}
		return c
	}
	ofRequest := key.Claims("GET", "https://other/api", token)
	ofRequest["nonce"] = sid
	private := maps.Clone(key.Header["jwk"].(map[string]any))
	private["d"] = private["x"]
	head, _ := json.Marshal(map[string]any{"typ": "dpop+jwt", "alg": "none", "jwk": key.Header["jwk"]})
	payload, _ := json.Marshal(claims)
	unsigned := dpoptest.Encode(head) + "." + dpoptest.Encode(payload) + "."
	mixed := good[:strings.LastIndexByte(good, '.')] + other.Socket(sid, token)[strings.LastIndexByte(other.Socket(sid, token), '.'):]
	return map[string]struct {
		proof any
		code  string
	}{
		"missing":                       {nil, "proof_required"},
		"empty":                         {"", "proof_required"},
		"a number":                      {5, "invalid_proof"},
		"true":                          {true, "invalid_proof"},
		"a list of a proof":             {[]string{good}, "invalid_proof"},
		"an object":                     {map[string]string{"proof": good}, "invalid_proof"},
		"not a JWS":                     {"proof", "invalid_proof"},
		"the token":                     {token, "invalid_proof"},
		"cut off":                       {good[:len(good)-5], "invalid_proof"},
		"longer":                        {good + "AAAA", "invalid_proof"},
		"over 4 KiB":                    {key.Sign(with("x", strings.Repeat("x", 4<<10))), "invalid_proof"},
		"of another key":                {other.Socket(sid, token), "invalid_proof"},
		"signed by another key":         {mixed, "invalid_proof"},
		"of another connection":         {key.Socket(otherSID, token), "invalid_proof"},
		"of no connection":              {key.Sign(with("nonce", nil)), "invalid_proof"},
		"of an empty connection":        {key.Sign(with("nonce", "")), "invalid_proof"},
		"of another token":              {key.Socket(sid, otherToken), "invalid_proof"},
		"of no token":                   {key.Sign(with("ath", nil)), "invalid_proof"},
		"alg none":                      {unsigned, "invalid_proof"},
		"alg HS256":                     {key.SignWith(map[string]any{"alg": "HS256"}, claims), "invalid_proof"},
		"a private key":                 {key.SignWith(map[string]any{"jwk": private}, claims), "invalid_proof"},
		"a critical extension":          {key.SignWith(map[string]any{"crit": []string{"x"}}, claims), "invalid_proof"},
		"the typ of a token":            {key.SignWith(map[string]any{"typ": "JWT"}, claims), "invalid_proof"},
		"for a request":                 {key.Request("POST", "http://server/token", token), "invalid_proof"},
		"with a nonce that is a number": {key.Sign(with("nonce", 5)), "invalid_proof"},
		"for a request, with a nonce that another server has chosen": {key.Sign(ofRequest), "invalid_proof"},
		"with a method": {key.Sign(with("htm", "GET")), "invalid_proof"},
		"with a URL":    {key.Sign(with("htu", "http://server/socket.io/")), "invalid_proof"},
	}
}

// TestBadProofs guards that a bound token is worth nothing without a proof of its key for this
// token on this connection, which one for a request is not, whoever has chosen its nonce: nothing
// is consumed, the store is not even asked, and the owner notices nothing. The answer says whether
// to throw the token away.
func TestBadProofs(t *testing.T) {
	key := dpoptest.NewKey()
	onBothEngines(t, func(t *testing.T, version string) {
		withServer(t, nil, func(srv *testServer) {
			owner, token := srv.bound(version, key)
			other := srv.dialAs(version)
			for name, c := range badProofs(key, "", token, "", "") { // the names and codes alone
				thief := srv.dialAs(version)
				bad := badProofs(key, thief.engineID, token, other.engineID, srv.code())[name]
				srv.expectUntouched(func() {
					thief.emit("authenticate", map[string]any{"token": token, "proof": bad.proof, "confirm": true})
					if u := thief.expectRefused(c.code); u.Terminal != (c.code == "invalid_proof") || u.RetryAfter != 0 || u.Message == "" {
						t.Errorf("%s: %+v", name, u)
					}
				})
				thief = srv.dialAs(version)
				bad = badProofs(key, thief.engineID, token, other.engineID, srv.code())[name]
				srv.expectUntouched(func() {
					thief.emit("logout", map[string]any{"token": token, "proof": bad.proof})
					thief.expectRefused(c.code)
				})
			}
			thief := srv.dialAs(version)
			srv.expectUntouched(func() {
				thief.emit("logout", token)
				thief.expectRefused("proof_required")
			})
			owner.expectNothing()
			owner.expectAuthenticated()
			owner.presentBound(key, token)
			srv.expectBoundTo(key, owner.expectToken())
		})
	})
}

// TestStolenProof guards that a proof which was sent once is worth nothing on any other connection,
// and nothing for the next token on the same one.
func TestStolenProof(t *testing.T) {
	key := dpoptest.NewKey()
	onBothEngines(t, func(t *testing.T, version string) {
		withServer(t, nil, func(srv *testServer) {
			_, token := srv.bound(version, key)
			owner := srv.dialAs(version)
			stolen := key.Socket(owner.engineID, token)
			thief := srv.dialAs(version)
			thief.emit("authenticate", map[string]any{"token": token, "proof": stolen})
			thief.expectRefused("invalid_proof")
			owner.emit("authenticate", map[string]any{"token": token, "proof": stolen})
			next := owner.expectToken()
			srv.expectUntouched(func() {
				owner.emit("authenticate", map[string]any{"token": next, "proof": stolen})
				owner.expectRefused("invalid_proof")
			})
		})
	})
}

// TestMissingProofStays guards that a client which is in, and forgets the proof of its next
// presentation, is told so and stays.
func TestMissingProofStays(t *testing.T) {
	key := dpoptest.NewKey()
	onBothEngines(t, func(t *testing.T, version string) {
		withServer(t, nil, func(srv *testServer) {
			c, token := srv.bound(version, key)
			c.authenticate(token)
			if u := c.expectUnauthorized("proof_required"); u.Terminal {
				t.Errorf("%+v", u)
			}
			if got := c.call("authenticate", map[string]string{"token": token}); got != `[{"error":{"code":"proof_required"}}]` {
				t.Errorf("acknowledged %s", got)
			}
			c.expectUnauthorized("proof_required")
			c.expectAuthenticated()
			c.presentBound(key, token)
			c.expectToken()
			c.emit("logout") // nor is one needed to log out
			c.expect(`42["logged_out"]`)
		})
	})
}

// TestNoAlarmWithoutProof guards that whoever has old tokens of a bound session and not its key
// cannot have it ended as reused: with tokens that were replaced, those that have expired since,
// with a step-up code, and to log out. With the proof, each is reuse as it was before: the key
// alone does not make a copy good.
func TestNoAlarmWithoutProof(t *testing.T) {
	key := dpoptest.NewKey()
	onBothEngines(t, func(t *testing.T, version string) {
		for _, expired := range []bool{false, true} {
			for _, event := range []string{"authenticate", "logout"} {
				for _, confirm := range []bool{false, true} {
					withServer(t, func(o *socketauth.Options[string]) { o.TokenLifetime = 10 * time.Minute }, func(srv *testServer) {
						c, old := srv.bound(version, key)
						time.Sleep(6 * time.Minute)
						c.presentBound(key, old)
						token := c.expectToken()
						time.Sleep(time.Minute)
						if expired {
							time.Sleep(4 * time.Minute)
						}
						stepUp, err := srv.Auth().IssueStepUp(srv.Context(), srv.sessionOf(c), jwt.MapClaims{"sub": "anna"})
						if err != nil {
							t.Fatal(err)
						}
						for _, code := range []string{"", stepUp, "bad"} {
							thief := srv.dialAs(version)
							srv.expectUntouched(func() {
								thief.emit(event, map[string]any{"token": old, "confirm": confirm, "step_up": code})
								thief.expectRefused("proof_required")
							})
							thief = srv.dialAs(version)
							srv.expectUntouched(func() {
								thief.emit(event, map[string]any{"token": old, "confirm": confirm, "step_up": code, "proof": dpoptest.NewKey().Socket(thief.engineID, old)})
								thief.expectRefused("invalid_proof")
							})
						}
						c.expectAuthenticated()
						c.presentBound(key, token)
						c.expectToken()

						copied := srv.dialAs(version) // the browser profile, key included
						copied.emit(event, map[string]any{"token": old, "confirm": confirm, "proof": key.Socket(copied.engineID, old)})
						copied.expectRefused("token_reused")
						c.expectRefused("token_reused")
					})
				}
			}
		}
	})
}

// TestUnboundTradedByThief guards that whoever first trades a code that was made without a key
// keeps nothing: the owner's trade, with a key of its own or without one, is reuse and ends the
// session.
func TestUnboundTradedByThief(t *testing.T) {
	thiefs, owners := dpoptest.NewKey(), dpoptest.NewKey()
	onBothEngines(t, func(t *testing.T, version string) {
		for _, confirmed := range []bool{false, true} {
			for _, first := range []*dpoptest.Key{thiefs, nil} {
				for _, second := range []*dpoptest.Key{owners, nil} {
					if first == nil && second == nil {
						continue
					}
					withServer(t, nil, func(srv *testServer) {
						code := srv.code()
						trade := func(c *client, key *dpoptest.Key) {
							in := map[string]any{"token": code, "confirm": true}
							if key != nil {
								in["proof"] = key.Socket(c.engineID, code)
							}
							c.emit("authenticate", in)
						}
						thief := srv.dialAs(version)
						trade(thief, first)
						o := thief.expectOffer()
						srv.expectBoundTo(first, o.token)
						if confirmed {
							o.confirm()
							thief.expectAuthenticated()
						}
						time.Sleep(time.Second)
						owner := srv.dialAs(version)
						trade(owner, second)
						owner.expectRefused("token_reused")
						thief.expectRefused("token_reused")
						again := srv.dialAs(version)
						if first != nil {
							again.presentBound(first, o.token)
						} else {
							again.authenticate(o.token)
						}
						again.expectRefused("token_reused")
					})
				}
			}
		}
	})
}

// TestTradeAgain guards that a client whose first answer was lost trades its code again with the
// same key, on another connection and on the same one, whatever hooks there are; and that it is
// reuse once the answer was confirmed.
func TestTradeAgain(t *testing.T) {
	key := dpoptest.NewKey()
	update := func(_ context.Context, old jwt.MapClaims) (jwt.MapClaims, error) {
		old["role"] = "reader"
		return old, nil
	}
	onBothEngines(t, func(t *testing.T, version string) {
		for _, updates := range []bool{false, true} {
			for _, bound := range []bool{false, true} {
				withServer(t, func(o *socketauth.Options[string]) {
					if updates {
						o.UpdateClaims = update
					}
				}, func(srv *testServer) {
					srv.OnAuthenticated(func(context.Context, *socketauth.Socket) error { return nil })
					var present func(c *client, token string) offer
					if bound {
						present = func(c *client, token string) offer { return c.presentBoundConfirming(key, token) }
					} else {
						present = (*client).offerFor
					}
					code := srv.code()
					lost := present(srv.dialAs(version), code)
					c := srv.dialAs(version)
					second := present(c, code)
					third := present(c, code)
					if third.token != second.token || second.token == lost.token {
						t.Error("on the same connection, another token was offered; or on another one, the same")
					}
					third.confirm()
					c.expectAuthenticated()
					time.Sleep(time.Minute / 4)
					late := srv.dialAs(version)
					in := map[string]any{"token": code, "confirm": true}
					if bound {
						in["proof"] = key.Socket(late.engineID, code)
					}
					late.emit("authenticate", in)
					late.expectRefused("token_reused")
				})
			}
		}
	})
}

// TestUnboundStaysUnbound guards that a session which began without a key stays unbound whatever
// proofs come, of which none is even looked at.
func TestUnboundStaysUnbound(t *testing.T) {
	key := dpoptest.NewKey()
	onBothEngines(t, func(t *testing.T, version string) {
		withServer(t, nil, func(srv *testServer) {
			c := srv.dialAs(version)
			c.authenticate(srv.code())
			token := c.expectToken()
			for _, proof := range []any{key.Socket(c.engineID, token), "no proof", 5, nil} {
				c.emit("authenticate", map[string]any{"token": token, "proof": proof})
				token = c.expectToken()
				srv.expectBoundTo(nil, token)
			}
			if srv.isBound() || srv.Auth().Stats().Bound != 0 {
				t.Error("the session is bound, or counted as such")
			}
			other := srv.dialAs(version)
			other.emit("logout", map[string]any{"token": token, "proof": "no proof"})
			other.expect(`42["logged_out"]`)
		})
	})
}

// TestBadProofOfCode guards that a code whose proof is bad is not used up, and not traded without a
// key.
func TestBadProofOfCode(t *testing.T) {
	key := dpoptest.NewKey()
	onBothEngines(t, func(t *testing.T, version string) {
		withServer(t, nil, func(srv *testServer) {
			code := srv.code()
			for name := range badProofs(key, "", code, "", "") {
				if slices.Contains([]string{"missing", "empty", "of another key"}, name) { // good for a code
					continue
				}
				c := srv.dialAs(version)
				bad := badProofs(key, c.engineID, code, "another", "another")[name]
				srv.expectUntouched(func() {
					c.emit("authenticate", map[string]any{"token": code, "proof": bad.proof})
					if u := c.expectRefused("invalid_proof"); !u.Terminal {
						t.Errorf("%s: %+v", name, u)
					}
				})
			}
			c := srv.dialAs(version)
			c.presentBound(key, code)
			srv.expectBoundTo(key, c.expectToken())
		})
	})
}
