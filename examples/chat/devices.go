package main

import (
	"context"
	"log/slog"
	"slices"
	"strings"
	"time"

	"github.com/z-open/socketauth"
)

const storeTimeout = 5 * time.Second // for what no client waits for

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
func serveDevices(srv *socketauth.Server, store *store, log *slog.Logger, recent time.Duration) {
	proven := socketauth.RequireRecent(recent)
	srv.On("devices", func(ctx context.Context, s *socketauth.Socket, _ socketauth.Args) (any, error) {
		sessions, err := srv.Auth().Sessions(ctx, s.UserID())
		if err != nil {
			return nil, err
		}
		devices := make([]device, len(sessions))
		for n, session := range sessions {
			// The library knows when the token was presented last, which may have been many hours before
			// the page was closed.
			closed, err := store.Seen(ctx, session.ID)
			if err != nil {
				return nil, err
			}
			lastSeen := session.LastSeen
			if closed.After(lastSeen) {
				lastSeen = closed
			}
			name, phone := describe(session.UserAgent)
			devices[n] = device{
				ID: session.ID, Name: name, Phone: phone, Here: session.ID == s.SessionID(), Bound: session.Bound,
				Address: session.Address, Since: session.Since, LastSeen: lastSeen, Tabs: session.Sockets,
			}
		}
		return devices, nil
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
	srv.OnDisconnect(func(ctx context.Context, s *socketauth.Socket, _ string) {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), storeTimeout) // ctx has ended
		defer cancel()
		if err := store.See(ctx, s.SessionID()); err != nil {
			log.Error("cannot note when a device was seen", slog.Any("cause", err))
		}
		_ = tellDevices(srv, s) // it only fails if the event cannot be encoded
	})
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
