package blacklisttest_test

import (
	"bytes"
	"context"
	"errors"
	"os"
	"os/exec"
	"regexp"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/z-open/socketauth/blacklist"
)

// fault is a store that breaks one promise, with the promise of the suite that must detect it.
type fault struct {
	found  string
	breaks func(*broken)
}

const otherID = "AAAAAAAAAAAAAAAAAAAAAA"

// faults holds the faults, by what is wrong with the store.
func faults() map[string]fault {
	return map[string]fault{
		"a replaced token is accepted": {"A plain client's successor is alive at once and its predecessor dead", func(b *broken) {
			b.present = func(ctx context.Context, p blacklist.Presentation) (blacklist.Verdict, error) {
				v, err := b.Store.Present(ctx, p)
				if v == blacklist.Replaced {
					v = blacklist.Accepted
				}
				return v, err
			}
		}},
		"a successor is confirmed when it is minted": {"A confirming client's predecessor lives until its successor is confirmed", presents(func(p *blacklist.Presentation) { p.Confirming = false })},
		"a replaced token passes a check": {"Presenting a successor confirms it", func(b *broken) {
			b.check = func(ctx context.Context, t blacklist.TokenRef, grace, branch time.Duration) (blacklist.Verdict, error) {
				v, err := b.Store.Check(ctx, t, grace, branch)
				if v == blacklist.Replaced {
					v = blacklist.Accepted
				}
				return v, err
			}
		}},
		"a lost branch is confirmed":           {"At most one branch survives a confirmation", confirms(blacklist.Superseded, blacklist.Accepted)},
		"lost branches are told wrong":         {"Presenting a branch kills the others", confirms(blacklist.Replaced, blacklist.Superseded)},
		"a plain client's successor waits":     {"A plain client takes the generation from unconfirmed branches", presents(func(p *blacklist.Presentation) { p.Confirming = true })},
		"a repeated step is a second one":      {"A token presented again for the same successor gets the same verdict", presents(func(p *blacklist.Presentation) { p.SuccessorID = newID(p.SuccessorID) })},
		"no reuse is told twice":               {"Refusals are the same each time", second(blacklist.Superseded, blacklist.Replaced)},
		"a token that is to be kept is not":    {"A token kept as it is is confirmed and stays the latest", presents(func(p *blacklist.Presentation) { p.SuccessorID = newID(p.SuccessorID) })},
		"a code is kept":                       {"A code is never kept", presents(func(p *blacklist.Presentation) { p.SuccessorID = or(p.SuccessorID, otherID) })},
		"an old token is confirmed":            {"A confirmation says what became of its token", confirms(blacklist.Replaced, blacklist.Accepted)},
		"any token is confirmed":               {"A confirmation says what became of its token", confirms(blacklist.Unknown, blacklist.Accepted)},
		"a confirmation is not told again":     {"A confirmation says what became of its token", func(b *broken) { confirmedOnce(b) }},
		"a check confirms":                     {"A check records nothing", func(b *broken) { checkConfirms(b) }},
		"a check knows no grace":               {"A check spares the predecessor for the grace it is given", checks(func(grace, _ *time.Duration) { *grace = 0 })},
		"a check's grace has no end":           {"A check spares the predecessor for the grace it is given", checks(func(grace, _ *time.Duration) { *grace *= 1e6 })},
		"an unconfirmed token passes for ever": {"A check takes an unconfirmed successor for as long as it is told", checks(func(_, branch *time.Duration) { *branch = 0 })},
		"unconfirmed tokens are confirmed": {"A check says whether nobody has confirmed a token", func(b *broken) {
			b.result = func(_ string, r *blacklist.Result) { r.Unconfirmed = false }
		}},
		"confirmed tokens are unconfirmed": {"A check says whether nobody has confirmed a token", func(b *broken) {
			b.result = func(_ string, r *blacklist.Result) { r.Unconfirmed = r.Verdict == blacklist.Accepted }
		}},
		"reuse ends nothing":            {"Reuse ends the session if the app wants that", presents(func(p *blacklist.Presentation) { p.EndOnReuse = false })},
		"a lost branch is no reuse":     {"A lost branch presented is reuse", presents(func(p *blacklist.Presentation) { p.EndOnReuse = p.EndOnReuse && p.Confirming })},
		"reuse always ends the session": {"Reuse that is not to end the session changes nothing", presents(func(p *blacklist.Presentation) { p.EndOnReuse = true })},
		"a late frame is reuse":         {"A late frame of up to ten generations ago is no reuse", presents(func(p *blacklist.Presentation) { p.SupersededWithin = 0 })},
		"a new socket may be late":      {"A token presented on a socket opened after it was replaced is reuse", presents(func(p *blacklist.Presentation) { p.SocketOpenedAt = time.Time{} })},
		"a frame may be late for ever":  {"A token replaced longer ago than SupersededWithin is reuse", presents(func(p *blacklist.Presentation) { p.SupersededWithin = 24 * time.Hour })},
		"an expired token's session is unknown": {"A token that was replaced and has expired is judged as any other", tokens(func(t *blacklist.TokenRef) {
			if t.ExpiresAt.Before(time.Now()) {
				t.SessionID = otherID
			}
		})},
		"an expired token counts as replaced": {"A predecessor that has expired is alive while nobody holds the next", func(b *broken) {
			b.check = func(ctx context.Context, t blacklist.TokenRef, grace, branch time.Duration) (blacklist.Verdict, error) {
				if t.ExpiresAt.Before(time.Now()) {
					return blacklist.Replaced, nil
				}
				return b.Store.Check(ctx, t, grace, branch)
			}
		}},
		"a token of an unknown session is let in": {"Tokens of unknown sessions are refused and leave nothing behind", presents(func(p *blacklist.Presentation) {
			if p.Token.Generation == 1 {
				p.Token.Generation = 0
			}
		})},
		"generations have 32 bits":             {"A generation ahead is unknown and burns nothing", tokens(func(t *blacklist.TokenRef) { t.Generation = uint64(uint32(t.Generation)) })},
		"codes are not told apart":             {"A second code of a session is no way into it", tokens(func(t *blacklist.TokenRef) { t.TokenID = oneCode(t) })},
		"codes of before are accepted":         {"A code of before the store remembers is unknown", tokens(func(t *blacklist.TokenRef) { t.IssuedAt = time.Now() })},
		"sessions are not told apart":          {"Sessions know nothing of each other", tokens(func(t *blacklist.TokenRef) { t.SessionID = otherID })},
		"a session is not revoked":             {"Revoking a session ends it and no other", revokes(func(r *blacklist.Revocation) { r.SessionID = or2(r.SessionID, otherID) })},
		"a session's revocation says too much": {"Revoking a session ends it and no other", func(b *broken) { revokesMore(b) }},
		"an unknown session is not revoked":    {"A session revoked before its code was used stays dead", func(b *broken) { revokesKnown(b) }},
		"a user's codes live on":               {"Revoking a user ends all their sessions and nobody else's", tokens(func(t *blacklist.TokenRef) { t.AuthTime = time.Now() })},
		"there is no exception":                {"Revoking a user but for one session leaves that alone alive", revokes(func(r *blacklist.Revocation) { r.Except = "" })},
		"an exception that has not begun":      {"Revoking a user but for one session leaves that alone alive", func(b *broken) { exceptsAny(b) }},
		"revocations last an hour":             {"A log-in after the revocation of its user works", tokens(func(t *blacklist.TokenRef) { t.AuthTime = t.AuthTime.Truncate(time.Hour) })},
		"revocations of all last an hour":      {"A log-in after the revocation of all works", tokens(func(t *blacklist.TokenRef) { t.AuthTime = t.AuthTime.Truncate(time.Hour) })},
		"a user's revocation is not kept":      {"Revoking a user nobody knows kills the codes of before", func(b *broken) { revokesSessions(b) }},
		"not all are revoked": {"Revoking all ends every session", revokes(func(r *blacklist.Revocation) {
			if r.All {
				r.All, r.UserID = false, "nobody"
			}
		})},
		"the last reason counts": {"The reason that a session ended for first stays", func(b *broken) { lastReason(b) }},
		"a user is revoked once": {"A later revocation of a user reaches what came after the earlier", func(b *broken) { revokesUserOnce(b) }},
		"any revocation will do": {"A revocation that says too little, too much or no reason is an error and ends nothing", func(b *broken) { takesAll(b) }},
		"another user's session is told": {"Sessions tells the living sessions of the user", sessions(func(list []blacklist.Session) []blacklist.Session {
			return append(list, blacklist.Session{ID: otherID})
		})},
		"user agents are cut short": {"Sessions tells who, since when, until when and from where", sessions(func(list []blacklist.Session) []blacklist.Session {
			for n := range list {
				list[n].UserAgent = list[n].UserAgent[:min(10, len(list[n].UserAgent))]
			}
			return list
		})},
		"a session was seen when it began": {"Sessions tells who, since when, until when and from where", sessions(func(list []blacklist.Session) []blacklist.Session {
			for n := range list {
				list[n].LastSeen = list[n].Since
			}
			return list
		})},
		"ended sessions stay in their user's list": {"Sessions reads nothing of those that have ended", func(b *broken) { readsAll(b) }},
		"users are told apart by their capitals":   {"Users are told apart whatever they are called", func(b *broken) { lowerUsers(b) }},
		"confirmations are not heard of": {"Every watcher hears each change once and nothing else", watches(func(_ *broken, heard func(blacklist.Change), c blacklist.Change) {
			if c.Verdict != blacklist.Accepted {
				heard(c)
			}
		})},
		"changes are heard twice": {"Every watcher hears each change once and nothing else", watches(func(_ *broken, heard func(blacklist.Change), c blacklist.Change) {
			heard(c)
			heard(c)
		})},
		"who has gone hears on":    {"A watcher hears until its context ends", func(b *broken) { watchesOn(b) }},
		"a watcher is held a lock": {"A watcher may ask the store", func(b *broken) { tellsLocked(b) }},
		"a step is two":            {"Of many presentations of a plain client's token one is accepted", func(b *broken) { presentsInTwo(b) }},
		"a confirmation is two":    {"Of many confirmations of branches one is accepted", func(b *broken) { confirmsInTwo(b) }},
		"a branch's step is two":   {"Of branches presented at once one survives", func(b *broken) { presentsInTwo(b) }},
		"each reuse is the first":  {"Reuse at once is found and ends the session once", second(blacklist.SessionCompromised, blacklist.ReuseDetected, 0)},
		"a rotation wins":          {"A revocation that races a rotation leaves no survivor", func(b *broken) { revokesLater(b) }},
		"a log-in wins":            {"A revocation that races a log-in leaves no survivor", func(b *broken) { revokesLater(b) }},
		"a session ends twice":     {"Revocations at once count each session once", func(b *broken) { countsOne(b) }},
		"all share one generation": {"Sessions in parallel do not disturb each other", func(b *broken) { oneAtATime(b) }},
		"contexts do not matter": {"A context that has ended is an error, and nothing is recorded", func(b *broken) {
			b.present = func(ctx context.Context, p blacklist.Presentation) (blacklist.Verdict, error) {
				return b.Store.Present(context.WithoutCancel(ctx), p)
			}
		}},
		"a context that has ended is an error afterwards": {"A context that has ended is an error, and nothing is recorded", func(b *broken) {
			b.confirm = func(ctx context.Context, t blacklist.TokenRef) (blacklist.Verdict, error) {
				v, err := b.Store.Confirm(context.WithoutCancel(ctx), t)
				return v, errors.Join(err, ctx.Err())
			}
		}},
		"ids may be longer": {"Ids that are none are unknown, and burn nothing", tokens(func(t *blacklist.TokenRef) { t.TokenID = t.TokenID[:min(22, len(t.TokenID))] })},

		"another's session is revoked":        {"A session of another user is left alone", func(b *broken) { revokesAnothers(b) }},
		"a token is not asked whose it is":    {"A token whose user is not the session's is unknown and burns nothing", func(b *broken) { tokensOfAnyone(b) }},
		"marks are not compared":              {"Claims below the mark are stale, which consumes nothing", presents(func(p *blacklist.Presentation) { p.SuccessorMark = 1 << 62 })},
		"what is stale is used all the same":  {"Claims below the mark are stale, which consumes nothing", func(b *broken) { staleConsumes(b) }},
		"a token that is kept may be stale":   {"A token that is kept is compared with the mark", presents(keptIsFresh)},
		"a check does not look at marks":      {"A check is compared with the mark", func(b *broken) { b.result = staleIs("Check", blacklist.Accepted) }},
		"what is stale is confirmed":          {"A branch below the mark is not confirmed, and can be presented", func(b *broken) { confirmsStale(b) }},
		"what is stale is dead":               {"A branch below the mark is not confirmed, and can be presented", func(b *broken) { forgetsStale(b) }},
		"marks come first":                    {"Revocation and reuse come before the mark", func(b *broken) { marksFirst(b) }},
		"each session has a mark of its own":  {"A mark is above all of before, and the same in each session", func(b *broken) { raisesEach(b) }},
		"sessions begin without a mark":       {"A session begins with the mark of its user", presents(beginsFresh)},
		"marks are raised a moment later":     {"No claims of before a mark are accepted once it is raised", func(b *broken) { raisesLater(b) }},
		"a user's mark is kept a minute":      {"A user's mark is kept as long as a code of before can live", revokes(func(r *blacklist.Revocation) { r.Keep = time.Minute })},
		"a step-up is always new":             {"A step-up is good if it is later than the last proof, and once", presents(stepUpIsNew)},
		"a step-up is good once only":         {"A step-up whose reply was lost is good again until a generation is held", presents(func(p *blacklist.Presentation) { p.StepUp.ID = or2(p.StepUp.ID, newID("")) })},
		"a step-up outlives a revocation":     {"A step-up is refused that is older than its user's revocation", func(b *broken) { exceptsAll(b) }},
		"a step-up begins a session":          {"A step-up begins no session and replaces a token", presents(stepUpOfCode)},
		"a step-up comes first":               {"Revocation and reuse come before a step-up, and it before the mark", func(b *broken) { stepUpFirst(b) }},
		"a session is bound at any time":      {"A session is bound from its beginning or never", func(b *broken) { bindsAnytime(b) }},
		"a code may be bound again":           {"A code that comes with another key than before is reuse, however soon", tokens(bindsAgain)},
		"any key will do":                     {"A code that comes with another key than before is reuse, however soon", tokens(anyKey)},
		"another key is late":                 {"A code that comes with another key than before is reuse, however soon", func(b *broken) { otherKeysAreLate(b) }},
		"a code that was bound is used up":    {"A code that was bound by its trade is good for the same key until its successor is held", tokens(bindsOnce)},
		"a code that names its key has two":   {"A code that names its key needs no other", tokens(comparesKeysOfBound)},
		"a revocation takes a code its key":   {"A step-up and a mark leave a code with its key", func(b *broken) { cutsForgetKeys(b) }},
		"each key gets a session":             {"Of many who trade a code with keys of their own one gets in", func(b *broken) { presentsInTwo(b) }},
		"a session gets a key later":          {"A session that began without a key gets none", tokens(func(t *blacklist.TokenRef) { t.Bind = "" })},
		"the key of a code is lost":           {"A code knows the key it was bound to over a restart", func(b *broken) { b.forgets = true }},
		"marks, proofs and bindings are lost": {"Marks, proofs and bindings survive a restart", func(b *broken) { b.forgets = true }},

		"SupersededWithin is longer": {"SupersededWithin is a bound", presents(func(p *blacklist.Presentation) { p.SupersededWithin += time.Millisecond })},
		"a socket was opened earlier than said": {"A socket opened before its token was replaced, not after, may be late", presents(func(p *blacklist.Presentation) {
			p.SocketOpenedAt = p.SocketOpenedAt.Add(-time.Second)
		})},
		"revocations are kept a minute": {"Nothing is forgotten while a token lives", revokes(func(r *blacklist.Revocation) { r.Keep = time.Minute })},
		"sessions are forgotten early": {"Nothing is forgotten while a token lives", presents(func(p *blacklist.Presentation) {
			p.Token.ExpiresAt, p.SuccessorExpiresAt = p.Token.ExpiresAt.Add(-3*time.Minute), p.SuccessorExpiresAt.Add(-3*time.Minute)
		})},
		"revocations end with Keep": {"What is ended stays so while its tokens live, however short Keep is", func(b *broken) { revokesForKeep(b) }},
		"sessions live longer": {"A session lives until the latest expiry of its tokens", presents(func(p *blacklist.Presentation) {
			p.SuccessorExpiresAt = p.SuccessorExpiresAt.Add(time.Hour)
		})},
		"watchers hear later": {"Watchers hear of a change before its method returns", watches(func(_ *broken, heard func(blacklist.Change), c blacklist.Change) {
			time.AfterFunc(time.Millisecond, func() { heard(c) })
		})},

		"log-ins wait for the clock":                     {"A clock set back keeps nobody from logging in or staying in", func(b *broken) { loginsWait(b) }},
		"log-ins wait for the clock if it has forgotten": {"A clock set back keeps nobody from logging in after others were forgotten", func(b *broken) { loginsWait(b) }},
		"an age below zero is young":                     {"A replaced token passes no check for longer since the clock was set back", func(b *broken) { negativeIsYoung(b) }},
		"an age below zero is a moment ago":              {"Reuse is noticed though the clock was set back", func(b *broken) { negativeIsLate(b) }},
		"codes of the future are good": {"A code issued before the clock was set back begins nothing once its session is forgotten", tokens(func(t *blacklist.TokenRef) {
			if now := time.Now(); t.IssuedAt.After(now) {
				t.IssuedAt = now
			}
		})},
		"marks go by the clock":                       {"A mark is above those of before though the clock was set back", func(b *broken) { marksByTheClock(b) }},
		"a revocation ends if the clock was set back": {"What is over stays so if the clock is set back", func(b *broken) { revokedUntilSetBack(b) }},

		"sessions are lost":      {"Living sessions survive a restart, and no token that was replaced", func(b *broken) { b.forgets = true }},
		"steps are lost":         {"A step repeated after a restart gets the same verdict", func(b *broken) { b.forgets = true }},
		"revocations are lost":   {"What was revoked stays so over a restart, for its first reason", func(b *broken) { b.forgets = true }},
		"the end of all is lost": {"After a revocation of all and a restart nothing of before is accepted", func(b *broken) { b.forgets = true }},
		"unused codes are lost":  {"A code issued before a restart is good once", func(b *broken) { b.forgets = true }},
	}
}

// TestEachPromiseIsFoundBroken runs the suite on stores that each have one fault, in separate
// processes.
func TestEachPromiseIsFoundBroken(t *testing.T) {
	if os.Getenv(faultEnv) != "" {
		t.Fatal("a process with a fault runs another's test")
	}
	all, err := exec.Command(os.Args[0], "-test.run=^TestMemory", "-test.v").CombinedOutput()
	if err != nil {
		t.Fatalf("without a fault: %v\n%s", err, all)
	}
	unbroken := make(map[string]string) // the test's name of each promise
	for _, m := range regexp.MustCompile(`(?m)^ +--- PASS: (TestMemory\w*/(.*)) \(`).FindAllStringSubmatch(string(all), -1) {
		unbroken[m[2]] = m[1]
	}
	if len(unbroken) < 40 {
		t.Fatalf("found %d promises", len(unbroken))
	}
	turns := make(chan struct{}, runtime.GOMAXPROCS(0)+1)
	var running sync.WaitGroup
	var found atomic.Int32
	for wrong, f := range faults() {
		promise := strings.ReplaceAll(f.found, " ", "_")
		test, ok := unbroken[promise]
		if !ok {
			t.Errorf("%s: there is no promise %q", wrong, f.found)
			continue
		}
		running.Go(func() {
			turns <- struct{}{}
			defer func() { <-turns }()
			top, _, _ := strings.Cut(test, "/")
			child := exec.Command(os.Args[0], "-test.run=^"+top+"$/^"+regexp.QuoteMeta(promise)+"$", "-test.timeout=1m")
			child.Env = append(os.Environ(), faultEnv+"="+wrong)
			out, err := child.CombinedOutput()
			if err == nil || !bytes.Contains(out, []byte("--- FAIL: "+test)) || bytes.Contains(out, []byte("DATA RACE")) || bytes.Contains(out, []byte("panic:")) {
				t.Errorf("%s: %v, and not found by %q:\n%s", wrong, err, f.found, out)
				return
			}
			found.Add(1)
		})
	}
	running.Wait()
	for _, f := range faults() {
		delete(unbroken, strings.ReplaceAll(f.found, " ", "_"))
	}
	for promise := range unbroken {
		t.Errorf("no fault breaks %q", promise)
	}
	t.Logf("%d faults found", found.Load())
}
