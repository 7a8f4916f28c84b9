package fairqueue

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
)

// line makes callers with these names wait for the one worker, in this order. The channel gets the
// name of each when it has its turn, or "no " and the name.
func line(t *testing.T, q *Queue, names string) <-chan string {
	t.Helper()
	where := func(name string) (string, string) {
		if strings.ToUpper(name) == name {
			return "", name // capitals belong to one group
		}
		return name, ""
	}
	ended := make(chan string, len(names))
	for _, name := range strings.Split(names, "") {
		go func() {
			group, of := where(name)
			if err := q.Acquire(t.Context(), group, of); err != nil {
				ended <- fmt.Sprint("no ", name)
				return
			}
			ended <- name
			q.Release()
		}()
		synctest.Wait()
	}
	return ended
}

func TestNamesTakeTurns(t *testing.T) {
	// Guards that a name with many callers does not make all others wait for all of them.
	synctest.Test(t, func(t *testing.T) {
		q := New(1, 10)
		if err := q.Acquire(t.Context(), "x", ""); err != nil {
			t.Fatal(err)
		}
		ended := line(t, q, "aaaabbc")
		q.Release()
		for n, want := range strings.Split("abcabaa", "") {
			if got := <-ended; got != want {
				t.Errorf("turn %d: %q, want %q", n, got, want)
			}
		}
		synctest.Wait()
		if q.free != 1 || q.room != 10 || len(q.next)+len(q.groups) != 0 {
			t.Errorf("left: %+v", q)
		}
	})
}

func TestLongestLineMakesRoom(t *testing.T) {
	// Guards that a name that has taken all the room does not keep all others out.
	synctest.Test(t, func(t *testing.T) {
		q := New(1, 3)
		if err := q.Acquire(t.Context(), "x", ""); err != nil {
			t.Fatal(err)
		}
		ended := line(t, q, "aaaabcd")
		var got []string
		for range 4 {
			got = append(got, <-ended)
		}
		q.Release()
		for range 3 {
			got = append(got, <-ended)
		}
		if want := "no a,no a,no a,no d,a,b,c"; strings.Join(got, ",") != want {
			t.Errorf("%q, want %s", got, want)
		}
	})
}

func TestGroupTakesTurnsAsOne(t *testing.T) {
	// Guards that whoever makes up a name each time gets no turn for each, and keeps nobody out.
	for _, tt := range []struct {
		room        int
		names, want string
	}{
		{10, "ABCDaAb", "AabBCDA"}, // the group's names share its turns
		{10, "AAABa", "AaBAA"},
		{3, "AAAB", "no A,A,B,A"}, // in a group the longest line makes room
		{3, "AAABCD", "no A,no A,no D,A,B,C"},
		{3, "ABCa", "no C,A,a,B"},       // a group of single names makes room for another
		{3, "ABCaD", "no C,no D,A,a,B"}, // but not for its own
		{3, "aaaA", "no a,a,A,a"},
	} {
		synctest.Test(t, func(t *testing.T) {
			q := New(1, tt.room)
			if err := q.Acquire(t.Context(), "x", ""); err != nil {
				t.Fatal(err)
			}
			ended := line(t, q, tt.names)
			var got []string
			refused := len(ended)
			for range refused {
				got = append(got, <-ended)
			}
			q.Release()
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
			if q.free != 1 || q.room != tt.room || len(q.next)+len(q.groups) != 0 {
				t.Errorf("left: %+v", q)
			}
		})
	}
}

func TestCancelledCaller(t *testing.T) {
	// Guards that a caller whose context ends takes no turn and leaves nothing behind.
	synctest.Test(t, func(t *testing.T) {
		q := New(1, 2)
		if err := q.Acquire(t.Context(), "x", ""); err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error)
		go func() { ended <- q.Acquire(ctx, "a", "") }()
		synctest.Wait()
		if q.Waiting() != 1 {
			t.Errorf("%d wait", q.Waiting())
		}
		cancel()
		if err := <-ended; !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
		q.Release()
		if q.free != 1 || q.room != 2 || q.Waiting() != 0 {
			t.Errorf("left: %+v", q)
		}
	})
}
