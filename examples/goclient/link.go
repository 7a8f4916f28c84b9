package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"time"
)

const (
	answerTimeout = 20 * time.Second // for an answer; after it, the connection is given up
	clockCheck    = 30 * time.Second // the longest timer, because timers stop while a machine sleeps
)

// link is one connection of a session. Only the goroutine that called connect uses it.
type link struct {
	*session
	conn      *conn
	sid       string // the id of the connection, which proofs are made for
	waiting   bool   // for the answer to a presentation or a log-out; there is at most one at a time
	presented string // the token that was presented last
	refused   error  // why the server refused it, if the connection goes on
	outdated  bool   // the server has asked for the token since it was presented
	online    bool   // the client is authenticated

	reply chan<- error // of the call in progress; there is at most one at a time

	// The timer is set at the time set for the duration wait. When that is over, the answer is late
	// or, if the client is not waiting for one, it is time for the next request.
	timer *time.Timer
	set   time.Time
	wait  time.Duration
}

// connect opens a connection and serves it until it ends. It returns the reason.
func (s *session) connect(ctx context.Context) error {
	conn, err := dial(ctx, s.dialer, s.server)
	if err != nil {
		return err
	}
	l := &link{session: s, conn: conn, waiting: true, timer: time.NewTimer(answerTimeout)}
	defer conn.close()
	defer l.timer.Stop()
	l.alarm(answerTimeout)
	err = l.serve(ctx)
	if l.reply != nil {
		l.reply <- errLost
	}
	if l.refused != nil {
		err = l.refused // it is why the server has disconnected
	}
	return err
}

// serve handles what happens on the connection, until something fails.
func (l *link) serve(ctx context.Context) (err error) {
	leave := l.leave
	for err == nil {
		var outgoing chan call // nil, which is never ready, while no call can be sent
		if l.online && l.reply == nil {
			outgoing = l.outgoing
		}
		select {
		case <-ctx.Done():
			err = ctx.Err()
		case frame, ok := <-l.conn.frames:
			if !ok {
				return l.conn.err
			}
			err = l.receive(parse(frame))
		case c := <-outgoing:
			l.reply = c.reply
			err = l.conn.send("42", "0", c.event) // one ID is enough, because there is one call at a time
		case <-leave:
			leave = nil
			if !l.waiting {
				err = l.next()
			}
		case <-l.timer.C:
			err = l.ring()
		}
	}
	return err
}

// alarm sets the timer.
func (l *link) alarm(d time.Duration) {
	l.set, l.wait = time.Now(), d
	l.timer.Reset(min(d, clockCheck))
}

// ring is called when the timer fires. It checks the wall clock, which continues while a machine
// sleeps, and the monotonic clock, which cannot be set back, and uses the one by which more time
// has passed.
func (l *link) ring() error {
	now := time.Now()
	if left := l.wait - max(now.Sub(l.set), now.Round(0).Sub(l.set.Round(0))); left > 0 {
		l.timer.Reset(min(left, clockCheck))
		return nil
	}
	if l.waiting {
		return errors.New("no answer")
	}
	return l.next()
}

// next asks for the next token, or for the end of the session.
func (l *link) next() error {
	if l.leaving() {
		l.expect()
		return l.conn.send("42", "", []any{"logout"})
	}
	data, err := l.present()
	if err != nil {
		return err
	}
	return l.conn.send("42", "", []any{"authenticate", data})
}

// leaving reports whether Logout was called.
func (l *link) leaving() bool {
	select {
	case <-l.leave:
		return true
	default:
		return false
	}
}

// expect records that the client waits for an answer.
func (l *link) expect() {
	l.waiting, l.refused, l.outdated = true, nil, false
	l.alarm(answerTimeout)
}

// present returns the data of a presentation, with the token that is stored now.
func (l *link) present() (data any, err error) {
	token, err := l.file.Load()
	if err != nil {
		return nil, err
	}
	if token == "" {
		return nil, errNoToken
	}
	proof, err := l.key.Socket(token, l.sid) // ignored if the token is not bound
	if err != nil {
		return nil, err
	}
	l.presented = token
	l.expect()
	return map[string]any{"token": token, "confirm": true, "proof": proof}, nil
}

// receive handles one packet.
func (l *link) receive(p packet) error {
	switch p.kind {
	case "0": // OPEN: now CONNECT, which carries the token
		var open struct{ Sid string }
		if err := json.Unmarshal(p.data, &open); err != nil {
			return err
		}
		l.sid = open.Sid
		data, err := l.present()
		if err != nil {
			return err
		}
		return l.conn.send("40", "", data)
	case "2": // PING
		return l.conn.send("3", "", nil)
	case "1", "41":
		return errors.New("disconnected by the server")
	case "44":
		return fmt.Errorf("connection refused: %s", p.data)
	case "42":
		return l.event(p)
	case "43":
		l.replied(p)
	}
	return nil // "40", and packets that this client ignores
}

// event handles one event.
func (l *link) event(p packet) error {
	var name string
	var args []json.RawMessage
	if err := json.Unmarshal(p.data, &args); err != nil {
		return err
	}
	if len(args) == 0 {
		return errors.New("event without a name")
	}
	if err := json.Unmarshal(args[0], &name); err != nil {
		return err
	}
	switch args = args[1:]; name {
	case "authenticated":
		return l.accepted(args, p.id)
	case "unauthorized":
		return l.unauthorized(args)
	case "rotated": // another socket of this session has a newer token, although the file is locked
		l.log.Warn("another client uses this session")
	case "refresh": // the claims of the token are out of date
		if l.outdated = l.waiting; !l.waiting {
			return l.next()
		}
	case "logged_out":
		if err := l.file.Remove(); err != nil {
			return err
		}
		return errLoggedOut
	default:
		l.onEvent(name, args)
	}
	return nil
}

// replied passes the reply to the call in progress.
func (l *link) replied(p packet) {
	if l.reply == nil {
		return
	}
	var args []struct{ Error struct{ Code string } }
	if json.Unmarshal(p.data, &args) == nil && len(args) > 0 && args[0].Error.Code != "" { // otherwise it is data, or nothing
		l.reply <- errors.New(args[0].Error.Code)
	}
	close(l.reply)
	l.reply = nil
}

// accepted stores the next token and then acknowledges it. Until then, the old token is valid.
func (l *link) accepted(args []json.RawMessage, ack string) error {
	var token string
	if err := decode(args, &token); err != nil {
		return err
	}
	if err := l.file.Store(token); err != nil {
		return fmt.Errorf("token not stored and therefore not acknowledged: %w", err)
	}
	if err := l.conn.send("43", ack, []any{}); err != nil {
		return err
	}
	l.waiting = false
	l.alarm(l.due(token, token == l.presented))
	if l.leaving() || l.online && l.outdated {
		return l.next()
	}
	if l.online {
		l.failures = 0
		return nil
	}
	l.online = true
	l.log.Info("online")
	return l.conn.send("42", "", []any{l.greeting})
}

// unauthorized removes the stored token only if the server says that it, or its session, is dead.
func (l *link) unauthorized(args []json.RawMessage) error {
	r := new(refusal)
	if err := decode(args, r); err != nil {
		return err
	}
	l.log.Warn("refused", slog.String("code", r.Code), slog.Bool("terminal", r.Terminal))
	if r.Terminal {
		stored, err := l.file.Load()
		over := l.online && (r.Code == "token_reused" || r.Code == "session_revoked")
		if err == nil && (over || stored == l.presented) {
			err = l.file.Remove()
		}
		return errors.Join(r, err)
	}
	if !l.online {
		return r // the server disconnects
	}
	l.waiting, l.refused = false, r // the connection goes on, or its end follows
	l.alarm(l.delay(r))
	return nil
}

// decode unmarshals the first argument of an event.
func decode(args []json.RawMessage, dst any) error {
	if len(args) == 0 {
		return errors.New("event without data")
	}
	return json.Unmarshal(args[0], dst)
}
