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
	patience = 20 * time.Second // from a presentation to its answer; then the connection is given up
	look     = 30 * time.Second // between looks at the clocks: no timer counts while a machine sleeps
)

// link is one connection of a session. All of it happens on the goroutine that called connect.
type link struct {
	*session
	conn      *conn
	waiting   bool   // for the answer to a presentation, of which there is never more than one, or to a log-out
	presented string // the token presented last
	refused   error  // and what the server said against it, on a socket that lives on
	online    bool   // it was let in

	reply chan<- error // of the call under way, of which there is never more than one

	timer *time.Timer
	set   time.Time     // when, and
	wait  time.Duration // for how long: then it is time for an answer or, where none is waited for, for the next request
}

// connect is one connection, from the dialling to whatever ended it.
func (s *session) connect(ctx context.Context) error {
	conn, err := dial(ctx, s.dialer, s.server)
	if err != nil {
		return err
	}
	l := &link{session: s, conn: conn, waiting: true, timer: time.NewTimer(patience)}
	defer conn.close()
	defer l.timer.Stop()
	l.alarm(patience)
	err = l.serve(ctx)
	if l.reply != nil {
		l.reply <- errLost
	}
	if l.refused != nil {
		err = l.refused // the server has said why it disconnects
	}
	return err
}

// serve does one thing after the other, until one fails.
func (l *link) serve(ctx context.Context) (err error) {
	leave := l.leave
	for err == nil {
		var outgoing chan call // nothing, where it is not online
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
			err = l.conn.send("42", "0", c.event) // nothing else asks for an acknowledgement, so that one id is enough
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

// alarm sets the one timer.
func (l *link) alarm(d time.Duration) {
	l.set, l.wait = time.Now(), d
	l.timer.Reset(min(d, look))
}

// ring looks at both clocks, and believes the one that says more: the wall clock goes on while a machine sleeps, and the
// other cannot be set.
func (l *link) ring() error {
	now := time.Now()
	if left := l.wait - max(now.Sub(l.set), now.Round(0).Sub(l.set.Round(0))); left > 0 {
		l.timer.Reset(min(left, look))
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

func (l *link) leaving() bool {
	select {
	case <-l.leave:
		return true
	default:
		return false
	}
}

func (l *link) expect() {
	l.waiting, l.refused = true, nil
	l.alarm(patience)
}

// present is what proves who this is, read afresh each time.
func (l *link) present() (data any, err error) {
	token, err := l.file.Load()
	if err != nil {
		return nil, err
	}
	if token == "" {
		return nil, errNoToken
	}
	l.presented = token
	l.expect()
	return map[string]any{"token": token, "confirm": true}, nil
}

func (l *link) receive(p packet) error {
	switch p.kind {
	case "0": // OPEN: now CONNECT, which carries the token
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
	return nil // "40", and what this client leaves out
}

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
	case "rotated": // another socket of this session has a newer token; one file is for one process, so that is none of ours
		l.log.Warn("another socket lives on this session")
	case "logged_out":
		if err := l.file.Remove(); err != nil {
			return err
		}
		return errLoggedOut
	default:
		l.heard(name, args)
	}
	return nil
}

// replied tells who called what came of it.
func (l *link) replied(p packet) {
	if l.reply == nil {
		return
	}
	var args []struct{ Error struct{ Code string } }
	if json.Unmarshal(p.data, &args) == nil && len(args) > 0 && args[0].Error.Code != "" { // else it is data, or nothing
		l.reply <- errors.New(args[0].Error.Code)
	}
	close(l.reply)
	l.reply = nil
}

// accepted stores the next token, and then acknowledges it: until that the one before is good, and from then on this one.
func (l *link) accepted(args []json.RawMessage, ack string) error {
	var token string
	if err := decode(args, &token); err != nil {
		return err
	}
	if err := l.file.Store(token); err != nil {
		return fmt.Errorf("token not stored, and so not acknowledged: %w", err)
	}
	if err := l.conn.send("43", ack, []any{}); err != nil {
		return err
	}
	l.waiting = false
	l.alarm(l.due(token, token == l.presented))
	if l.leaving() {
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

// unauthorized throws the token away if the server calls it dead, or its session; and for nothing else.
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
		return r // it is about to be disconnected
	}
	l.waiting, l.refused = false, r // it lives on, or the end of the connection follows
	l.alarm(l.delay(r))
	return nil
}

func decode(args []json.RawMessage, dst any) error {
	if len(args) == 0 {
		return errors.New("event without data")
	}
	return json.Unmarshal(args[0], dst)
}
