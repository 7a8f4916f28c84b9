package histories

import (
	"cmp"
	"fmt"

	"github.com/z-open/socketauth/blacklist"
	"github.com/z-open/socketauth/internal/authn"
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

// boundAs checks to which key a token is bound that a client was given for another.
func (s *socket) boundAs(sent, given token) {
	want := sent.key
	if sent.ref.Generation == 0 {
		want = cmp.Or(want, s.key)
	}
	if given.key != want {
		s.w.violate("%s is given for %s, and bound to %q instead of %q", given, sent, given.key, want)
	}
}

// checkProof decides on the proof that comes with a token, before the store is asked. It returns the
// key that a code is to be bound to, and the code of a refusal.
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
	p.w.counts.ProofsRefused++
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

// anotherKey reports whether a code comes with another key than when it was traded, and nobody holds
// the first generation yet.
func (s *session) anotherKey(e *entry, t blacklist.TokenRef) bool {
	_, held := s.holders[1]
	return e.ref.Generation == 0 && s.traded && !held && keyOf(e, t) != s.key
}

// spared reports whether a refusal leaves the owner of a session untouched, whoever was refused: the
// session is bound to the owner's key, and goes on.
func (s *session) spared(v blacklist.Verdict) bool {
	return v == blacklist.Replaced && s.owner != "" && s.key == s.owner
}
