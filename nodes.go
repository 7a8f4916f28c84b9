package socketauth

import (
	"context"

	"github.com/z-open/socketauth/blacklist"
	"github.com/z-open/socketauth/internal/cluster"
	"github.com/z-open/socketauth/internal/peerwire"
)

// This file holds what a core tells and asks the other processes of the app, and what it does when
// it is told and asked. They are nodes of package cluster.

// deliver takes a message of another process.
func (a *Auth) deliver(m cluster.Message) {
	if m.Kind != kindEmit && m.Kind != kindVolatile {
		return
	}
	if target, message, ok := peerwire.ParseEmit(m.Data); ok {
		if server := a.serverAt(target.Server); server != nil {
			server.deliver(target.Groups, message, m.Kind == kindVolatile)
		}
	}
}

// answer answers a question of another process. It returns nil, which is not an answer, if the
// question cannot be read or answered in time.
func (a *Auth) answer(ctx context.Context, kind cluster.Kind, data []byte) []byte {
	switch kind {
	case kindRevoked:
		if r, ok := peerwire.ParseRevocation(data); ok {
			return a.answerRevoked(ctx, r)
		}
	case kindRefreshed:
		if r, ok := peerwire.ParseRefresh(data); ok {
			return a.answerRefreshed(ctx, r)
		}
	case kindSockets:
		if target, ok := peerwire.ParseTarget(data); ok {
			var sockets []peerwire.Socket
			if server := a.serverAt(target.Server); server != nil {
				sockets = server.sockets(target.Groups)
			}
			return peerwire.AppendSockets(nil, sockets)
		}
	case kindCounts:
		if sessions, ok := peerwire.ParseNames(data); ok {
			return peerwire.AppendCounts(nil, a.liveSockets(sessions)...)
		}
	}
	return nil
}

// answerRevoked has the store asked about the sockets that a revocation may be about, and answers
// how many were closed.
func (a *Auth) answerRevoked(ctx context.Context, r peerwire.Revocation) []byte {
	closed := 0
	for _, server := range a.allServers() {
		n, ok := server.revokedElsewhere(ctx, blacklist.Revocation{UserID: r.UserID, SessionID: r.SessionID, Except: r.Except, All: r.All})
		if !ok {
			return nil
		}
		closed += n
	}
	return peerwire.AppendCounts(nil, closed)
}

// answerRefreshed has the store asked about the sockets that a refresh is about, and answers how
// many of them wait for newer claims or have them.
func (a *Auth) answerRefreshed(ctx context.Context, r peerwire.Refresh) []byte {
	outdated := 0
	for _, server := range a.allServers() {
		n, ok := server.refreshedElsewhere(ctx, blacklist.Change{UserID: r.UserID, SessionID: r.SessionID, Verdict: blacklist.Stale, Mark: r.Mark})
		if !ok {
			return nil
		}
		outdated += n
	}
	return peerwire.AppendCounts(nil, outdated)
}

// askRevoked tells the other processes of a revocation that the store has decided, and has them say
// what they have closed. The function that it returns waits for that and adds it to the receipt.
func (a *Auth) askRevoked(ctx context.Context, r blacklist.Revocation) (add func(r *Receipt)) {
	question := peerwire.Revocation{UserID: r.UserID, SessionID: r.SessionID, Except: r.Except, All: r.All}
	return a.askSockets(ctx, kindRevoked, question.Append(nil))
}

// askRefreshed tells the other processes of a refresh that the store has recorded, as askRevoked
// does.
func (a *Auth) askRefreshed(ctx context.Context, c blacklist.Change) (add func(r *Receipt)) {
	question := peerwire.Refresh{UserID: c.UserID, SessionID: c.SessionID, Mark: c.Mark}
	return a.askSockets(ctx, kindRefreshed, question.Append(nil))
}

// askSockets asks the other processes a question whose answer is a number of sockets. The function
// that it returns waits for the answers and adds them to the receipt.
func (a *Auth) askSockets(ctx context.Context, kind cluster.Kind, question []byte) (add func(r *Receipt)) {
	if a.bus == nil {
		return func(*Receipt) {}
	}
	answered := make(chan func(r *Receipt), 1)
	go func() {
		sockets := 0
		heard, unheard := a.bus.ask(context.WithoutCancel(ctx), kind, question, func(_ string, data []byte) bool {
			counts, ok := peerwire.ParseCounts(data, 1)
			if ok {
				sockets += counts[0]
			}
			return ok
		})
		answered <- func(r *Receipt) {
			r.Sockets += sockets
			r.Nodes += heard
			r.Unheard = unheard
		}
	}()
	return func(r *Receipt) { (<-answered)(r) }
}

// liveSockets returns how many authenticated sockets each of the sessions has in this process.
func (a *Auth) liveSockets(sessions []string) []int {
	counts := make([]int, len(sessions))
	for _, server := range a.allServers() {
		for n, sid := range sessions {
			counts[n] += server.liveSockets(sid)
		}
	}
	return counts
}

// countSockets returns how many authenticated sockets each of the sessions has in all processes
// that answer in time.
func (a *Auth) countSockets(ctx context.Context, sessions []string) []int {
	counts := a.liveSockets(sessions)
	if a.bus == nil || len(sessions) == 0 {
		return counts
	}
	a.bus.ask(ctx, kindCounts, peerwire.AppendNames(nil, sessions), func(_ string, data []byte) bool {
		theirs, ok := peerwire.ParseCounts(data, len(sessions))
		for n := range theirs {
			counts[n] += theirs[n]
		}
		return ok
	})
	return counts
}
