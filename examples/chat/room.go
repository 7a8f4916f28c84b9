package main

import (
	"context"
	"slices"
	"strings"
	"sync"
	"time"
	"unicode/utf8"

	"github.com/z-open/socketauth"
)

const (
	keptMessages   = 50
	maxMessageText = 1000 // characters
)

// message is something that was said.
type message struct {
	ID     int64     `json:"id"` // grows, also across restarts
	Author string    `json:"author"`
	Text   string    `json:"text"`
	Time   time.Time `json:"time"`
}

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

// room is what was said last, and who is there.
type room struct {
	mu       sync.Mutex
	last     int64             // the latest id or version
	messages []message         // the latest keptMessages
	sockets  map[string]string // by id, the name of the user
}

func newRoom() *room { return &room{sockets: make(map[string]string)} }

// next gives ids and versions: the time in milliseconds, or a little more where that is taken.
func (r *room) next(now time.Time) int64 {
	r.last = max(r.last+1, now.UnixMilli())
	return r.last
}

func (r *room) enter(socket, name string) view {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.sockets[socket] = name
	return view{You: name, Messages: append([]message{}, r.messages...), Online: r.online()}
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
	return online{Version: r.next(time.Now()), Names: slices.Compact(names)}
}

func (r *room) say(author, text string) message {
	r.mu.Lock()
	defer r.mu.Unlock()
	now := time.Now()
	m := message{ID: r.next(now), Author: author, Text: text, Time: now.UTC()}
	r.messages = append(r.messages, m)
	if extra := len(r.messages) - keptMessages; extra > 0 {
		r.messages = slices.Delete(r.messages, 0, extra)
	}
	return m
}

const lobby = "lobby" // the Socket.IO room of those who entered

// serveRoom says what happens at which event. No lock is held while anything is sent.
func serveRoom(srv *socketauth.Server, r *room) {
	srv.On("join", func(_ context.Context, s *socketauth.Socket, _ socketauth.Args) (any, error) {
		s.Join(lobby) // first, so that nothing is said between what the view shows and what is heard
		v := r.enter(s.ID(), nameOf(s))
		return v, srv.To(lobby).Emit("online", v.Online)
	})
	srv.On("say", func(_ context.Context, s *socketauth.Socket, args socketauth.Args) (any, error) {
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
		return nil, srv.To(lobby).Emit("message", r.say(nameOf(s), text))
	})
	srv.OnDisconnect(func(_ context.Context, s *socketauth.Socket, _ string) {
		if still, ok := r.leave(s.ID()); ok {
			_ = srv.To(lobby).Emit("online", still) // its error is one of encoding alone
		}
	})
}

// nameOf is the claim "name", from a token that was verified.
func nameOf(s *socketauth.Socket) string {
	name, _ := s.Claims()["name"].(string)
	return name
}
