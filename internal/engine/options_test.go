package engine

import (
	"slices"
	"testing"
	"time"
)

func TestDefaults(t *testing.T) {
	// Guards the documented defaults, and that they replace only zero values.
	o := Options{}.WithDefaults()
	got := []any{o.PingInterval, o.PingTimeout, o.ConnectTimeout, o.FlushTimeout, o.WriteTimeout, o.MaxPayload, o.MaxAttachments, o.MaxQueue}
	want := []any{25 * time.Second, 20 * time.Second, 45 * time.Second, 5 * time.Second, 10 * time.Second, 1 << 20, 16, 4 << 20}
	if !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
	if o.Describe(nil) != nil || o.Logger == nil {
		t.Error("no Describe or no Logger")
	}
	if o := (Options{MaxQueue: 1, PingInterval: time.Minute}).WithDefaults(); o.MaxQueue != 1 || o.PingInterval != time.Minute {
		t.Errorf("what was set is %d, %v", o.MaxQueue, o.PingInterval)
	}
}
