package main

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"time"
	"unicode/utf8"

	"github.com/z-open/socketauth"
)

const (
	maxMessageText = 1000 // characters
	maxMessageKey  = 64   // bytes
)

// online is the list of users who are in the room. Lists may arrive in another order than they were
// sent: the one with the highest version is current.
type online struct {
	Version int64    `json:"version"`
	Names   []string `json:"names"`
}

// view is what a client receives when it joins.
type view struct {
	You      string    `json:"you"`
	Messages []message `json:"messages"`
	Online   online    `json:"online"`
}

// room has the sockets that have joined.
type room struct {
	mu      sync.Mutex
	version int64
	sockets map[string]string // the name of the user, by the ID of the socket
}

func newRoom() *room { return &room{sockets: make(map[string]string)} }

// enter adds a socket and returns the new list.
func (r *room) enter(socket, name string) online {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.sockets[socket] = name
	return r.online()
}

// leave removes a socket and returns the new list. ok is false if the socket had not joined.
func (r *room) leave(socket string) (still online, ok bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if _, ok := r.sockets[socket]; !ok {
		return online{}, false
	}
	delete(r.sockets, socket)
	return r.online(), true
}

// online returns the list with a new version. It names each user once, however many sockets they
// have. The caller holds the lock.
func (r *room) online() online {
	names := make([]string, 0, len(r.sockets))
	for _, name := range r.sockets {
		names = append(names, name)
	}
	slices.Sort(names)
	r.version = max(r.version+1, time.Now().UnixMilli()) // higher than before, also after a restart
	return online{Version: r.version, Names: slices.Compact(names)}
}

const lobby = "lobby" // the name of the Socket.IO room

// serveRoom handles the events of the conversation. No lock is held while events are sent.
func serveRoom(srv *socketauth.Server, store *store) {
	room := newRoom()
	srv.On("join", func(ctx context.Context, s *socketauth.Socket, _ socketauth.Args) (any, error) {
		s.Join(lobby) // first, so that no message is missed between the view and the first event
		messages, err := store.Messages(ctx)
		if err != nil {
			return nil, err
		}
		v := view{You: nameOf(s), Messages: messages, Online: room.enter(s.ID(), nameOf(s))}
		return v, errors.Join(srv.To(lobby).Emit("online", v.Online), tellDevices(srv, s))
	})
	srv.On("say", func(ctx context.Context, s *socketauth.Socket, args socketauth.Args) (any, error) {
		var text, key string
		var err error
		if args.Len() < 2 { // a client that does not send anything twice needs no key
			err = args.Decode(&text)
		} else {
			err = args.Decode(&text, &key)
		}
		if err != nil {
			return nil, err
		}
		text = strings.TrimSpace(strings.ReplaceAll(text, "\r\n", "\n"))
		switch n := utf8.RuneCountInString(text); {
		case n == 0:
			return nil, &socketauth.PublicError{Code: "MESSAGE_EMPTY"}
		case n > maxMessageText:
			return nil, &socketauth.PublicError{Code: "MESSAGE_TOO_LONG"}
		case len(key) > maxMessageKey:
			return nil, socketauth.ErrBadArguments
		}
		m, isNew, err := store.AddMessage(ctx, nameOf(s), text, key)
		if err != nil || !isNew {
			return m, err
		}
		return m, srv.To(lobby).Emit("message", m)
	})
	srv.On("typing", func(_ context.Context, s *socketauth.Socket, args socketauth.Args) (any, error) {
		var typing bool
		if err := args.Decode(&typing); err != nil {
			return nil, err
		}
		if !slices.Contains(s.Rooms(), lobby) { // who is not in "Here now" is not seen to type
			return nil, nil
		}
		return nil, s.To(lobby).Volatile().Emit("typing", nameOf(s), typing)
	})
	srv.OnDisconnect(func(_ context.Context, s *socketauth.Socket, _ string) {
		if still, ok := room.leave(s.ID()); ok {
			_ = srv.To(lobby).Emit("online", still) // it only fails if the list cannot be encoded
		}
	})
}

// nameOf returns the claim "name" of a socket, whose token was verified.
func nameOf(s *socketauth.Socket) string {
	name, _ := s.Claims()["name"].(string)
	return name
}
