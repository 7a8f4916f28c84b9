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
