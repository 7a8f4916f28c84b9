package boltstore_test

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"fmt"
	mathrand "math/rand/v2"
	"os"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/z-open/socketauth/blacklist"
	"github.com/z-open/socketauth/boltstore"
)

// This file holds the process that the test kills. It makes random histories, prints before each
// step what must be true after it, and prints when the step has returned.

const (
	childEnv = "BOLTBLACKLIST_CHILD" // the path of the store
	earlyEnv = "BOLTBLACKLIST_EARLY" // if set, the store has a fault: it answers before it has written
)

func TestMain(m *testing.M) {
	if path := os.Getenv(childEnv); path != "" {
		fmt.Fprintln(os.Stderr, child(path))
		os.Exit(1) // it should have been killed before this
	}
	os.Exit(m.Run())
}

// saying is a line that the child prints: what must be true once step N is done, or that it is
// done.
type saying struct {
	N    int
	Done bool
	Then []state
	All  bool // every session must be over
}

// state is what is known of a session.
type state struct {
	SessionID, User string
	Login           time.Time
	Live, Dead      []tokenID // Dead has only the last few
}

type tokenID struct {
	ID         string
	Generation uint64
}

func (s *state) ref(t tokenID) blacklist.TokenRef {
	return blacklist.TokenRef{
		SessionID: s.SessionID, TokenID: t.ID, UserID: s.User, Generation: t.Generation,
		IssuedAt: s.Login, AuthTime: s.Login, ExpiresAt: s.Login.Add(time.Hour),
	}
}

// holds makes these tokens the only valid ones from now on.
func (s state) holds(live ...tokenID) state {
	for _, t := range s.Live {
		if !slices.Contains(live, t) {
			s.Dead = append(slices.Clone(s.Dead), t)
		}
	}
	s.Live, s.Dead = live, s.Dead[max(0, len(s.Dead)-8):]
	return s
}

func (s state) also(t tokenID) state {
	s.Live = append(slices.Clone(s.Live), t)
	return s
}

// account is a user with the sessions that are in use, and those that are no longer used.
type account struct {
	id         string
	used, left []state
}

type historian struct {
	store blacklist.Store
	all   sync.RWMutex // locked while all sessions are revoked

	mu    sync.Mutex
	steps int
	out   *json.Encoder
}

func child(path string) error {
	file, err := boltstore.Open(path)
	if err != nil {
		return err
	}
	h := &historian{store: file, out: json.NewEncoder(os.Stdout)}
	if os.Getenv(earlyEnv) != "" {
		h.store = early{file}
	}
	const workers = 8
	failed := make(chan error, workers)
	users := make([]account, workers)
	for n := range users {
		users[n].id = newID()
		go func() {
			for {
				if err := h.act(&users[n]); err != nil {
					failed <- err
					return
				}
				if n == 0 && mathrand.IntN(200) == 0 {
					if err := h.revokeAll(users); err != nil {
						failed <- err
						return
					}
				}
			}
		}()
	}
	return <-failed
}

// step prints what must be true after do, calls do, and prints that it is done.
func (h *historian) step(do func() error, then ...state) error {
	return h.say(do, saying{Then: then})
}

func (h *historian) say(do func() error, what saying) error {
	h.mu.Lock()
	h.steps++
	what.N = h.steps
	err := h.out.Encode(what)
	h.mu.Unlock()
	if err != nil {
		return err
	}
	if err := do(); err != nil {
		return err
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.out.Encode(saying{N: what.N, Done: true})
}

func (h *historian) present(s state, token tokenID, successor string, confirming bool, want blacklist.Verdict) error {
	v, err := verdict(h.store.Present(context.Background(), blacklist.Presentation{
		Token: s.ref(token), SuccessorID: successor, SuccessorExpiresAt: s.Login.Add(time.Hour), Confirming: confirming,
		SocketOpenedAt: time.Now().Add(time.Hour), SupersededWithin: time.Minute, EndOnReuse: true, UserAgent: "agent",
	}))
	if err == nil && v != want {
		err = fmt.Errorf("present: verdict %d, want %d", v, want)
	}
	return err
}

func (h *historian) revoke(r blacklist.Revocation) error {
	r.Keep = time.Hour
	_, err := h.store.Revoke(context.Background(), r)
	return err
}

// act takes one random step with the sessions of a user.
func (h *historian) act(user *account) error {
	h.all.RLock()
	defer h.all.RUnlock()
	if len(user.used) < 4 {
		return h.begin(user)
	}
	n := mathrand.IntN(len(user.used))
	s := user.used[n]
	current := s.Live[0]
	next := tokenID{newID(), current.Generation + 1}
	drop := func() { user.used = slices.Delete(user.used, n, n+1) }
	switch mathrand.IntN(16) {
	case 0:
		user.left = append(user.left, s)
		drop()
	case 1:
		drop()
		return h.step(func() error {
			return h.revoke(blacklist.Revocation{UserID: s.User, SessionID: s.SessionID, Why: blacklist.LoggedOut})
		}, s.holds())
	case 2:
		drop()
		return h.step(func() error { return h.present(s, s.Dead[len(s.Dead)-1], newID(), false, blacklist.ReuseDetected) }, s.holds())
	case 3:
		var then []state
		for _, s := range slices.Concat(user.used, user.left) {
			then = append(then, s.holds())
		}
		user.used, user.left = nil, nil
		return h.step(func() error { return h.revoke(blacklist.Revocation{UserID: user.id, Why: blacklist.Revoked}) }, then...)
	case 4: // before its code is used
		never := state{SessionID: newID(), User: user.id, Login: time.Now(), Dead: []tokenID{{newID(), 0}}}
		return h.step(func() error {
			return h.revoke(blacklist.Revocation{UserID: never.User, SessionID: never.SessionID, Why: blacklist.Revoked})
		}, never)
	case 5, 6, 7, 8:
		user.used[n] = s.holds(next)
		return h.step(func() error { return h.present(s, current, next.ID, false, blacklist.Accepted) }, user.used[n])
	default:
		return h.confirming(&user.used[n], current, next)
	}
	return nil
}

func (h *historian) begin(user *account) error {
	code, first := tokenID{newID(), 0}, tokenID{newID(), 1}
	s := state{SessionID: newID(), User: user.id, Login: time.Now(), Live: []tokenID{code}}
	user.used = append(user.used, s.holds(first))
	return h.step(func() error { return h.present(s, code, first.ID, false, blacklist.Accepted) }, s.holds(first))
}

// confirming gets two branches, and confirms or presents the second one.
func (h *historian) confirming(s *state, current, one tokenID) error {
	two := tokenID{newID(), one.Generation}
	for _, branch := range []tokenID{one, two} {
		before := *s
		*s = before.also(branch)
		if err := h.step(func() error { return h.present(before, current, branch.ID, true, blacklist.Accepted) }, *s); err != nil {
			return err
		}
	}
	before := *s
	if mathrand.IntN(2) == 0 {
		*s = before.holds(two)
		return h.step(func() error {
			v, err := verdict(h.store.Confirm(context.Background(), before.ref(two)))
			if err == nil && v != blacklist.Accepted {
				err = fmt.Errorf("confirm: verdict %d", v)
			}
			return err
		}, *s)
	}
	next := tokenID{newID(), two.Generation + 1}
	*s = before.holds(next, two).holds(next)
	return h.step(func() error { return h.present(before, two, next.ID, false, blacklist.Accepted) }, *s)
}

func (h *historian) revokeAll(users []account) error {
	h.all.Lock()
	defer h.all.Unlock()
	for n := range users {
		users[n].used, users[n].left = nil, nil
	}
	return h.say(func() error { return h.revoke(blacklist.Revocation{All: true, Why: blacklist.Revoked}) }, saying{All: true})
}

// early is a store that answers before it has written.
type early struct{ blacklist.Store }

func (e early) Revoke(ctx context.Context, r blacklist.Revocation) (blacklist.Change, error) {
	if r.SessionID == "" {
		return e.Store.Revoke(ctx, r)
	}
	go func() {
		time.Sleep(50 * time.Millisecond)
		_, _ = e.Store.Revoke(context.Background(), r)
	}()
	return blacklist.Change{}, nil
}

func newID() string {
	var id [16]byte
	rand.Read(id[:])
	return base64.RawURLEncoding.EncodeToString(id[:])
}
