package socketauth

import (
	"testing"

	"github.com/z-open/socketauth/blacklist"
)

// TestCodeTable checks the table by which clients decide whether to throw a token away.
func TestCodeTable(t *testing.T) {
	for code, want := range map[string]struct{ terminal, retry bool }{
		"invalid_token": {true, false}, "token_expired": {true, false}, "invalid_tenant": {true, false}, "no_longer_valid": {true, false},
		"token_reused": {true, false}, "session_revoked": {true, false}, "wrong_session": {}, "timeout": {},
		"proof_required": {}, "invalid_proof": {true, false}, "use_dpop_nonce": {},
		"too_many_attempts": {false, true}, "unavailable": {false, true}, "server_error": {false, true},
	} {
		row, ok := codes[code]
		if !ok || row.terminal != want.terminal || row.retryAfter > 0 != want.retry || row.message == "" {
			t.Errorf("%s: %+v, %v", code, row, ok)
		}
	}
	if codes["no_longer_valid"].message != "Token is no longer valid" {
		t.Error("the message that the original's clients look for has changed")
	}
	for l := notPresented; l < lateness; l++ {
		if codes[codeTimeout].messages[l] == "" || lateCauses[l].cause == nil || lateCauses[l].fix == "" {
			t.Errorf("nothing is said of the deadline %d", l)
		}
	}
	for v := range blacklist.Verdict(20) {
		r := refuseVerdict(v)
		if _, known := codes[r.code]; !known {
			t.Errorf("verdict %d is refused with %q", v, r.code)
		}
	}
}
