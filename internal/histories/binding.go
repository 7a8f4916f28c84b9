package histories

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/z-open/socketauth/blacklist"
	"github.com/z-open/socketauth/internal/authn"
	"github.com/z-open/socketauth/internal/dpop/dpoptest"
)

// This file holds sessions that are bound to a key, and proofs by keys.

// proof is a client's proof that it has a key, for one token on one socket.
type proof struct {
	key string // the key it was made with; "" for no proof
	on  string // the socket
	of  string // the text of the token
}

func (p proof) String() string {
	if p.key == "" {
		return ""
	}
	return fmt.Sprintf(", proof by %s on %s", p.key, p.on)
}

// The codes of refusals for a token's proof.
const (
	proofRequired = "proof_required"
	invalidProof  = "invalid_proof"
)

// prove returns a proof for the token that the tab is about to send.
func (t *tab) prove() proof {
	if t.key == "" {
		return proof{}
	}
	p := proof{t.key, t.socket.name, t.sent.text}
	t.proofs = append(t.proofs, p)
	return p
}

// prove returns what a thief sends with a token: nothing, a proof by its own key, or one of those
// that it has seen its victim send.
func (t *thief) prove(s *socket, what token) proof {
	switch n := t.w.IntN(10); {
	case n < 3 && len(t.victim.proofs) > 0:
		seen := t.victim.proofs
		if n < 2 {
			seen = seen[len(seen)-1:]
		}
		return seen[t.w.IntN(len(seen))]
	case n < 8 && t.key != "":
		return proof{t.key, s.name, what.text}
	}
	return proof{}
}

// isBoundTo checks to which key a token is bound that a client with a key was given for another.
func (w *world) isBoundTo(sent, given token, key string) {
	want := sent.key
	if sent.ref.Generation == 0 {
		want = cmp.Or(want, key)
	}
	if given.key != want {
		w.violate("%s is given for %s, and bound to %q instead of %q", given, sent, given.key, want)
	}
}

// isRefused notes that a thief is refused with a code.
func (t *thief) isRefused(code string) {
	if code == proofRequired || code == invalidProof {
		t.w.counts.ProofsRefused++
	}
}

// newKey returns the name of a new key: its thumbprint, if a real server is to know it.
func (w *world) newKey(owner string) string {
	if !w.identities {
		return "the key of " + owner
	}
	key := dpoptest.NewEd25519()
	w.keys[key.Thumbprint] = key
	w.note("%s has the key %s", owner, key.Thumbprint)
	return key.Thumbprint
}

// textOf returns a proof as it is sent to a real server. It is the same each time.
func (w *world) textOf(p proof) string { return w.keys[p.key].Socket(w.ids[p.on], p.of) }

// request returns a request with a token, and with a proof if there is a key.
func (r *realServer) request(method, path, body string, t token, key string) *http.Request {
	url := "http://server" + path
	request, _ := http.NewRequest(method, url, strings.NewReader(body))
	request.Header.Set("Content-Type", "application/json")
	scheme := "Bearer "
	if key != "" {
		request.Header.Set("DPoP", r.w.keys[key].Request(method, url, t.text))
		if t.key != "" {
			scheme = "DPoP "
		}
	}
	if t.text != "" {
		request.Header.Set("Authorization", scheme+t.text)
	}
	return request
}

// said is the body of an answer.
type said struct{ Token, Code string }

// do sends a request, which may be sent again.
func (r *realServer) do(from string, request *http.Request) (res *http.Response, body said, err error) {
	request = request.Clone(context.Background())
	if request.Body, err = request.GetBody(); err != nil {
		return nil, body, err
	}
	client := http.Client{Transport: &http.Transport{DialContext: r.lis.dialer(from), DisableKeepAlives: true}}
	if res, err = client.Do(request); err != nil {
		return nil, body, err
	}
	defer res.Body.Close()
	text, _ := io.ReadAll(res.Body)
	_ = json.Unmarshal(text, &body)
	return res, body, nil
}

// replay sends another's last request once more, with all that was in it, to the server that had
// it. If there are several, another one may accept it once, while it is new: that is a known
// residual.
func (r *realServer) replay(from, another string) {
	if request := r.w.requests[another]; request != nil && r.w.processes <= 1 {
		r.w.note("     %s's request is replayed by %s", another, from)
		r.calls.Go(func() { _, _, _ = r.do(from, request) })
	}
}

// logIn logs a user in with a proof of a key, to which the code is bound.
func (r *realServer) logIn(userID string, key *dpoptest.Key, got func(token)) {
	proved := time.Now()
	body := fmt.Sprintf(`{"username":%q,"password":"secret"}`, userID)
	request := r.request(http.MethodPost, "/login", body, token{}, key.Thumbprint)
	r.calls.Go(func() {
		res, said, err := r.do(userID, request)
		if err != nil || res.StatusCode != http.StatusOK {
			r.w.violate("logging in: %v, %v, %q", res, err, said.Code)
			return
		}
		r.tell(func() { got(r.readCode(said.Token, proved)) })
	})
}

// honestProof checks that a request whose proof is good is not refused for it.
func (r *realServer) honestProof(at string, t token, code string) {
	if code == proofRequired || code == invalidProof || code == "use_dpop_nonce" {
		r.w.violate("%s refuses %s: %s", at, t, code)
	}
}

// checkProof decides on the proof that comes with a token, before the store is asked. It returns
// the key that a code is to be bound to, and the code of a refusal.
func (p *playedServer) checkProof(c *conn, f frame, t *authn.Token) (bind, code string) {
	m := p.store.mutation()
	right := f.proof.of == t.Text && (f.proof.on == c.name || m == AcceptOldProof)
	if t.Thumbprint != "" {
		switch {
		case f.proof.key == "" && m != RequireNoProof:
			return "", proofRequired
		case f.proof.key == "":
		case !right, f.proof.key != t.Thumbprint && m != AcceptAnyProof:
			return "", invalidProof
		}
		return "", ""
	}
	if t.Generation > 0 && m != BindLater || f.proof.key == "" {
		return "", ""
	}
	if !right {
		return "", invalidProof
	}
	return f.proof.key, ""
}

// refuseProof refuses a token for its proof.
func (p *playedServer) refuseProof(c *conn, code string) {
	p.refuse(c, code, code == invalidProof, false)
}

// mutation returns the fault of the reference, if that is the store.
func (s *store) mutation() Mutation {
	if m, ok := s.Store.(*Machine); ok {
		return m.mutation
	}
	return None
}

// binding is what the ledger knows of the keys of a session.
type binding struct {
	owner  string // the key of the client that logged in; "" for none
	traded bool   // the code was accepted
	key    string // the key that the code named or came with then; "" for none
}

// keyOf returns the key to which the successor of a token is bound.
func keyOf(e *entry, t blacklist.TokenRef) string {
	if e.ref.Generation > 0 {
		return e.key
	}
	return cmp.Or(e.key, t.Bind)
}

// hasKey checks that nobody gets as far as the store with a token that is bound to another's key.
func (l *ledger) hasKey(by *socket, e *entry, p blacklist.Presentation) {
	if (e.key != "") != p.Token.Bound {
		l.w.violate("%s is presented as bound: %v, and is bound to %q", name(p.Token), p.Token.Bound, e.key)
	}
	if by == nil {
		return
	}
	if e.key != "" && e.key != by.key {
		l.w.violate("%s presents %s, which is bound to %q", by.name, name(p.Token), e.key)
	}
	if p.Token.Bind != "" && p.Token.Bind != by.key {
		l.w.violate("%s presents %s with the key %q", by.name, name(p.Token), p.Token.Bind)
	}
}

// trade notes which key an accepted code comes with.
func (l *ledger) trade(s *session, e *entry, c call, p blacklist.Presentation, thief bool) {
	if e.ref.Generation > 0 {
		return
	}
	key := keyOf(e, p.Token)
	if s.anotherKey(e, p.Token) && !s.contested(c) {
		l.w.violate("%s was traded with the key %q, and is accepted with %q", name(p.Token), s.key, key)
	}
	if s.traded {
		return
	}
	s.traded, s.key = true, key
	s.parted = s.parted || thief && key != s.owner
	switch {
	case key == "" || e.key != "":
	case thief:
		l.w.counts.BoundByThieves++
	default:
		l.w.counts.BoundByTrade++
	}
}

// anotherKey reports whether a code comes with another key than when it was traded, and nobody
// holds the first generation yet.
func (s *session) anotherKey(e *entry, t blacklist.TokenRef) bool {
	_, held := s.holders[1]
	return e.ref.Generation == 0 && s.traded && !held && keyOf(e, t) != s.key
}

// bound reports whether a session is bound to a key.
func (l *ledger) bound(sid string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	s := l.sessions[sid]
	return s != nil && s.key != ""
}

// spared reports whether a refusal leaves the owner of a session untouched, whoever was refused:
// the session is bound to the owner's key, and goes on.
func (s *session) spared(v blacklist.Verdict) bool {
	return v == blacklist.Replaced && s.owner != "" && s.key == s.owner
}
