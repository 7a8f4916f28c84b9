package main

import (
	"path/filepath"
	"slices"
	"strconv"
	"testing"
	"testing/synctest"
)

func TestStoreKeepsTheLastMessages(t *testing.T) {
	store, err := openStore(t.Context(), filepath.Join(t.TempDir(), "chat.db"))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = store.Close() }()
	var said []message
	for n := range 60 {
		key := ""
		if n%2 == 0 {
			key = strconv.Itoa(n)
		}
		m, isNew, err := store.AddMessage(t.Context(), "Ada", strconv.Itoa(n), key)
		if err != nil || !isNew {
			t.Fatal(m, isNew, err)
		}
		said = append(said, m)
	}
	if kept, err := store.Messages(t.Context()); err != nil || !slices.Equal(kept, said[10:]) {
		t.Errorf("kept %+v, %v", kept, err)
	}
}

// TestStoreKnowsRepeats guards that what an author sends again is stored once, however much others
// have sent since, that it is answered with the message as it was stored, and that no more than 100
// keys of an author are kept.
func TestStoreKnowsRepeats(t *testing.T) {
	store, err := openStore(t.Context(), filepath.Join(t.TempDir(), "chat.db"))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = store.Close() }()
	add := func(author, text, key string) (m message, isNew bool) {
		t.Helper()
		m, isNew, err := store.AddMessage(t.Context(), author, text, key)
		if err != nil {
			t.Fatal(err)
		}
		return m, isNew
	}
	first, isNew := add("Ada", "one", "k")
	if !isNew {
		t.Error("the first message is not new")
	}
	if other, isNew := add("Bob", "two", "k"); !isNew || other.ID == first.ID {
		t.Errorf("the same key of another author: %+v, new %t", other, isNew)
	}
	for n := range 1001 {
		add("Eve", "x", strconv.Itoa(n))
	}
	for n := range 99 {
		add("Ada", "y", strconv.Itoa(n))
	}
	if again, isNew := add("Ada", "another text", "k"); isNew || again != first {
		t.Errorf("sent again: %+v, new %t; was %+v", again, isNew, first)
	}
	add("Ada", "y", "99")
	if again, isNew := add("Ada", "one", "k"); !isNew || again.ID == first.ID {
		t.Errorf("sent again after 100 others of the author: %+v, new %t", again, isNew)
	}
	var kept int
	if err := store.db.QueryRowContext(t.Context(), `SELECT max(n) FROM (SELECT count(*) AS n FROM sent GROUP BY author)`).Scan(&kept); err != nil || kept != 100 {
		t.Errorf("%d keys of one author are kept, %v", kept, err)
	}
}

func TestRoomCountsUsersNotTabs(t *testing.T) {
	r := newRoom()
	r.enter("1", "Ada")
	r.enter("2", "Ada")
	if here := r.enter("3", "Bob"); !slices.Equal(here.Names, []string{"Ada", "Bob"}) {
		t.Errorf("online %v", here.Names)
	}
	if still, ok := r.leave("1"); !ok || !slices.Equal(still.Names, []string{"Ada", "Bob"}) {
		t.Errorf("one tab closed: %v", still.Names)
	}
	if still, ok := r.leave("2"); !ok || !slices.Equal(still.Names, []string{"Bob"}) {
		t.Errorf("both tabs closed: %v", still.Names)
	}
	if _, ok := r.leave("2"); ok {
		t.Error("left twice")
	}
}

func TestRoomVersionsGrow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) { // where time stands still
		r := newRoom()
		first := r.enter("1", "Ada")
		second := r.enter("2", "Bob")
		third, _ := r.leave("2")
		if second.Version <= first.Version || third.Version <= second.Version {
			t.Errorf("%d, %d, %d", first.Version, second.Version, third.Version)
		}
	})
}
