package main

import (
	"context"
	"time"

	"github.com/z-open/socketauth"
)

// device is a session of a user, as the page shows it.
type device struct {
	ID        string    `json:"id"`
	Here      bool      `json:"here"` // the request comes from this session
	UserAgent string    `json:"userAgent"`
	Address   string    `json:"address"`
	Since     time.Time `json:"since"`
	Tabs      int       `json:"tabs"` // connected sockets, on all nodes
}

// recently is how long ago the password of who ends sessions may have been given.
const recently = 5 * time.Minute

// serveDevices lets users list their own sessions, and end them if they have given their password
// recently, on whichever node that was.
func serveDevices(srv *socketauth.Server) {
	srv.On("devices", func(ctx context.Context, s *socketauth.Socket, _ socketauth.Args) (any, error) {
		sessions, err := srv.Auth().Sessions(ctx, s.UserID())
		devices := make([]device, len(sessions))
		for n, session := range sessions {
			devices[n] = device{
				ID: session.ID, Here: session.ID == s.SessionID(), UserAgent: session.UserAgent, Address: session.Address,
				Since: session.Since, Tabs: session.Sockets,
			}
		}
		return devices, err
	})
	proven := socketauth.RequireRecent(recently)
	srv.On("end device", proven(func(ctx context.Context, s *socketauth.Socket, args socketauth.Args) (any, error) {
		var id string
		if err := args.Decode(&id); err != nil {
			return nil, err
		}
		return srv.Auth().RevokeSession(ctx, s.UserID(), id) // of nobody else: the user is named too
	}))
	srv.On("end others", proven(func(ctx context.Context, s *socketauth.Socket, _ socketauth.Args) (any, error) {
		return srv.Auth().RevokeOthers(ctx, s.UserID(), s.SessionID())
	}))
}
