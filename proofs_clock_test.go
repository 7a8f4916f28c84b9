package socketauth_test

import (
	"testing"
	"time"

	"github.com/z-open/socketauth"
)

// TestProofReplayed checks that a proof is good for one request with a token, and that the second
// one harms nobody.
func TestProofReplayed(t *testing.T) {
	withTokens(t, nil, func(srv *testServer) {
		owner := srv.device()
		token := owner.rotate(owner.login())
		for _, at := range []struct {
			method, path, body string
			status             int
		}{{"GET", "/api", "", 200}, {"POST", "/token", `{"confirm":true}`, 204}, {"POST", "/token", "", 200}} {
			proof := owner.proof(at.method, at.path, token)
			if a := owner.send(at.method, at.path, "DPoP "+token, at.body, proof); a.status != at.status {
				t.Fatalf("%s %s: %d %v", at.method, at.path, a.status, a.body)
			}
			for range 2 {
				owner.send(at.method, at.path, "DPoP "+token, at.body, proof).wants(t, 401, "invalid_proof")
			}
			time.Sleep(60 * time.Second)
			owner.send(at.method, at.path, "DPoP "+token, at.body, proof).wants(t, 401, "invalid_proof")
			time.Sleep(time.Second)
			owner.nonce = ""
			owner.send(at.method, at.path, "DPoP "+token, at.body, proof).wants(t, 401, "use_dpop_nonce")
			owner.nonce = ""
		}
		// A proof from the future is remembered for as long as it can be used.
		owner.ahead = 59 * time.Second
		proof := owner.proof("GET", "/api", token)
		owner.send("GET", "/api", "DPoP "+token, "", proof).wants(t, 200, "")
		time.Sleep(118 * time.Second)
		owner.send("GET", "/api", "DPoP "+token, "", proof).wants(t, 401, "invalid_proof")
		time.Sleep(3 * time.Second)
		owner.send("GET", "/api", "DPoP "+token, "", proof).wants(t, 401, "use_dpop_nonce")
	})
}

// TestWrongClocks checks that a client whose clock is a day off logs in, registers, stays in,
// fetches and logs out, with the nonce that it is told, and that the nonce is renewed in time.
func TestWrongClocks(t *testing.T) {
	for name, ahead := range map[string]time.Duration{"ahead": 24 * time.Hour, "behind": -24 * time.Hour} {
		t.Run(name, func(t *testing.T) {
			withTokens(t, func(o *socketauth.Options[string]) { o.TokenLifetime = time.Hour }, func(srv *testServer) {
				for _, path := range []string{"/login", "/register"} {
					d := srv.device()
					d.ahead = ahead
					enter := func() tokenAnswer {
						return d.send("POST", path, "", credentialsJSON("anna", "secret"), d.proof("POST", path, ""))
					}
					a := enter()
					if a.wants(t, 400, "USE_DPOP_NONCE"); d.nonce == "" {
						t.Fatal("no nonce")
					}
					a = enter()
					a.wants(t, 200, "")
					token := d.rotate(a.token)
					refused := 0
					for range 100 { // several lives of a nonce, with an answer in each half of one
						nonce := d.nonce
						time.Sleep(2 * time.Minute)
						a := d.ask("GET", "/api", token, "")
						if a.status != 200 {
							refused++
						}
						if renewed := d.nonce != nonce; renewed != (a.header.Get("DPoP-Nonce") != "") {
							t.Fatal("the nonce of the answer was not taken")
						}
						token = d.rotate(token)
					}
					if refused > 0 {
						t.Errorf("%d of 100 requests were refused", refused)
					}
					time.Sleep(10 * time.Minute) // asleep
					d.wants("GET", "/api", token, "", 401, "use_dpop_nonce")
					d.wants("GET", "/api", token, "", 200, "")
					d.wants("DELETE", "/token", token, "", 204, "")
				}
			})
		})
	}
}

// TestNonces checks for how long a nonce is good, that answers carry a newer one from the half of
// that on, that a proof with a nonce is good once, also by its own time later, and that none is
// sent to a client which needs none.
func TestNonces(t *testing.T) {
	withTokens(t, nil, func(srv *testServer) {
		d := srv.device()
		token := d.rotate(d.login())
		d.wants("GET", "/api", token, "", 200, "")
		if d.nonce != "" {
			t.Errorf("a client whose clock is right was sent the nonce %s", d.nonce)
		}
		d.ahead = 10 * time.Minute
		d.wants("GET", "/api", token, "", 401, "use_dpop_nonce")
		nonce := d.nonce
		send := func(wait time.Duration, status int, code string, renewed bool) {
			t.Helper()
			time.Sleep(wait)
			d.nonce = nonce
			a := d.ask("GET", "/api", token, "")
			if a.wants(t, status, code); (a.header.Get("DPoP-Nonce") != "") != renewed || renewed && d.nonce == nonce {
				t.Errorf("after %v more: the nonce %q", wait, a.header.Get("DPoP-Nonce"))
			}
		}
		send(0, 200, "", false)
		d.nonce = nonce
		proof := d.proof("GET", "/api", token)
		again := func(code string) {
			t.Helper()
			d.send("GET", "/api", "DPoP "+token, "", proof).wants(t, 401, code)
		}
		d.send("GET", "/api", "DPoP "+token, "", proof).wants(t, 200, "")
		again("invalid_proof")
		send(150*time.Second, 200, "", false)
		send(time.Second, 200, "", true)
		again("invalid_proof")
		send(149*time.Second, 200, "", true)
		again("invalid_proof")
		send(time.Second, 401, "use_dpop_nonce", true)
		again("use_dpop_nonce")
		time.Sleep(5 * time.Minute) // the clock shows what the proof says
		again("use_dpop_nonce")
		d.ahead = 0
		d.nonce = nonce
		d.wants("GET", "/api", token, "", 401, "use_dpop_nonce")
		d.nonce = "of another server"
		d.wants("GET", "/api", token, "", 200, "")
	})
}

// TestNoncesOfTwoProcesses checks that processes which share a secret accept each other's nonces.
func TestNoncesOfTwoProcesses(t *testing.T) {
	store := new(faultyStore)
	withTokens(t, store.use, func(srv *testServer) {
		other := newTestServer(srv.T, func(o *socketauth.Options[string]) { o.Blacklist, o.TokenPath = store, "/token" })
		d := srv.device()
		token := d.rotate(d.login())
		d.ahead = -time.Hour
		d.wants("GET", "/api", token, "", 401, "use_dpop_nonce")
		e := &device{testServer: other, key: d.key, ahead: d.ahead, nonce: d.nonce}
		e.wants("GET", "/api", token, "", 200, "")
		next := e.rotate(token)
		d.wants("GET", "/api", next, "", 200, "")
	})
}

// TestRepeatedRequest guards that who has recorded a request of a bound session, and sends it again
// where the proof is not known, at another process or after a restart, ends no session and raises
// no alarm; and that who has the key is still judged, also by a token that has expired.
func TestRepeatedRequest(t *testing.T) {
	store, seen := new(faultyStore), new(auditLog)
	withTokens(t, store.use, func(srv *testServer) {
		other := newTestServer(srv.T, func(o *socketauth.Options[string]) {
			o.Blacklist, o.TokenPath, o.Audit = store, "/token", seen.hook
		})
		d := srv.device()
		e := &device{testServer: other, key: d.key}
		for _, method := range []string{"POST", "DELETE"} {
			for name, token := range map[string]string{"code": d.login(), "token": d.rotate(d.login())} {
				if method == "DELETE" && name == "code" {
					continue
				}
				e.nonce = ""
				proof := d.proof(method, "/token", token)
				current := d.rotate(token)
				time.Sleep(10 * time.Second)
				a := e.send(method, "/token", "DPoP "+token, "", proof) // by the thief
				a.wants(t, 401, "use_dpop_nonce")
				if n := seen.count("reuse token_reused"); n != 0 {
					t.Errorf("%s %s: %d alarms", method, name, n)
				}
				d.wants("GET", "/api", current, "", 200, "")
				e.nonce = d.nonce // of the first process
				e.wants(method, "/token", token, "", 401, "use_dpop_nonce")
				d.wants("GET", "/api", current, "", 200, "")
			}
		}
		// With a nonce of one process, to another one first: as of a client whose clock is wrong.
		token := d.rotate(d.login())
		d.ahead, d.nonce = time.Hour, ""
		d.wants("GET", "/api", token, "", 401, "use_dpop_nonce")
		proof := d.proof("POST", "/token", token)
		a := e.send("POST", "/token", "DPoP "+token, "", proof)
		a.wants(t, 200, "")
		d.wants("POST", "/token", a.token, `{"confirm":true}`, 204, "")
		time.Sleep(10 * time.Second)
		d.send("POST", "/token", "DPoP "+token, "", proof).wants(t, 401, "use_dpop_nonce") // by the thief
		d.wants("GET", "/api", a.token, "", 200, "")
		d.ahead, d.nonce = 0, ""

		// Who has the key is judged at whichever process.
		token = d.rotate(d.login())
		current := d.rotate(token)
		time.Sleep(10 * time.Second)
		e.nonce = ""
		e.wants("POST", "/token", token, "", 401, "use_dpop_nonce")
		d.nonce = e.nonce // of that answer
		d.wants("POST", "/token", token, "", 401, "token_reused")
		d.wants("GET", "/api", current, "", 401, "token_reused")

		d.nonce = ""
		token = d.rotate(d.login())
		time.Sleep(30 * time.Minute)
		current = d.rotate(token)
		time.Sleep(40 * time.Minute) // token has expired
		e.nonce = ""
		e.wants("DELETE", "/token", token, "", 401, "use_dpop_nonce")
		e.wants("DELETE", "/token", token, "", 401, "token_reused")
		d.wants("GET", "/api", current, "", 401, "token_reused")
	})
}
