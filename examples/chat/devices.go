package main

import (
	"context"
	"slices"
	"strings"
	"time"

	"github.com/z-open/socketauth"
)

// device is a session of a user's, as their page shows it.
type device struct {
	ID       string    `json:"id"`
	Name     string    `json:"name"`  // of its browser
	Phone    bool      `json:"phone"` // or a tablet
	Here     bool      `json:"here"`  // it is the one that asks
	Address  string    `json:"address"`
	Since    time.Time `json:"since"`
	LastSeen time.Time `json:"lastSeen"`
	Tabs     int       `json:"tabs"` // that are connected
}

// serveDevices lets users see their sessions and end them: theirs, and nobody else's.
func serveDevices(srv *socketauth.Server) {
	srv.On("devices", func(ctx context.Context, s *socketauth.Socket, _ socketauth.Args) (any, error) {
		sessions, err := srv.Auth().Sessions(ctx, s.UserID())
		devices := make([]device, len(sessions))
		for n, session := range sessions {
			name, phone := describe(session.UserAgent)
			devices[n] = device{
				ID: session.ID, Name: name, Phone: phone, Here: session.ID == s.SessionID(), Address: session.Address,
				Since: session.Since, LastSeen: session.LastSeen, Tabs: session.Sockets,
			}
		}
		return devices, err
	})
	srv.On("end device", func(ctx context.Context, s *socketauth.Socket, args socketauth.Args) (any, error) {
		var id string
		if err := args.Decode(&id); err != nil {
			return nil, err
		}
		mine, err := srv.Auth().Sessions(ctx, s.UserID())
		if err != nil {
			return nil, err
		}
		if !slices.ContainsFunc(mine, func(session socketauth.Session) bool { return session.ID == id }) {
			return nil, &socketauth.PublicError{Code: "NOT_YOURS"} // RevokeSession does not ask whose it is
		}
		if _, err := srv.Auth().RevokeSession(ctx, id); err != nil {
			return nil, err
		}
		return nil, tellDevices(srv, s)
	})
	srv.On("end others", func(ctx context.Context, s *socketauth.Socket, _ socketauth.Args) (any, error) {
		ended, err := srv.Auth().RevokeOthers(ctx, s.UserID(), s.SessionID()) // and logins that have not connected yet
		if err != nil {
			return nil, err
		}
		return ended.Sessions, tellDevices(srv, s)
	})
	srv.OnDisconnect(func(_ context.Context, s *socketauth.Socket, _ string) { _ = tellDevices(srv, s) })
}

// tellDevices has the pages of a socket's user ask for their devices again.
func tellDevices(srv *socketauth.Server, s *socketauth.Socket) error {
	return srv.ToUser(s.UserID()).Emit("devices changed")
}

// describe tells people which browser a User-Agent is. Each claims to be those before it, hence the order.
func describe(userAgent string) (name string, phone bool) {
	first := func(pairs ...string) string {
		for n := 0; n < len(pairs); n += 2 {
			if strings.Contains(userAgent, pairs[n]) {
				return pairs[n+1]
			}
		}
		return ""
	}
	browser := first("Edg", "Edge", "OPR/", "Opera", "SamsungBrowser/", "Samsung Internet", "Firefox/", "Firefox", "FxiOS/", "Firefox",
		"CriOS/", "Chrome", "Chrome/", "Chrome", "Safari/", "Safari")
	system := first("Android", "Android", "iPhone", "iPhone", "iPad", "iPad", "Windows", "Windows", "CrOS", "ChromeOS",
		"Mac OS X", "macOS", "Linux", "Linux")
	phone = slices.Contains([]string{"Android", "iPhone", "iPad"}, system)
	if browser == "" {
		browser, _, _ = strings.Cut(userAgent, "/") // a program, such as curl
	}
	switch {
	case browser == "":
		return "Unknown browser", phone
	case system == "":
		return browser, phone
	}
	return browser + " on " + system, phone
}
