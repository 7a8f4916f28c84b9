package fairqueue

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
)

// line has those of the names wait for the one worker, in this order, and gives what becomes of them.
func line(t *testing.T, turns *Queue, names string) <-chan string {
	t.Helper()
	where := func(name string) (string, string) {
		if strings.ToUpper(name) == name {
			return "", name // capitals are of one crowd
		}
		return name, ""
	}
	ended := make(chan string, len(names))
	for _, name := range strings.Split(names, "") {
		go func() {
			crowd, of := where(name)
			if err := turns.Begin(t.Context(), crowd, of); err != nil {
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
		if err := turns.Begin(t.Context(), "x", ""); err != nil {
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
		if turns.free != 1 || turns.room != 10 || len(turns.next)+len(turns.crowds) != 0 {
			t.Errorf("left: %+v", turns)
		}
	})
}

func TestLongestLineMakesRoom(t *testing.T) {
	// Guards: one that has taken all the room must not keep all others out.
	synctest.Test(t, func(t *testing.T) {
		turns := New(1, 3)
		if err := turns.Begin(t.Context(), "x", ""); err != nil {
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

func TestCrowdTakesTurnsAsOne(t *testing.T) {
	// Guards: who makes up a name each time must neither have a turn for each, nor keep others out.
	for _, tt := range []struct {
		room        int
		names, want string
	}{
		{10, "ABCDaAb", "AabBCDA"}, // the crowd's names take its turns
		{10, "AAABa", "AaBAA"},
		{3, "AAAB", "no A,A,B,A"}, // in a crowd the longest line makes room
		{3, "AAABCD", "no A,no A,no D,A,B,C"},
		{3, "ABCa", "no C,A,a,B"},       // a crowd of single names makes room for another
		{3, "ABCaD", "no C,no D,A,a,B"}, // but not for its own
		{3, "aaaA", "no a,a,A,a"},
	} {
		synctest.Test(t, func(t *testing.T) {
			turns := New(1, tt.room)
			if err := turns.Begin(t.Context(), "x", ""); err != nil {
				t.Fatal(err)
			}
			ended := line(t, turns, tt.names)
			var got []string
			refused := len(ended)
			for range refused {
				got = append(got, <-ended)
			}
			turns.End()
			for range len(tt.names) - refused {
				got = append(got, <-ended)
			}
			want := tt.want
			if tt.room == 10 {
				want = strings.Join(strings.Split(want, ""), ",")
			}
			all := strings.Join(got, ",")
			if strings.Contains(want, "no C") { // any of the single names
				all = strings.NewReplacer("no A", "no one", "no B", "no one", "no C", "no one", "no D", "no one").Replace(all)
				want = strings.NewReplacer("no C", "no one", "no D", "no one").Replace(want)
				if strings.Count(all, "no one") != refused || refused != strings.Count(want, "no one") || !strings.Contains(all, ",a,") {
					t.Errorf("%s: %s, want such as %s", tt.names, all, tt.want)
				}
				return
			}
			if all != want {
				t.Errorf("%s: %s, want %s", tt.names, all, want)
			}
			synctest.Wait()
			if turns.free != 1 || turns.room != tt.room || len(turns.next)+len(turns.crowds) != 0 {
				t.Errorf("left: %+v", turns)
			}
		})
	}
}

func TestWhoLeavesTakesNoTurn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		turns := New(1, 2)
		if err := turns.Begin(t.Context(), "x", ""); err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error)
		go func() { ended <- turns.Begin(ctx, "a", "") }()
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
