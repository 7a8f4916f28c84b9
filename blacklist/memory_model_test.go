package blacklist

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/z-open/socketauth/internal/id"
)

// TestMemoryDecidesAsModel guards that the store in memory decides as a store does that packs
// nothing, numbers no texts and walks through all sessions: on texts of every length, times that no
// clock shows, revocations of all kinds, and clocks that jump and are set back.
func TestMemoryDecidesAsModel(t *testing.T) {
	seeds := uint64(150)
	if raceDetector {
		seeds /= 5
	}
	verdicts := make(map[Verdict]int)
	for seed := range seeds {
		r := &modelRun{random: rand.New(rand.NewPCG(seed, 3)), verdicts: verdicts}
		for clock := range 3 { // each begins at the same time: the clock is set back
			synctest.Test(t, func(t *testing.T) {
				r.t, r.what = t, fmt.Sprintf("seed %d, clock %d", seed, clock)
				time.Sleep(time.Duration(r.random.Int64N(int64(time.Hour))))
				if r.store == nil {
					r.store, r.model = newMemory(), newModel()
				}
				for step := range 150 {
					r.what = fmt.Sprintf("seed %d, clock %d, step %d", seed, clock, step)
					if r.step(); t.Failed() {
						return
					}
				}
				r.store.consistent(t)
			})
			if t.Failed() {
				return
			}
		}
		synctest.Test(t, func(t *testing.T) {
			time.Sleep(100 * 365 * 24 * time.Hour)
			for range 200 {
				r.store.Left()
			}
			r.store.consistent(t) // what is due in ages is kept
		})
	}
	for _, v := range []Verdict{Accepted, Unknown, Superseded, Replaced, ReuseDetected, SessionCompromised, LoggedOut, Revoked, Stale, StepUpRefused} {
		if verdicts[v] < 20 && !raceDetector {
			t.Errorf("verdict %d came %d times", v, verdicts[v])
		}
	}
}

// model is what a store has to be, in the simplest form.
type model struct {
	sessions                map[id.ID]*State
	since                   map[id.ID]time.Time // when each came to the store
	users                   map[string]userEntry
	birth, forgotten, allAt int64
}

func newModel() *model {
	now := time.Now().UnixMicro()
	return &model{
		sessions: make(map[id.ID]*State), since: make(map[id.ID]time.Time), users: make(map[string]userEntry),
		birth: now, forgotten: now,
	}
}

func (m *model) add(sid id.ID, s *State) {
	if m.sessions[sid] == nil {
		m.sessions[sid], m.since[sid] = s, time.Now()
	}
}

// forgets removes what the store has removed, which must be over, and fails if the store keeps
// what is over for long.
func (m *model) forgets(t *testing.T, store *memory) {
	now := time.Now()
	for sid, s := range m.sessions {
		known := false
		for n := range store.shards {
			known = known || store.shards[n].find(sid) != 0
		}
		switch over := now.Sub(s.ForgetAt()); {
		case !known && over < 0:
			t.Errorf("a session is forgotten %v early: %+v", -over, s)
		case !known:
			delete(m.sessions, sid)
			delete(m.since, sid)
			m.forgotten = max(m.forgotten, now.UnixMicro())
		case min(over, now.Sub(m.since[sid])) > 2*time.Minute:

			t.Errorf("a session is over for %v: %+v", over, s)
		}
	}
	for name, e := range m.users {
		if _, known := store.shard(store.user(name)).users[name]; !known {
			if e.until >= now.UnixMicro() {
				t.Errorf("the entry of a user is forgotten early")
			}
			delete(m.users, name)
			m.forgotten = max(m.forgotten, now.UnixMicro())
		} else if over := now.Sub(time.UnixMicro(e.until)); over > 2*time.Minute {
			t.Errorf("the entry of a user is over for %v", over)
		}
	}
}

func (m *model) begun(sid id.ID) bool {
	return m.sessions[sid] != nil && m.sessions[sid].generation > 0
}

func (m *model) decide(t TokenRef, d call) (Result, Change) {
	now := time.Now()
	if now.Add(leeway).UnixMicro() < m.forgotten {
		m.birth, m.forgotten = now.UnixMicro(), now.UnixMicro()
	}
	sid, ok := id.Parse(t.SessionID)
	if !ok {
		return refused(Unknown)
	}
	s := m.sessions[sid]
	known := s != nil
	if known {
		if v := s.Refuses(t); v != 0 {
			return refused(v)
		}
	}
	if t.AuthTime.UnixMicro() <= m.allAt {
		return refused(Revoked)
	}
	if !known {
		s = new(State)
		if t.Generation > 0 || t.IssuedAt.UnixMicro() < m.birth || t.IssuedAt.After(now.Add(leeway)) {
			return refused(Unknown)
		}
		if t.AuthTime.UnixMicro() <= m.users[t.UserID].revokedAt {
			return refused(Revoked)
		}
		s.Raise(m.users[t.UserID].mark, now)
	}
	result, change := d.decide(s, &t, now)
	if s.generation > 0 {
		m.add(sid, s)
	}
	return result, change
}

func (m *model) revoke(r Revocation) Change {
	now := time.Now()
	c := Change{UserID: r.UserID, SessionID: r.SessionID, Except: r.Except, All: r.All, Verdict: r.Why, At: now}
	sid, ok := id.Parse(r.SessionID)
	s := m.sessions[sid]
	entry := m.users[r.UserID]
	remember := func() {
		entry.until = max(entry.until, now.Add(r.Keep).UnixMicro())
		m.users[r.UserID] = entry
	}
	end := func(s *State) {
		if s.End(r.Why, now.Add(r.Keep), now) {
			c.Sessions++
		}
	}
	switch {
	case r.All:
		m.allAt = max(m.allAt, now.UnixMicro())
		for _, s := range m.sessions {
			if s.generation > 0 {
				end(s)
			}
		}
	case r.SessionID != "" && !ok:
	case s != nil && s.generation > 0 && s.userID != r.UserID:
		return Change{}
	case r.SessionID != "" && r.Why == Stale && s == nil:
		entry.mark = NextMark(now, entry.mark)
		c.Mark = entry.mark
		remember()
	case r.SessionID != "" && r.Why == Stale:
		if c.Mark = NextMark(now, s.mark); s.Raise(c.Mark, now) {
			c.Sessions++
		}
	case r.SessionID != "":
		if s == nil {
			s = new(State)
			m.add(sid, s)
		}
		end(s)
	case r.Why == Stale:
		c.Mark = NextMark(now, entry.mark)
		for _, s := range m.sessions {
			if s.ended == 0 && s.userID == r.UserID {
				c.Mark = NextMark(time.UnixMicro(c.Mark), s.mark)
			}
		}
		entry.mark = c.Mark
		remember()
		for _, s := range m.sessions {
			if s.ended == 0 && s.userID == r.UserID && s.Raise(c.Mark, now) {
				c.Sessions++
			}
		}
	default:
		entry.revokedAt = max(entry.revokedAt, now.UnixMicro())
		remember()
		for other, s := range m.sessions {
			switch {
			case s.ended != 0 || s.userID != r.UserID:
			case other.String() == r.Except:
				s.Cut(now)
			default:
				end(s)
			}
		}
	}
	return c
}

func (m *model) list(userID string) (all []Session) {
	for sid, s := range m.sessions {
		if session, lives := s.Session(sid.String(), time.Now()); lives && s.userID == userID {
			all = append(all, session)
		}
	}
	return all
}

// modelRun makes the same random calls of a store and of a model.
type modelRun struct {
	t        *testing.T
	what     string
	random   *rand.Rand
	store    *memory
	model    *model
	sessions [][]TokenRef // of each, its tokens
	verdicts map[Verdict]int
}

// oddTexts are users, addresses and user agents of every form and of the lengths at which forms
// change.
var oddTexts = []string{
	"a", "ab", "abc", "abcd", "anna", "\x00", "\xff\xfe", "192.0.2.1", "0.0.0.0", "255.255.255.255", "01.2.3.4", "1.2.3.4.", "1.2.3", "256.0.0.1", "1..2.3",
	"::", "2001:db8::1", "2001:DB8::1", "::ffff:192.0.2.1", "fe80::1%eth0", "0b5f6a2e-7c19-4e8b-9d3c-5a1f0e6b7c8d", "0B5F6A2E-7C19-4E8B-9D3C-5A1F0E6B7C8D",
	strings.Repeat("m", 63), strings.Repeat("m", 64), strings.Repeat("m", 65), strings.Repeat("m", 126), strings.Repeat("m", 127), strings.Repeat("m", 128),
	strings.Repeat("m", 255), strings.Repeat("m", 256), strings.Repeat("m", 257), strings.Repeat("é", 400),
}

func (r *modelRun) text() string {
	if r.random.IntN(4) == 0 {
		return ""
	}
	return oddTexts[r.random.IntN(len(oddTexts))]
}

// oddly returns the time, or at times another that no clock shows.
func (r *modelRun) oddly(at time.Time) time.Time {
	if r.random.IntN(12) > 0 {
		return at
	}
	return []time.Time{
		{}, time.Unix(0, 0), time.Unix(-1, 1), time.Unix(-1e9, 0), time.Unix(1e12, 0), time.Unix(253402300799, 0),
		at.Add(1), at.Add(-1), at.Add(time.Microsecond), at.Add(500 * time.Millisecond),
	}[r.random.IntN(10)]
}

func (r *modelRun) begin() {
	now := time.Now()
	code := TokenRef{
		SessionID: newID(), TokenID: newID(), UserID: oddTexts[r.random.IntN(len(oddTexts))], Bound: r.random.IntN(4) == 0,
		IssuedAt: now, AuthTime: r.oddly(now), ExpiresAt: r.oddly(now.Add(time.Minute)),
	}
	r.sessions = append(r.sessions, []TokenRef{code})
}

// token returns one of the tokens of a session, rather a late one.
func (r *modelRun) token(n int) TokenRef {
	tokens := r.sessions[n]
	token := tokens[max(0, len(tokens)-1-int(r.random.ExpFloat64()*1.5))]
	switch r.random.IntN(60) {
	case 0:
		token.Generation += []uint64{1, 2, 1 << 32, 1<<64 - 1, 1<<64 - 2}[r.random.IntN(5)]
	case 1:
		if sid, _ := id.Parse(token.SessionID); token.Generation > 0 && token.AuthTime.UnixMicro() > r.model.allAt && r.model.begun(sid) {
			token.UserID = oddTexts[r.random.IntN(len(oddTexts))]
		}
	case 2:
		token.Bound = token.Generation > 0 && !token.Bound
	case 3:
		token.TokenID = []string{newID(), "", "no id", token.SessionID}[r.random.IntN(4)]
	}
	if r.random.IntN(2) == 0 && token.Generation < 2 {
		token.Bind = []string{"", "a key", "another key"}[r.random.IntN(3)]
	}
	return token
}

func (r *modelRun) step() {
	pauses := []time.Duration{0, 0, 0, time.Microsecond, time.Millisecond, time.Second, 10 * time.Second, time.Hour}
	time.Sleep(time.Duration(r.random.Float64() * float64(pauses[r.random.IntN(len(pauses))])))
	rounds := 3 // what is due in ages is put off more than once
	if r.random.IntN(400) == 0 {
		time.Sleep(time.Duration(r.random.Int64N(int64(400 * 24 * time.Hour))))
		rounds = 60
	}
	for range rounds {
		r.store.Left()
	}
	r.model.forgets(r.t, r.store)
	if len(r.sessions) < 3 || r.random.IntN(10) == 0 {
		r.begin()
	}
	n := r.random.IntN(len(r.sessions))
	if r.random.IntN(3) > 0 {
		n = max(0, len(r.sessions)-1-r.random.IntN(3))
	}
	ctx, token := r.t.Context(), r.token(n)
	switch r.random.IntN(14) {
	case 0, 1:
		got, _ := r.store.Confirm(ctx, token)
		want, _ := r.model.decide(token, call{confirm: true})
		r.same(got, want)
	case 2, 3:
		grace, branch := time.Duration(r.random.Int64N(2e10)), time.Duration(r.random.Int64N(2e10))
		if r.random.IntN(2) == 0 {
			grace, branch = 0, 0
		}
		got, _ := r.store.Check(ctx, token, grace, branch)
		want, _ := r.model.decide(token, call{grace: grace, branch: branch})
		r.same(got, want)
	case 4:
		r.revokes(n)
	default:
		r.presents(n, token)
	}
	for _, user := range []string{token.UserID, oddTexts[r.random.IntN(len(oddTexts))]} {
		got, _ := r.store.Sessions(ctx, user)
		want := r.model.list(user)
		for _, list := range [][]Session{got, want} {
			slices.SortFunc(list, func(a, b Session) int { return strings.Compare(a.ID, b.ID) })
		}
		if !slices.Equal(got, want) {
			r.t.Errorf("%s: sessions\n%+v, want\n%+v", r.what, got, want)
		}
	}
}

func (r *modelRun) same(got, want Result) {
	r.verdicts[want.Verdict]++
	if got != want {
		r.t.Errorf("%s: %+v, want %+v", r.what, got, want)
	}
}

func (r *modelRun) presents(n int, token TokenRef) {
	now := time.Now()
	mark := int64(0)
	if sid, ok := id.Parse(token.SessionID); ok && r.random.IntN(8) > 0 {
		if s := r.model.sessions[sid]; s != nil {
			mark = s.mark
		} else {
			mark = r.model.users[token.UserID].mark
		}
	}
	next := token
	next.TokenID, next.Generation, next.IssuedAt, next.ExpiresAt = newID(), token.Generation+1, now, r.oddly(now.Add(time.Hour))
	next.Mark = mark
	p := Presentation{
		Token: token, SuccessorID: next.TokenID, SuccessorExpiresAt: next.ExpiresAt, SuccessorMark: mark, Confirming: r.random.IntN(2) == 0,
		SocketOpenedAt: now.Add(-time.Duration(r.random.Int64N(int64(time.Minute)))), PresentedAt: now.Add(-time.Duration(r.random.Int64N(int64(5 * time.Second)))),
		SupersededWithin: 5 * time.Second, EndOnReuse: r.random.IntN(20) == 0, Address: r.text(), UserAgent: r.text(),
	}
	next.Bound = token.Bound || token.Generation == 0 && token.Bind != ""
	next.Bind = ""
	switch r.random.IntN(30) {
	case 0:
		p.SuccessorID = ""
	case 1:
		p.SuccessorID = "no id"
	case 2:
		p.PresentedAt = time.Time{}
	}
	if r.random.IntN(8) == 0 {
		p.StepUp = StepUp{ID: []string{newID(), token.TokenID, "no id"}[r.random.IntN(3)], At: r.oddly(now)}
	}
	for range 1 + r.random.IntN(2) { // the reply is lost at times, or another of the client's tabs comes too
		got, err := r.store.Present(context.Background(), p)
		want, _ := r.model.decide(token, call{present: &p})
		if r.same(got, want); err != nil {
			r.t.Error(err)
		}
		if want.Verdict == Accepted && p.SuccessorID != "" {
			r.sessions[n] = append(r.sessions[n], next)
		}
		p.Address, p.UserAgent = r.text(), r.text()
	}
}

func (r *modelRun) revokes(n int) {
	token := r.sessions[n][0]
	rev := Revocation{UserID: token.UserID, Why: []Verdict{LoggedOut, Revoked, Stale, Stale}[r.random.IntN(4)], Keep: time.Duration(r.random.Int64N(int64(time.Hour)))}
	switch r.random.IntN(8) {
	case 0:
	case 1:
		rev.Except = token.SessionID
	case 2:
		rev.UserID, rev.All = "", true
	case 3:
		rev.SessionID = []string{newID(), "no id"}[r.random.IntN(2)]
	case 4:
		rev.SessionID = token.SessionID
		if sid, _ := id.Parse(token.SessionID); r.model.begun(sid) {
			rev.UserID = oddTexts[r.random.IntN(len(oddTexts))]
		}
	default:
		rev.SessionID = token.SessionID
	}
	if rev.Why == Stale && (rev.All || rev.Except != "") {
		rev.Why = Revoked
	}
	if r.random.IntN(20) == 0 {
		rev.Keep = []time.Duration{0, 1<<63 - 1}[r.random.IntN(2)]
	}
	got, err := r.store.Revoke(context.Background(), rev)
	if want := r.model.revoke(rev); got != want || err != nil {
		r.t.Errorf("%s: %+v: %+v, %v, want %+v", r.what, rev, got, err, want)
	}
}
