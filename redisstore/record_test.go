package redisstore

import (
	"encoding/binary"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/z-open/socketauth/blacklist"
)

// agents are user agents of today's browsers, and others.
var agents = []string{
	"Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/140.0.0.0 Safari/537.36",
	"Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/140.0.0.0 Safari/537.36 Edg/140.0.0.0",
	"Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/140.0.0.0 Safari/537.36",
	"Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/18.6 Safari/605.1.15",
	"Mozilla/5.0 (iPhone; CPU iPhone OS 18_6 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/18.6 Mobile/15E148 Safari/604.1",
	"Mozilla/5.0 (iPad; CPU OS 18_6 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) CriOS/140.0.7339.122 Mobile/15E148 Safari/604.1",
	"Mozilla/5.0 (X11; Ubuntu; Linux x86_64; rv:142.0) Gecko/20100101 Firefox/142.0",
	"Mozilla/5.0 (Windows NT 10.0; Win64; x64; rv:142.0) Gecko/20100101 Firefox/142.0",
	"Mozilla/5.0 (Linux; Android 10; K) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/140.0.0.0 Mobile Safari/537.36",
	"Mozilla/5.0 (Linux; Android 15; SM-S931B) AppleWebKit/537.36 (KHTML, like Gecko) SamsungBrowser/28.0 Chrome/130.0.0.0 Mobile Safari/537.36",
	"Mozilla/5.0 (Linux; Android 15; Pixel 9 Build/AP4A.250205.002; wv) AppleWebKit/537.36 (KHTML, like Gecko) Version/4.0 Chrome/140.0.7339.51 Mobile Safari/537.36",
}

var oddAgents = []string{"", "x", "node", "Mozillä/5.0 \xff", "\x00\x7f", strings.Repeat("y", 256), strings.Repeat("é", 128)}

// begun is a session that a confirming client has used for some generations.
func begun(t testing.TB, generations int, agent, address string) (state blacklist.State, user string) {
	t.Helper()
	now := time.Now().Add(-time.Hour)
	token := blacklist.TokenRef{
		SessionID: newID(), TokenID: newID(), UserID: "user " + newID(), IssuedAt: now, AuthTime: now, ExpiresAt: now.Add(time.Minute),
	}
	for range generations {
		next := token
		next.TokenID, next.Generation, next.ExpiresAt = newID(), token.Generation+1, now.Add(30*24*time.Hour)
		p := blacklist.Presentation{
			Token: token, SuccessorID: next.TokenID, SuccessorExpiresAt: next.ExpiresAt, Confirming: true, Address: address, UserAgent: agent,
		}
		if r, _ := state.Present(p, now); r.Verdict != blacklist.Accepted {
			t.Fatalf("Present: %d", r.Verdict)
		}
		now = now.Add(50 * time.Millisecond)
		if r, _ := state.Confirm(next, now); r.Verdict != blacklist.Accepted {
			t.Fatalf("Confirm: %d", r.Verdict)
		}
		token, now = next, now.Add(5*time.Minute+time.Duration(rand.IntN(1e9)))
	}
	return state, token.UserID
}

// traded is a session whose code was bound by its trade, and whose first token nobody has
// confirmed.
func traded(t testing.TB) (state blacklist.State, code blacklist.TokenRef) {
	t.Helper()
	now := time.Now()
	code = blacklist.TokenRef{
		SessionID: newID(), TokenID: newID(), UserID: "anna", IssuedAt: now, AuthTime: now, ExpiresAt: now.Add(time.Minute), Bind: "a key",
	}
	p := blacklist.Presentation{Token: code, SuccessorID: newID(), SuccessorExpiresAt: now.Add(time.Hour), Confirming: true}
	if r, _ := state.Present(p, now); r.Verdict != blacklist.Accepted {
		t.Fatalf("Present: %d", r.Verdict)
	}
	return state, code
}

// TestRecordOfTradedCode guards that a record keeps the key to which a code was bound.
func TestRecordOfTradedCode(t *testing.T) {
	state, code := traded(t)
	text, err := encodeRecord(&state, code.UserID, 7)
	if err != nil {
		t.Fatal(err)
	}
	got, _, err := decodeRecord(text, code.UserID)
	if err != nil || got != state {
		t.Fatalf("%+v, %v, want\n%+v", got, err, state)
	}
	for key, want := range map[string]blacklist.Verdict{"a key": blacklist.Accepted, "another key": blacklist.Replaced, "": blacklist.Replaced} {
		code.Bind = key
		if r := got.Check(code, 0, 0, time.Now()); r.Verdict != want {
			t.Errorf("with %q: verdict %d, want %d", key, r.Verdict, want)
		}
	}
}

// Guards the packed form: every session comes back as it was, and is small.
func TestRecords(t *testing.T) {
	for n, agent := range append(agents, oddAgents...) {
		for _, address := range []string{"192.0.2.17", "2001:db8::17", "", "::ffff:192.0.2.1", "fe80::1%eth0", "no address", "192.0.02.1"} {
			for _, generations := range []int{0, 1, 3, 12} {
				state, user := begun(t, generations, agent, address)
				if generations == 0 {
					user = ""
				}
				text, err := encodeRecord(&state, user, 1_790_000_000)
				if err != nil {
					t.Fatal(err)
				}
				got, epoch, err := decodeRecord(text, user)
				if err != nil || got != state || epoch != 1_790_000_000 {
					t.Fatalf("%q, %q, %d generations: %v, %d\n%+v, want\n%+v", agent, address, generations, err, epoch, got, state)
				}
				if len(text) > 160 && n < len(agents) && len(address) < 20 {
					t.Errorf("%d bytes after %d generations with %q", len(text), generations, agent)
				}
			}
		}
	}
}

// Guards the packing of user agents of browsers: at most 32 bytes each, but for names of devices.
func TestAgents(t *testing.T) {
	for _, agent := range agents {
		packed, ok := packAgent(agent)
		if again, ok2 := unpackAgent(packed); !ok || !ok2 || again != agent {
			t.Errorf("%q becomes %q", agent, again)
		}
		if len(packed) > 52 {
			t.Errorf("%d bytes for %q", len(packed), agent)
		}
	}
	if len(agentPhrases) > 0x80 {
		t.Errorf("%d phrases do not fit", len(agentPhrases))
	}
}

// Guards against records that make the process panic, or that are read as what was not written.
func FuzzRecord(f *testing.F) {
	for _, generations := range []int{0, 1, 9} {
		state, user := begun(f, generations, agents[0], "192.0.2.17")
		text, err := encodeRecord(&state, user, 7)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(text, user)
	}
	state, code := traded(f)
	text, err := encodeRecord(&state, code.UserID, 7)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(text, code.UserID)
	f.Fuzz(func(t *testing.T, text, user string) {
		state, epoch, err := decodeRecord(text, user)
		if err != nil {
			return
		}
		if state.UserID() != user || state.Ended() != 0 {
			t.Errorf("a session of %q that ended by %d", state.UserID(), state.Ended())
		}
		again, err := encodeRecord(&state, user, epoch)
		if err != nil {
			t.Fatal(err)
		}
		if back, e, err := decodeRecord(again, user); err != nil || back != state || e != epoch {
			t.Errorf("%q becomes %q: %v", text, again, err)
		}
	})
}

// Guards packing against any State in binary: it comes back as it was or is not packed.
func FuzzPack(f *testing.F) {
	state, user := begun(f, 9, agents[4], "2001:db8::17")
	plain, _ := state.AppendBinary(nil)
	f.Add(plain, user, int64(1_790_000_060), int64(1_790_000_000_000_000), false)
	state, code := traded(f)
	plain, _ = state.AppendBinary(nil)
	f.Add(plain, code.UserID, int64(1_790_000_060), int64(1_790_000_000_000_000), true)
	f.Fuzz(func(t *testing.T, plain []byte, user string, forgetAt, since int64, bound bool) {
		h := head{forgetAt: forgetAt, since: since, bound: bound}
		if body, packed := pack(plain, user, h); packed {
			if again, ok := unpack(body, user, h); !ok || string(again) != string(plain) {
				t.Errorf("%q becomes %q", plain, again)
			}
		}
		unpack(plain, user, h)
	})
}

// Guards the small parsers of what is in Redis: they refuse what the scripts cannot have written.
func FuzzParse(f *testing.F) {
	f.Add("1790000000000000 1790000000 1790000002 1790000000000000 1790000001:8 1790000002:7")
	f.Add(remains{blacklist.Revoked, true, true, 1_790_000_000, 1_790_000_000}.encode())
	f.Add(string(binary.BigEndian.AppendUint64(make([]byte, 8, 16), 5)))
	f.Add(string(make([]byte, 24)))
	f.Fuzz(func(t *testing.T, text string) {
		if s, err := parseState(text); err == nil {
			if s.why(s.epoch) != 0 || s.why(s.epoch+1) != blacklist.Unknown || s.first > s.epoch || s.birth < 0 {
				t.Errorf("%q: %+v", text, s)
			}
			for _, epoch := range []int64{s.first, s.epoch - 1} {
				if v := s.why(epoch); epoch != s.epoch && epoch >= s.first && v != blacklist.LoggedOut && v != blacklist.Revoked {
					t.Errorf("%q: epoch %d ended by %d", text, epoch, v)
				}
			}
		}
		if r, err := parseRemains(text); err == nil && r.encode() != text {
			t.Errorf("%q becomes %q", text, r.encode())
		}
		if o, err := parseOverride(text); err == nil && (o.mark < 0 || o.cut < 0) {
			t.Errorf("%q: %+v", text, o)
		}
		if e, err := parseEntry(text); err == nil && (e.cutoff < 0 || e.mark < 0) {
			t.Errorf("%q: %+v", text, e)
		}
		if raw, ok := rawID(text); ok && textID(raw) != text {
			t.Errorf("%q becomes %q", text, textID(raw))
		}
	})
}

func newID() string {
	var b [16]byte
	binary.BigEndian.PutUint64(b[:], rand.Uint64())
	binary.BigEndian.PutUint64(b[8:], rand.Uint64())
	return textID(string(b[:]))
}
