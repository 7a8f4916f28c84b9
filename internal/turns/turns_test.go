package turns

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
)

// line has those of the names wait for the one worker, in this order, and gives what becomes of them.
func line(t *testing.T, turns *Turns, names string) <-chan string {
	t.Helper()
	ended := make(chan string, len(names))
	for _, name := range strings.Split(names, "") {
		go func() {
			if err := turns.Begin(t.Context(), name); err != nil {
				ended <- fmt.Sprint("no ", name)
				return
			}
			ended <- name
			turns.End()
		}()
		synctest.Wait()
	}
	return ended
}

func TestNamesTakeTurns(t *testing.T) {
	// Guards: one that brings many must not make all others wait for all of them.
	synctest.Test(t, func(t *testing.T) {
		turns := New(1, 10)
		if err := turns.Begin(t.Context(), "x"); err != nil {
			t.Fatal(err)
		}
		ended := line(t, turns, "aaaabbc")
		turns.End()
		for n, want := range strings.Split("abcabaa", "") {
			if got := <-ended; got != want {
				t.Errorf("turn %d: %q, want %q", n, got, want)
			}
		}
		synctest.Wait()
		if turns.free != 1 || turns.room != 10 || len(turns.next)+len(turns.lines) != 0 {
			t.Errorf("left: %+v", turns)
		}
	})
}

func TestLongestLineMakesRoom(t *testing.T) {
	// Guards: one that has taken all the room must not keep all others out.
	synctest.Test(t, func(t *testing.T) {
		turns := New(1, 3)
		if err := turns.Begin(t.Context(), "x"); err != nil {
			t.Fatal(err)
		}
		ended := line(t, turns, "aaaabcd")
		var got []string
		for range 4 {
			got = append(got, <-ended)
		}
		turns.End()
		for range 3 {
			got = append(got, <-ended)
		}
		if want := "no a,no a,no a,no d,a,b,c"; strings.Join(got, ",") != want {
			t.Errorf("%q, want %s", got, want)
		}
	})
}

func TestWhoLeavesTakesNoTurn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		turns := New(1, 2)
		if err := turns.Begin(t.Context(), "x"); err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error)
		go func() { ended <- turns.Begin(ctx, "a") }()
		synctest.Wait()
		if turns.Waiting() != 1 {
			t.Errorf("%d wait", turns.Waiting())
		}
		cancel()
		if err := <-ended; !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
		turns.End()
		if turns.free != 1 || turns.room != 2 || turns.Waiting() != 0 {
			t.Errorf("left: %+v", turns)
		}
	})
}
