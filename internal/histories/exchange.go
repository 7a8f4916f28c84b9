package histories

import (
	"net/http"
	"time"
)

// This file holds requests at TokenPath: a tab has its token replaced without its socket.

// lateRequest is how late a request may arrive, or arrive once more, at most.
const lateRequest = 1500 * time.Millisecond

// answer is what a request at TokenPath is answered with.
type answer struct {
	status int
	code   string
	token  token
}

// exchange sends a request at TokenPath, which has the token replaced or confirmed. It may arrive
// twice, and answers get lost.
func (r *realServer) exchange(from string, t token, key string, confirm bool, got func(answer)) {
	w := r.w
	body := "{}"
	if confirm {
		body = `{"confirm":true}`
	}
	request := r.request(http.MethodPost, "/token", body, t, key) // which arrives as it is, each time
	send := func(got func(answer)) {
		r.calls.Go(func() {
			res, said, err := r.do(from, request)
			if err != nil {
				return
			}
			a := answer{status: res.StatusCode, code: said.Code}
			if said.Token != "" {
				a.token = r.w.readToken(said.Token)
			}
			r.tell(func() { got(a) })
		})
	}
	late := min(w.slowest, lateRequest/2)
	w.after(w.between(time.Millisecond, late), func() {
		w.note("     %s's request with %s arrives, confirming=%v", from, t, confirm)
		if t.key != "" { // a proof that begins a session may come again: it binds to the same key
			w.requests[from] = request
		}
		send(func(a answer) {
			if t.key == key || t.key == "" && t.ref.Generation == 0 {
				r.honestProof("TokenPath", t, a.code)
			}
			if !w.chance(w.cuts) {
				w.after(w.between(time.Millisecond, late), func() { got(a) })
			}
		})
		if w.chance(max(w.cuts, 0.3)) {
			w.after(w.between(max(time.Millisecond, w.grain), lateRequest/2), func() { // after the first: its proof is used up
				w.note("     %s's request with %s arrives again", from, t)
				send(func(answer) {})
			})
		}
	})
}

// exchange has the token replaced by a request.
func (t *tab) exchange() {
	if !t.takeTurn() {
		t.soon(t.exchange)
		return
	}
	sent := t.storage
	if sent.text == "" {
		t.endTurn()
		t.rest()
		return
	}
	t.presented = append(t.presented, t.w.now)
	t.ask(sent, false, func(a answer) {
		switch {
		case a.status == http.StatusOK:
			given := a.token
			if !given.proved.Equal(sent.proved) {
				t.w.violate("%s is given for %s, and says that its owner has proved who they are again", given, sent)
			}
			t.w.isBoundTo(sent, given, t.key)
			t.w.lasts(given)
			t.w.counts.Exchanges++
			t.storage = given
			t.ledger.has(given.ref)
			t.watched(true)
			if t.w.chance(0.5) { // otherwise its first use confirms it
				t.ask(given, true, func(answer) { t.asked() })
				return
			}
		case a.code == "token_expired", a.code == "token_reused", a.code == "session_revoked":
			t.ledger.lockedOut(sent.ref, a.code)
			t.storage = token{}
		}
		t.asked()
	})
	t.watched(false)
}

// ask makes a request in the tab's turn. If there is no answer, the tab goes on without one.
func (t *tab) ask(with token, confirm bool, got func(answer)) {
	t.w.note("%s asks without its socket, with %s, confirming=%v", t.name, with, confirm)
	t.asks++
	mine := t.asks
	t.patience.stop()
	t.patience = t.w.after(t.w.between(t.w.patience/4, t.w.patience), t.asked)
	t.peer.exchange(t.name+".http", with, t.key, confirm, func(a answer) {
		if mine == t.asks && t.turn == t {
			t.w.note("%s is answered %d %s %s", t.name, a.status, a.code, a.token)
			got(a)
		}
	})
}

// asked ends the tab's turn after a request.
func (t *tab) asked() {
	t.asks++
	t.endTurn()
	t.rest()
}
