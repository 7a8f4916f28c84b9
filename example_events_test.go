package socketauth_test

import (
	"context"
	"fmt"
	"net/http"
	"slices"

	"github.com/z-open/socketauth"
)

// onlyFor returns middleware that lets an event through if the user's claim "role" is one of roles.
func onlyFor(roles ...string) func(socketauth.Handler) socketauth.Handler {
	return func(next socketauth.Handler) socketauth.Handler {
		return func(ctx context.Context, s *socketauth.Socket, args socketauth.Args) (any, error) {
			claims, _ := socketauth.ClaimsFromContext(ctx)
			role, _ := claims["role"].(string)
			if !slices.Contains(roles, role) {
				return nil, &socketauth.PublicError{Code: "FORBIDDEN"}
			}
			return next(ctx, s, args)
		}
	}
}

// A check of the role is one line for all events, and another one for a group that needs more.
func ExampleServer_Use() {
	srv, err := socketauth.Infrastructure(nil, http.NewServeMux(), options())
	if err != nil {
		fmt.Println(err)
		return
	}
	defer srv.Shutdown(context.Background())
	srv.Use(onlyFor("staff", "admin")) // all events, so it comes before the first On
	for _, event := range []string{"list", "show", "search", "open", "close", "assign", "label", "comment", "rename", "merge"} {
		srv.On(event, func(_ context.Context, _ *socketauth.Socket, args socketauth.Args) (any, error) {
			return "done: " + args.Event(), nil
		})
	}
	admin := func(event string, h socketauth.Handler) { srv.On(event, h, onlyFor("admin")) }
	admin("delete", func(context.Context, *socketauth.Socket, socketauth.Args) (any, error) {
		return "deleted", nil
	})
}

// A handler whose argument and reply have types. Who else is in the room is sent the message.
func ExampleTyped() {
	srv, err := socketauth.Infrastructure(nil, http.NewServeMux(), options())
	if err != nil {
		fmt.Println(err)
		return
	}
	defer srv.Shutdown(context.Background())
	type message struct{ Room, Text string }
	type sent struct {
		ID int `json:"id"`
	}
	srv.On("message", socketauth.Typed(func(_ context.Context, s *socketauth.Socket, m message) (*sent, error) {
		if err := s.To(m.Room).Emit("message", m.Text); err != nil {
			return nil, err
		}
		return &sent{ID: 1}, nil
	}))
}
