//go:build unix

package processes

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/z-open/socketauth/redisstore/internal/redistest"
)

// TestRestarts has many sessions go on at random processes while Redis is killed and started again
// twice. No client that confirms may lose its session, no reuse may go unnoticed, and nothing of a
// session may be accepted after a revocation of it has returned. With SOAK=1 it takes a minute.
func TestRestarts(t *testing.T) {
	sessions, lasts := 300, 9*time.Second
	if os.Getenv("SOAK") != "" {
		sessions, lasts = 10_000, time.Minute
	}
	redis := redistest.Start(t, "--appendonly", "yes", "--appendfsync", "always")
	r := &restarts{t: t, all: startAll(t, 3, config{Redis: []string{redis.Addr}, Timeout: time.Second})}
	r.begin(sessions)

	var stop atomic.Bool
	var work sync.WaitGroup
	defer work.Wait()
	defer stop.Store(true)
	for range 48 {
		work.Go(func() {
			for !stop.Load() && !t.Failed() {
				r.act()
			}
		})
	}
	for range 2 {
		pause(lasts / 3)
		redis.Kill()
		pause(1500 * time.Millisecond) // longer than Timeout
		redis.Restart()
		r.recovered(redis.Addr)
	}
	pause(lasts / 3)
	counts := map[string]*atomic.Int64{
		"rotations": &r.rotations, "reuses that were noticed": &r.reuses, "revocations": &r.revocations, "new logins": &r.logins,
		"looks at what has ended": &r.checks, "attempts that had to be repeated": &r.repeated,
	}
	// On a slow machine it takes longer until the test has shown something.
	eventually(t, 3*patience, func() error {
		for what, n := range counts {
			if n.Load() < 10 && !t.Failed() {
				return fmt.Errorf("only %d %s", n.Load(), what)
			}
		}
		return nil
	})
	stop.Store(true)
	work.Wait()
	r.judge()
	for what, n := range counts {
		t.Logf("%7d %s", n.Load(), what)
	}
}

// restarts is what TestRestarts knows.
type restarts struct {
	t       *testing.T
	all     []*process
	clients []*holder

	mu    sync.Mutex
	ended []string // tokens of sessions that have ended, whose clients have begun others

	logins, rotations, reuses, revocations, checks, repeated atomic.Int64
}

// holder is a client with its session, and what the test knows of it.
type holder struct {
	mu    sync.Mutex // held by who acts for it
	user  string
	token string // what the client has stored

	// used are the last two tokens that were presented and accepted. The older one was replaced:
	// its successor has been presented and accepted.
	used []string

	copied   bool // a replaced token was presented, and the answer is not known yet
	revoking bool // a revocation was asked for, and the answer is not known yet
	dead     string
	seen     int // how often it was seen dead

	live *socket // one that stays, or nil
}

// begin logs the clients in.
func (r *restarts) begin(n int) {
	r.t.Helper()
	codes := r.all[0].must("codes", order{User: "u", All: true, N: n}).Codes
	r.clients = make([]*holder, n)
	var work sync.WaitGroup
	for worker := range 16 {
		work.Go(func() {
			for i := worker; i < n; i += 16 {
				h := &holder{user: fmt.Sprintf("u%d", i)}
				s, err := enter(r.t.Context(), r.process().url, codes[i])
				if err != nil {
					r.t.Errorf("a login: %v", err)
					return
				}
				h.token = s.stored()
				if i%10 == 0 { // it stays connected
					h.live = s
					r.t.Cleanup(s.close)
				} else {
					s.close()
				}
				r.clients[i] = h
			}
		})
	}
	work.Wait()
	if r.t.Failed() {
		r.t.FailNow()
	}
}

func (r *restarts) process() *process { return r.all[rand.IntN(len(r.all))] }

// act does something at random for a client at random.
func (r *restarts) act() {
	h := r.clients[rand.IntN(len(r.clients))]
	if !h.mu.TryLock() {
		return
	}
	defer h.mu.Unlock()
	switch n := rand.IntN(100); {
	case h.dead != "" && h.seen > 1:
		r.login(h)
	case h.dead != "":
		_ = r.isDead(h)
	case h.copied || n < 3 && len(h.used) == 2:
		r.steal(h)
	case h.revoking || n < 6:
		r.revoke(h)
	default:
		_ = r.rotate(h)
	}
}

// present presents a token to a process at random. again reports that nothing was decided, as far
// as the client knows.
func (r *restarts) present(token string) (next string, again bool, err error) {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	s, err := enter(ctx, r.process().url, token)
	if err == nil {
		defer s.close()
		return s.stored(), false, nil
	}
	switch refused(err) {
	case "unavailable", "timeout":
		again = true
	case "": // the connection broke
		again = errors.Is(err, errClosed)
	}
	if again {
		r.repeated.Add(1)
		pause(20 * time.Millisecond)
	}
	return "", again, err
}

// rotate presents the client's token, which has to be accepted. It reports whether there was an
// answer.
func (r *restarts) rotate(h *holder) bool {
	next, again, err := r.present(h.token)
	switch {
	case again:
	case err != nil:
		r.t.Errorf("%s, who has kept to the rules, is locked out: %v", h.user, err)
		h.dead = "locked out"
	default:
		h.used = append(h.used, h.token)
		h.used = h.used[max(0, len(h.used)-2):]
		h.token = next
		r.rotations.Add(1)
	}
	return !again
}

// steal presents a token that was replaced, which has to end the session.
func (r *restarts) steal(h *holder) {
	h.copied = true
	_, again, err := r.present(h.used[0])
	switch {
	case again:
	case refused(err) == "token_reused":
		h.dead = "a reuse"
		r.reuses.Add(1)
	default:
		r.t.Errorf("a reuse was missed: %v", err)
		h.dead = "a missed reuse"
	}
}

// revoke has a process revoke the user.
func (r *restarts) revoke(h *holder) {
	h.revoking = true
	if _, err := r.process().ask(context.Background(), "revoke-user", order{User: h.user}); err != nil {
		r.repeated.Add(1)
		return
	}
	h.dead = "a revocation"
	r.revocations.Add(1)
}

// login has the client begin a new session after one that has ended.
func (r *restarts) login(h *holder) {
	r.t.Helper()
	r.isClosed(h)
	p := r.process()
	a, err := p.ask(context.Background(), "codes", order{User: h.user, N: 1})
	if err != nil {
		r.repeated.Add(1)
		return
	}
	next, again, err := r.present(a.Codes[0])
	switch {
	case again, refused(err) == "no_longer_valid": // a code from before Redis was started again
	case err != nil:
		r.t.Errorf("a login of %s after %s: %v", h.user, h.dead, err)
	default:
		r.mu.Lock()
		r.ended = append(r.ended, h.token)
		r.mu.Unlock()
		h.token, h.used, h.copied, h.revoking, h.dead, h.seen = next, nil, false, false, "", 0
		r.logins.Add(1)
	}
}

// isClosed waits for the end of the socket of a session that has ended.
func (r *restarts) isClosed(h *holder) {
	if h.live == nil {
		return
	}
	if _, err := h.live.waitEnd(r.t.Context()); err != nil {
		r.t.Errorf("the socket of %s stays open after %s: %v", h.user, h.dead, err)
	}
	h.live = nil
}

// isDead presents the client's token, which must not be accepted. It reports whether there was an
// answer.
func (r *restarts) isDead(h *holder) bool {
	_, again, err := r.present(h.token)
	if err == nil {
		r.t.Errorf("a token of %s was accepted after %s", h.user, h.dead)
	}
	if !again {
		h.seen++
		r.checks.Add(1)
	}
	return !again
}

// recovered waits until each process serves again, and logs how long it took.
func (r *restarts) recovered(addr string) {
	began := time.Now()
	for _, p := range r.all {
		eventually(r.t, patience, func() error {
			_, err := p.ask(r.t.Context(), "sessions", order{User: "u0"})
			return err
		})
	}
	r.t.Logf("all processes served %v after Redis at %s did", time.Since(began).Round(time.Millisecond), addr)
}

// judge looks at each session at the end, when all is well.
func (r *restarts) judge() {
	var work sync.WaitGroup
	var alive, dead atomic.Int64
	next := make(chan *holder)
	for range 16 {
		work.Go(func() {
			for h := range next {
				if h.dead == "" {
					alive.Add(1)
				} else {
					dead.Add(1)
				}
				r.end(h)
			}
		})
	}
	for _, h := range r.clients {
		next <- h
	}
	for _, token := range r.ended[:min(len(r.ended), len(r.clients))] {
		next <- &holder{user: "somebody", token: token, dead: "the end of its session"}
	}
	close(next)
	work.Wait()
	r.t.Logf("at the end %d sessions were alive and %d dead", alive.Load(), dead.Load())
}

// end looks at one session, and its socket, at the end.
func (r *restarts) end(h *holder) {
	for h.copied && h.dead == "" {
		r.steal(h)
	}
	for h.revoking && h.dead == "" {
		r.revoke(h)
	}
	if h.dead == "" {
		for !r.rotate(h) && !r.t.Failed() {
		}
		if h.live != nil && !h.live.open() {
			r.t.Errorf("the socket of %s was closed: %v", h.user, codes(h.live))
		}
		return
	}
	for !r.isDead(h) && !r.t.Failed() {
	}
	r.isClosed(h)
}

// codes returns the codes with which a socket was refused.
func codes(s *socket) string {
	var all []string
	for _, e := range s.all("unauthorized") {
		all = append(all, refused(refusalOf(e)))
	}
	slices.Sort(all)
	return strings.Join(slices.Compact(all), ", ")
}
