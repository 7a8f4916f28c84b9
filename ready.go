package socketauth

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/z-open/socketauth/internal/engine"
)

// This file holds what a deploy needs: whether the process can serve clients, and how its clients
// leave it.

var (
	errDraining = errors.New("the server is being drained or shut down")
	errDeaf     = errors.New("the blacklist does not say what other processes change")
	errNoBroker = errors.New("the process does not hear the others by Cluster.Broker")
)

// Ready returns nil if the process can serve clients: the store answers and has been heard, this
// process hears itself by the Broker of Options.Cluster, and no server is being drained or was shut
// down. Otherwise it returns an error that wraps ErrUnavailable and says what is missing. It is for
// the readiness probe of a load balancer, not for a liveness probe, because a restart mends none of
// these. It asks the store once, for at most Options.Timeout.
func (a *Auth) Ready(ctx context.Context) error {
	if err := a.ready(ctx); err != nil {
		return fmt.Errorf("%w: %w", ErrUnavailable, err)
	}
	return nil
}

func (a *Auth) ready(ctx context.Context) error {
	a.mu.Lock()
	ended := a.ended
	a.mu.Unlock()
	if ended {
		return errDraining
	}
	for _, server := range a.allServers() {
		if err := server.ready(); err != nil {
			return err
		}
	}
	if a.bus != nil {
		switch run, err := a.bus.start(false); {
		case err != nil:
			return err
		case run == nil:
			return errDraining
		case !run.Listening():
			return errNoBroker
		}
	}
	return a.askStore(ctx)
}

// ready implements socketServer.
func (s *Server) ready() error {
	s.mu.RLock()
	leaving := s.closing || s.draining
	s.mu.RUnlock()
	switch {
	case leaving:
		return errDraining
	case !s.watcher.hears(time.Now()):
		return errDeaf
	}
	return nil
}

// Drain has the clients of the server come back elsewhere, spread evenly over a time, so that a
// deploy does not have all of them reconnect at once. From the moment it is called, Auth.Ready
// returns an error and new connections are refused, so the load balancer has to send clients to
// other processes: let the time be several times as long as the interval of its probe. Until it is
// its turn, a socket goes on as before. Drain returns when every authenticated client has been
// told, or with the error of ctx; at once if the server is shut down meanwhile. Call Shutdown after
// it, also after an error: who is left then is told at once. An app of one process calls Shutdown
// alone: its clients have no other process to go to, and Drain would keep them out for the whole
// time.
func (s *Server) Drain(ctx context.Context, over time.Duration) error {
	s.mu.Lock()
	s.draining = true
	s.mu.Unlock()
	sockets := s.hub.Members(everyone)
	s.auth.log.Info("socketauth: draining", slog.Int("sockets", len(sockets)), slog.Duration("over", over))
	began := time.Now()
	for n, socket := range sockets {
		turn := began.Add(time.Duration(float64(over) * float64(n) / float64(len(sockets))))
		select {
		case <-time.After(time.Until(turn)):
		case <-ctx.Done():
			return ctx.Err()
		case <-s.watcher.ctx.Done(): // Shutdown
			return nil
		}
		s.sendAway(socket)
	}
	for _, socket := range s.hub.Members(everyone) { // those that have authenticated meanwhile
		s.sendAway(socket)
	}
	return ctx.Err()
}

// sendAway has a client reconnect, unless the server is being shut down, which does that. What the
// client has presented is decided first, and it is sent the next token.
func (s *Server) sendAway(socket *Socket) {
	if s.beginStep() {
		defer s.steps.Done()
		socket.control.PushAlways(&s.runner, socket.task(func() { socket.reconnect(string(engine.Shutdown)) }))
	}
}
