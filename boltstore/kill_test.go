package boltstore_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	mathrand "math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/z-open/socketauth/blacklist"
	"github.com/z-open/socketauth/boltstore"
)

// killTime is how long the test kills the store again and again.
const killTime = 6 * time.Second

func TestWhatHasReturnedSurvivesKill(t *testing.T) {
	// Guards: the promise of durability. After a kill no invalid token is accepted, and no valid
	// token is lost.
	k := &killer{path: filepath.Join(t.TempDir(), "sessions.db"), known: make(map[string]state)}
	few := func() bool { return k.kills < 5 || k.decisions < 100 || k.undecided == 0 } // too few to show anything
	for begun := time.Now(); time.Since(begun) < killTime || few() && time.Since(begun) < time.Minute; {
		if err := k.round(); err != nil {
			t.Fatalf("after %d kills and %d decisions: %v", k.kills, k.decisions, err)
		}
	}
	if few() {
		t.Error("too few decisions or kills to say anything")
	}
	t.Logf("%d kills, %d decisions, %d steps under way when killed, %d sessions", k.kills, k.decisions, k.undecided, len(k.known))
}

func TestKillFindsEarlyAnswers(t *testing.T) {
	// Guards: the test above can fail.
	k := &killer{path: filepath.Join(t.TempDir(), "sessions.db"), known: make(map[string]state), env: []string{earlyEnv + "=1"}}
	for end := time.Now().Add(time.Minute); time.Now().Before(end); {
		if err := k.round(); err != nil {
			t.Logf("found after %d kills: %v", k.kills, err)
			return
		}
	}
	t.Errorf("not found in %d kills", k.kills)
}

type killer struct {
	path                        string
	env                         []string
	known                       map[string]state // what must be true, by session
	kills, decisions, undecided int
}

// round starts a process that uses the store, kills it, and checks all that the process has
// printed.
func (k *killer) round() error {
	child := exec.Command(os.Args[0])
	child.Env = append(append(os.Environ(), childEnv+"="+k.path), k.env...)
	var complaint bytes.Buffer
	child.Stderr = &complaint
	out, err := child.StdoutPipe()
	if err != nil {
		return err
	}
	if err := child.Start(); err != nil {
		return err
	}
	said := json.NewDecoder(out)
	under := make(map[int][]state)
	var end *time.Timer
	for {
		var s saying
		if err := said.Decode(&s); err != nil {
			if err != io.EOF && err != io.ErrUnexpectedEOF {
				return err
			}
			break
		}
		if end == nil { // the process is working
			end = time.AfterFunc(mathrand.N(150*time.Millisecond), func() { _ = child.Process.Kill() })
			defer end.Stop()
		}
		if !s.Done {
			if s.All {
				for _, known := range k.known {
					s.Then = append(s.Then, known.holds())
				}
			}
			under[s.N] = s.Then
			continue
		}
		for _, then := range under[s.N] {
			k.known[then.SessionID] = then
		}
		delete(under, s.N)
		k.decisions++
	}
	_ = child.Wait()
	if complaint.Len() > 0 {
		return fmt.Errorf("the process said: %s", complaint.String())
	}
	k.kills++
	return k.look(under)
}

// look opens the store and expects each session in its known state, or in the state after a step
// that had not returned.
func (k *killer) look(under map[int][]state) error {
	store, err := boltstore.Open(k.path)
	if err != nil {
		return err
	}
	defer store.Close()
	for _, then := range under {
		k.undecided++
		for _, s := range then {
			if before, known := k.known[s.SessionID]; known && stands(store, before) == nil {
				continue
			}
			if err := stands(store, s); err != nil {
				before, known := k.known[s.SessionID]
				if known || len(s.Dead) > 0 && s.Dead[0].Generation > 0 {
					return fmt.Errorf("a session with a step under way stands neither as before (%v) nor as after (%w)", stands(store, before), err)
				}
				continue // it never began
			}
			k.known[s.SessionID] = s
		}
	}
	for _, s := range k.known {
		if err := stands(store, s); err != nil {
			return err
		}
	}
	return nil
}

// stands returns how a session differs from its known state.
func stands(store blacklist.Store, s state) error {
	check := func(tokens []tokenID, accepted bool) error {
		for _, t := range tokens {
			v, err := verdict(store.Check(context.Background(), s.ref(t), 0, 0))
			if err != nil {
				return err
			}
			if (v == blacklist.Accepted) != accepted {
				return fmt.Errorf("generation %d of a session with %d live tokens: verdict %d", t.Generation, len(s.Live), v)
			}
		}
		return nil
	}
	if err := check(s.Live, true); err != nil {
		return err
	}
	return check(s.Dead, false)
}
