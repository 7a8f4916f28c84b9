package main

import (
	"slices"
	"strconv"
	"testing"
	"testing/synctest"
)

func TestRoomKeepsTheLastMessages(t *testing.T) {
	r := newRoom()
	for n := range 60 {
		r.say("Ada", strconv.Itoa(n))
	}
	v := r.enter("1", "Bob")
	if n := len(v.Messages); n != 50 || v.Messages[0].Text != "10" || v.Messages[n-1].Text != "59" {
		t.Errorf("%d messages, %+v to %+v", n, v.Messages[0], v.Messages[n-1])
	}
}

func TestRoomCountsUsersNotTabs(t *testing.T) {
	r := newRoom()
	r.enter("1", "Ada")
	r.enter("2", "Ada")
	if v := r.enter("3", "Bob"); !slices.Equal(v.Online.Names, []string{"Ada", "Bob"}) {
		t.Errorf("online %v", v.Online.Names)
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

func TestRoomNumbersGrow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) { // where time stands still
		r := newRoom()
		first, second := r.say("Ada", "one"), r.say("Ada", "two")
		here := r.enter("1", "Ada").Online
		if second.ID <= first.ID || here.Version <= second.ID {
			t.Errorf("%d, %d, %d", first.ID, second.ID, here.Version)
		}
	})
}
