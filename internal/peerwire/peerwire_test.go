package peerwire

import (
	"bytes"
	"reflect"
	"testing"
	"time"

	"github.com/z-open/socketauth/internal/engine"
	"github.com/z-open/socketauth/internal/hub"
)

var (
	target  = Target{Server: 3, Groups: []hub.Group{{Kind: 'r', Name: "red"}, {Kind: 'u', Name: "\xff\x00"}, {Kind: 'a'}}}
	sockets = []Socket{{"anna", "sid", time.Unix(1, 2)}, {"", "", time.Unix(0, -1)}}
)

// TestWholeMessages checks that each form is read as it was written, and not if a byte is missing
// or one too many follows.
func TestWholeMessages(t *testing.T) {
	m, err := engine.NewMessage("news", "wörld \u2028", []byte{0, 255}, nil, []byte{})
	if err != nil {
		t.Fatal(err)
	}
	type emit struct {
		Target
		*engine.Message
	}
	for name, c := range map[string]struct {
		written []byte
		want    any
		read    func(b []byte) (any, bool)
	}{
		"target":     {target.Append(nil), target, func(b []byte) (any, bool) { return wrap(ParseTarget(b)) }},
		"nobody":     {Target{}.Append(nil), Target{}, func(b []byte) (any, bool) { return wrap(ParseTarget(b)) }},
		"revocation": {Revocation{UserID: "anna", Except: "x"}.Append(nil), Revocation{UserID: "anna", Except: "x"}, func(b []byte) (any, bool) { return wrap(ParseRevocation(b)) }},
		"all":        {Revocation{All: true}.Append(nil), Revocation{All: true}, func(b []byte) (any, bool) { return wrap(ParseRevocation(b)) }},
		"sockets":    {AppendSockets(nil, sockets), sockets, func(b []byte) (any, bool) { return wrap(ParseSockets(b)) }},
		"names":      {AppendNames(nil, []string{"a", "", "bcd"}), []string{"a", "", "bcd"}, func(b []byte) (any, bool) { return wrap(ParseNames(b)) }},
		"counts":     {AppendCounts(nil, 0, 300), []int{0, 300}, func(b []byte) (any, bool) { return wrap(ParseCounts(b, 2)) }},
		"emit": {AppendEmit(nil, target, m), emit{target, m}, func(b []byte) (any, bool) {
			to, m, ok := ParseEmit(b)
			return emit{to, m}, ok
		}},
	} {
		if got, ok := c.read(c.written); !ok || !reflect.DeepEqual(got, c.want) {
			t.Errorf("%s: %+v, %v, want %+v", name, got, ok, c.want)
		}
		for n := range c.written {
			if got, ok := c.read(c.written[:n:n]); ok {
				t.Errorf("%s: the first %d bytes are read as %+v", name, n, got)
			}
		}
		if got, ok := c.read(append(bytes.Clone(c.written), 0)); ok {
			t.Errorf("%s: with a byte after it, it is read as %+v", name, got)
		}
	}
}

func wrap[T any](v T, ok bool) (any, bool) { return v, ok }

// TestRefused checks that what no writer writes is refused.
func TestRefused(t *testing.T) {
	huge := []byte{255, 255, 255, 255, 7}
	for name, read := range map[string]bool{
		"a list of too many":        second(ParseNames(append(huge, 0))),
		"a number too large":        second(ParseCounts([]byte{1, 255, 255, 255, 255, 255, 1}, 1)),
		"another number of counts":  second(ParseCounts(AppendCounts(nil, 1), 2)),
		"a flag of 2":               second(ParseRevocation([]byte{1, 'a', 0, 0, 2})),
		"a revocation of nobody":    second(ParseRevocation(Revocation{}.Append(nil))),
		"all of a user":             second(ParseRevocation(Revocation{UserID: "a", All: true}.Append(nil))),
		"an event that is no array": emitted(`{}`),
		"an event without a name":   emitted(`[1]`),
		"an event that is no JSON":  emitted(`["news",]`),
	} {
		if read {
			t.Errorf("%s was accepted", name)
		}
	}
	if !emitted(`["news"]`) {
		t.Error("an event was refused")
	}
}

func second[T any](_ T, ok bool) bool { return ok }

func emitted(text string) bool {
	_, _, ok := ParseEmit(AppendEmit(nil, target, &engine.Message{Text: []byte(text)}))
	return ok
}

// FuzzParse checks that no reader panics or takes more memory than what it reads is worth, and that
// what is read is written again in the same way.
func FuzzParse(f *testing.F) {
	m, _ := engine.NewMessage("news", []byte{1})
	for _, b := range [][]byte{
		target.Append(nil), AppendEmit(nil, target, m), Revocation{All: true}.Append(nil), AppendSockets(nil, sockets),
		AppendNames(nil, []string{"a", ""}), AppendCounts(nil, 1, 2),
	} {
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		if v, ok := ParseTarget(b); ok {
			if again, ok := ParseTarget(v.Append(nil)); !ok || !reflect.DeepEqual(again, v) {
				t.Errorf("target %+v, again %+v", v, again)
			}
		}
		if to, m, ok := ParseEmit(b); ok {
			if to2, m2, ok := ParseEmit(AppendEmit(nil, to, m)); !ok || !reflect.DeepEqual(to, to2) || !reflect.DeepEqual(m, m2) {
				t.Errorf("emit %+v %+v, again %+v %+v", to, m, to2, m2)
			}
		}
		if v, ok := ParseRevocation(b); ok {
			if again, ok := ParseRevocation(v.Append(nil)); !ok || again != v {
				t.Errorf("revocation %+v, again %+v", v, again)
			}
		}
		if v, ok := ParseSockets(b); ok {
			if again, ok := ParseSockets(AppendSockets(nil, v)); !ok || !reflect.DeepEqual(again, v) {
				t.Errorf("sockets %+v, again %+v", v, again)
			}
		}
		if v, ok := ParseNames(b); ok {
			if again, ok := ParseNames(AppendNames(nil, v)); !ok || !reflect.DeepEqual(again, v) {
				t.Errorf("names %+v, again %+v", v, again)
			}
		}
		if v, ok := ParseCounts(b, 2); ok {
			if again, ok := ParseCounts(AppendCounts(nil, v...), 2); !ok || !reflect.DeepEqual(again, v) {
				t.Errorf("counts %+v, again %+v", v, again)
			}
		}
	})
}
