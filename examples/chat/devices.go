package main

import (
	"context"
	"slices"
	"strings"
	"time"

	"github.com/z-open/socketauth"
)

// device is a session of a user, as the page shows it.
type device struct {
	ID       string    `json:"id"`
	Name     string    `json:"name"`  // of the browser
	Phone    bool      `json:"phone"` // or a tablet
	Here     bool      `json:"here"`  // the request comes from this session
	Bound    bool      `json:"bound"` // its token is worth nothing on another device
	Address  string    `json:"address"`
	Since    time.Time `json:"since"`
	LastSeen time.Time `json:"lastSeen"`
	Tabs     int       `json:"tabs"` // connected sockets
}

// serveDevices lets users list their own sessions, and end them if they have given their password recently:
// who finds a page open must not be able to log its user out everywhere else.
func serveDevices(srv *socketauth.Server, recent time.Duration) {
	proven := socketauth.RequireRecent(recent)
	srv.On("devices", func(ctx context.Context, s *socketauth.Socket, _ socketauth.Args) (any, error) {
		sessions, err := srv.Auth().Sessions(ctx, s.UserID())
		devices := make([]device, len(sessions))
		for n, session := range sessions {
			name, phone := describe(session.UserAgent)
			devices[n] = device{
				ID: session.ID, Name: name, Phone: phone, Here: session.ID == s.SessionID(), Bound: session.Bound,
				Address: session.Address, Since: session.Since, LastSeen: session.LastSeen, Tabs: session.Sockets,
			}
		}
		return devices, err
	})
	srv.On("end device", proven(func(ctx context.Context, s *socketauth.Socket, args socketauth.Args) (any, error) {
		var id string
		if err := args.Decode(&id); err != nil {
			return nil, err
		}
		mine, err := srv.Auth().Sessions(ctx, s.UserID())
		if err != nil {
			return nil, err
		}
		if !slices.ContainsFunc(mine, func(session socketauth.Session) bool { return session.ID == id }) {
			return nil, &socketauth.PublicError{Code: "NOT_YOURS"}
		}
		if _, err := srv.Auth().RevokeSession(ctx, s.UserID(), id); err != nil {
			return nil, err
		}
		return nil, tellDevices(srv, s)
	}))
	srv.On("end others", proven(func(ctx context.Context, s *socketauth.Socket, _ socketauth.Args) (any, error) {
		ended, err := srv.Auth().RevokeOthers(ctx, s.UserID(), s.SessionID()) // also logins whose code was not used yet
		if err != nil {
			return nil, err
		}
		return ended.Sessions, tellDevices(srv, s)
	}))
	srv.OnDisconnect(func(_ context.Context, s *socketauth.Socket, _ string) { _ = tellDevices(srv, s) })
}

// tellDevices makes all pages of a socket's user request their devices again.
func tellDevices(srv *socketauth.Server, s *socketauth.Socket) error {
	return srv.ToUser(s.UserID()).Emit("devices changed")
}

// describe returns the name of a browser by its User-Agent header. Newer browsers include the names
// of older ones in theirs, so the order of the names matters.
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
		browser, _, _ = strings.Cut(userAgent, "/") // another program, such as curl
	}
	switch {
	case browser == "":
		return "Unknown browser", phone
	case system == "":
		return browser, phone
	}
	return browser + " on " + system, phone
}
