package socketauth

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/z-open/socketauth/internal/engine"
)

// TestHandlerContext guards that the context of a handler is one that package context can use, has
// the claims, ends as the socket does, and does not show what the client has sent.
func TestHandlerContext(t *testing.T) {
	type key struct{}
	for _, waits := range []bool{false, true} {
		s := new(Socket)
		args := engine.Args{Values: []json.RawMessage{json.RawMessage(`"confidential"`)}}
		ctx := context.Context((*handlerContext)(&call{s: s, name: "chat", args: args, t: &token{App: []byte(`"sub":"anna"`)}}))
		child, cancel := context.WithCancel(context.WithValue(ctx, key{}, 1))
		defer cancel()
		for name, ctx := range map[string]context.Context{"context": ctx, "child": child} {
			if claims, ok := ClaimsFromContext(ctx); !ok || claims["sub"] != "anna" {
				t.Errorf("%s: claims %v", name, claims)
			}
		}
		if _, has := ctx.Deadline(); has || ctx.Err() != nil || ctx.Value(key{}) != nil || child.Value(key{}) != 1 {
			t.Error("ended, or has a deadline or a value")
		}
		if text := fmt.Sprintf("%v %+v %s %v", ctx, ctx, ctx, child); strings.Contains(text, "confidential") || strings.Contains(text, "99 111 110") {
			t.Errorf("shows the arguments: %s", text)
		}
		if waits {
			select {
			case <-ctx.Done():
				t.Error("done before the end")
			default:
			}
		}
		ended := make(chan struct{})
		context.AfterFunc(ctx, func() { close(ended) })
		s.life.End(ErrClosed)
		<-ended
		<-child.Done()
		for name, ctx := range map[string]context.Context{"context": ctx, "child": child} {
			if ctx.Err() != context.Canceled || !errors.Is(context.Cause(ctx), ErrClosed) {
				t.Errorf("%s has ended with %v, %v", name, ctx.Err(), context.Cause(ctx))
			}
		}
	}
}

// TestKeptContext guards that an app that keeps the context of a handler has its claims as they
// were, and does not keep the arguments by that.
func TestKeptContext(t *testing.T) {
	s := startHotServer(t)
	var kept []context.Context
	s.On("keep", func(ctx context.Context, _ *Socket, args Args) (any, error) {
		kept = append(kept, ctx)
		return args.Len(), nil
	})
	c := s.dial(t, 4)
	for range 2 {
		if _, err := c.Write(masked(`421["keep","` + hotText + `"]`)); err != nil {
			t.Fatal(err)
		}
		if err := c.read(); err != nil || string(c.packet) != "431[1]" {
			t.Fatalf("%q, %v", c.packet, err)
		}
	}
	_ = c.Close()
	if err := s.Shutdown(t.Context()); err != nil {
		t.Fatal(err)
	}
	for _, ctx := range kept {
		call := (*call)(ctx.(*handlerContext))
		if call.args.Values != nil || call.ack != nil {
			t.Error("the arguments are kept")
		}
		if claims, ok := ClaimsFromContext(ctx); !ok || claims["sub"] != "anna" || ctx.Err() == nil {
			t.Errorf("claims %v, error %v", claims, ctx.Err())
		}
	}
	if len(kept) != 2 || kept[0] == kept[1] {
		t.Errorf("contexts %v", kept)
	}
}

// FuzzDecodeString checks that Decode stores in a string what json.Unmarshal does.
func FuzzDecodeString(f *testing.F) {
	for _, seed := range []string{`""`, `"a"`, `"é"`, `"\u00e9\n"`, "\"\xff\"", `"<&\u2028"`, "null", "7", `["x"]`, `{"a":"b"}`, `"\ud800"`} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, value string) {
		if !engine.ValidJSON([]byte(value)) || value != strings.TrimSpace(value) {
			return // the engines let it through in neither form
		}
		got, want := "before", "before"
		data := []byte(value)
		err := Args{args: engine.Args{Values: []json.RawMessage{data}}}.Decode(&got)
		wantErr := json.Unmarshal([]byte(value), &want)
		clear(data) // the string is a copy
		if got != want || (err == nil) != (wantErr == nil) || err != nil && !errors.Is(err, ErrBadArguments) {
			t.Errorf("%q is decoded as %q, %v and not %q, %v", value, got, err, want, wantErr)
		}
	})
}

func TestDecodeNilString(t *testing.T) {
	// Guards that a nil *string is an error and no panic.
	a := Args{args: engine.Args{Values: []json.RawMessage{json.RawMessage(`"x"`)}}}
	if err := a.Decode((*string)(nil)); !errors.Is(err, ErrBadArguments) {
		t.Errorf("error %v", err)
	}
}
