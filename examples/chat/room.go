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

const maxMessageText = 1000 // characters

// online is who is there. Of two lists the one with the higher version is right, in whatever order they arrive.
type online struct {
	Version int64    `json:"version"`
	Names   []string `json:"names"`
}

// view is what somebody gets who enters.
type view struct {
	You      string    `json:"you"`
	Messages []message `json:"messages"`
	Online   online    `json:"online"`
}

// room is who is there.
type room struct {
	mu      sync.Mutex
	version int64
	sockets map[string]string // by id, the name of the user
}

func newRoom() *room { return &room{sockets: make(map[string]string)} }

func (r *room) enter(socket, name string) online {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.sockets[socket] = name
	return r.online()
}

// leave says who is still there. ok is false where the socket never entered.
func (r *room) leave(socket string) (still online, ok bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if _, ok := r.sockets[socket]; !ok {
		return online{}, false
	}
	delete(r.sockets, socket)
	return r.online(), true
}

// online names each user once, whatever the number of their tabs. The caller holds the lock.
func (r *room) online() online {
	names := make([]string, 0, len(r.sockets))
	for _, name := range r.sockets {
		names = append(names, name)
	}
	slices.Sort(names)
	r.version = max(r.version+1, time.Now().UnixMilli()) // grows over restarts too
	return online{Version: r.version, Names: slices.Compact(names)}
}

const lobby = "lobby" // the Socket.IO room of those who entered

// serveRoom is the talk: who enters, who says what, who leaves. No lock is held while anything is sent.
func serveRoom(srv *socketauth.Server, store *store) {
	room := newRoom()
	srv.On("join", func(ctx context.Context, s *socketauth.Socket, _ socketauth.Args) (any, error) {
		s.Join(lobby) // first, so that nothing is said between what the view shows and what is heard
		messages, err := store.Messages(ctx)
		if err != nil {
			return nil, err
		}
		v := view{You: nameOf(s), Messages: messages, Online: room.enter(s.ID(), nameOf(s))}
		return v, errors.Join(srv.To(lobby).Emit("online", v.Online), tellDevices(srv, s))
	})
	srv.On("say", func(ctx context.Context, s *socketauth.Socket, args socketauth.Args) (any, error) {
		var text string
		if err := args.Decode(&text); err != nil {
			return nil, err
		}
		text = strings.TrimSpace(text)
		switch n := utf8.RuneCountInString(text); {
		case n == 0:
			return nil, &socketauth.PublicError{Code: "MESSAGE_EMPTY"}
		case n > maxMessageText:
			return nil, &socketauth.PublicError{Code: "MESSAGE_TOO_LONG"}
		}
		m, err := store.AddMessage(ctx, nameOf(s), text)
		if err != nil {
			return nil, err
		}
		return nil, srv.To(lobby).Emit("message", m)
	})
	srv.OnDisconnect(func(_ context.Context, s *socketauth.Socket, _ string) {
		if still, ok := room.leave(s.ID()); ok {
			_ = srv.To(lobby).Emit("online", still) // its error is one of encoding alone
		}
	})
}

// nameOf is the claim "name", from a token that was verified.
func nameOf(s *socketauth.Socket) string {
	name, _ := s.Claims()["name"].(string)
	return name
}
