package socketauth

import (
	"encoding/json"
	"testing"
	"time"
	"unsafe"
)

// FuzzTokenIn checks that any argument of authenticate is read as encoding/json reads it.
func FuzzTokenIn(f *testing.F) {
	f.Add(`{"token":"x"}`)
	f.Add(`{"token":{"toString":1}}`)
	f.Add(`[]`)
	for _, seed := range []string{`null`, `5`, `"x"`, `{"token":5}`, `{"token":null}`, `{"token":""}`, `{"TOKEN":"x","confirm":true}`, `{"token":"x","confirm":"true"}`, `{"token":"\ud800"}`,
		`{"toKen":"x","toKen":"y"}`, `{"to\u006ben":"x.y"}`, ` { "a":{"token":"x"} , "token" : "x" , "confirm" : false } `, `{"confirm":true}`, `{"token":"x","confirm":null}`,
		`{"token":"x","confirm":"tru\u0065"}`, `{"token":"x","confirm":[1]}`, `{}`, `[{"token":"x"}]`, "{\"token\":\"\xff\"}", `true`, `{"token":"x","confirm":"yes"}`} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, auth string) {
		if !json.Valid([]byte(auth)) {
			return
		}
		p, given := presentedAs(json.RawMessage(auth), time.Time{})
		want, due := decodePresented(auth)
		if p != want || given != due {
			t.Errorf("%q is read as %+v, %v, and encoding/json reads %+v, %v", auth, p, given, want, due)
		}
	})
}

// decodePresented is presentedAs by encoding/json.
func decodePresented(object string) (p presented, given bool) {
	var in struct{ Token, Confirm json.RawMessage }
	if json.Unmarshal([]byte(object), &in) != nil {
		return p, true
	}
	switch string(in.Token) {
	case "", "null", `""`:
		return p, false
	}
	_ = json.Unmarshal(in.Token, &p.token)
	var yes any
	if in.Confirm != nil {
		_ = json.Unmarshal(in.Confirm, &yes)
	}
	switch yes := yes.(type) {
	case nil:
	case bool:
		p.confirm = yes
	case string:
		if p.confirm = yes == "true"; !p.confirm && yes != "false" {
			p.unclear = "string"
		}
	case float64:
		p.unclear = "number"
	case []any:
		p.unclear = "array"
	default:
		p.unclear = "object"
	}
	return p, true
}

// TestClockSetBackLateFrame checks that a socket opened before the wall clock was set back keeps
// its place in time, so that its late frame is no reuse. It runs outside a bubble, whose times have
// no monotonic reading.
func TestClockSetBackLateFrame(t *testing.T) {
	now := time.Now()
	p := (&Socket{
		server:     &Server{auth: &Auth{config: new(config)}},
		connection: &connection{opened: readBefore(now, time.Hour)},
	}).presentation(new(token), readBefore(now, time.Hour))
	for name, got := range map[string]time.Time{"SocketOpenedAt": p.SocketOpenedAt, "PresentedAt": p.PresentedAt} {
		if off := got.Round(0).Sub(now.Round(0)).Abs(); off > time.Minute {
			t.Errorf("%s is %v off", name, off)
		}
	}
}

// readBefore returns t as if it had been read before the wall clock was set back by step: the same
// monotonic reading, a later wall clock.
func readBefore(t time.Time, step time.Duration) time.Time {
	wall := (*uint64)(unsafe.Pointer(&t)) // with a monotonic reading, seconds above 30 bits of nanoseconds
	*wall += uint64(step/time.Second) << 30
	return t
}
