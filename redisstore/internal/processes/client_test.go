//go:build unix

package processes

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/gorilla/websocket"
)

// patience is how long tests wait for what has to come, on a machine that is busy with other work.
const patience = 30 * time.Second

// event is an event that a client has received, at a time.
type event struct {
	name string
	args []json.RawMessage
	at   time.Time
}

// text returns the argument n, which must be a string.
func (e event) text(n int) (s string) {
	if n < len(e.args) {
		_ = json.Unmarshal(e.args[n], &s)
	}
	return s
}

// refusal is the data of "unauthorized".
type refusal struct {
	Code     string
	Terminal bool
}

func (r *refusal) Error() string { return fmt.Sprintf("%s (terminal: %t)", r.Code, r.Terminal) }

// refused returns the code with which the client was refused, or "".
func refused(err error) string {
	var r *refusal
	if errors.As(err, &r) {
		return r.Code
	}
	return ""
}

var errClosed = errors.New("the connection has ended")

// socket is a client that is connected to a process: Socket.IO 4 over a websocket.
type socket struct {
	conn   *websocket.Conn
	opened time.Time

	writing sync.Mutex

	mu      sync.Mutex
	changed chan struct{} // closed and replaced with each change of what follows
	events  []event       // that were not waited for
	last    time.Time     // when the last event came
	acks    map[int]json.RawMessage
	asked   int
	token   string // the newest one that was stored
	ended   bool
	noAck   bool // tokens are not stored and not acknowledged

	heard func(e event) (keep bool) // called with each event, in order; nil: all are kept
}

// dial connects to a process. auth is the handshake's; nil for none.
func dial(ctx context.Context, url string, auth any) (*socket, error) {
	return dialWith(ctx, url, auth, nil)
}

// dialWith is dial for a client that hears each event.
func dialWith(ctx context.Context, url string, auth any, heard func(e event) (keep bool)) (*socket, error) {
	dialer := websocket.Dialer{HandshakeTimeout: patience}
	conn, response, err := dialer.DialContext(ctx, "ws"+strings.TrimPrefix(url, "http")+"/socket.io/?EIO=4&transport=websocket", nil)
	if err != nil {
		return nil, err
	}
	_ = response.Body.Close()
	s := &socket{conn: conn, opened: time.Now(), changed: make(chan struct{}), acks: make(map[int]json.RawMessage), heard: heard}
	packet := []byte("40")
	if auth != nil {
		data, err := json.Marshal(auth)
		if err != nil {
			return nil, err
		}
		packet = append(packet, data...)
	}
	if err := s.write(packet); err != nil {
		_ = conn.Close()
		return nil, err
	}
	go s.read()
	return s, nil
}

// enter connects to a process and presents a token as a client does that confirms. It returns once
// the server has accepted it and the next one was stored and acknowledged, or with a *refusal.
func enter(ctx context.Context, url, token string) (*socket, error) {
	s, err := dial(ctx, url, map[string]any{"token": token, "confirm": true})
	if err != nil {
		return nil, err
	}
	if err := s.admitted(ctx); err != nil {
		s.close()
		return nil, err
	}
	return s, nil
}

// present presents a token, and waits for the answer.
func (s *socket) present(ctx context.Context, token string, confirm bool) error {
	if err := s.emit("authenticate", map[string]any{"token": token, "confirm": confirm}); err != nil {
		return err
	}
	return s.admitted(ctx)
}

// admitted waits for the answer to a presentation.
func (s *socket) admitted(ctx context.Context) error {
	e, err := s.wait(ctx, "authenticated", "unauthorized")
	switch {
	case err != nil:
		return err
	case e.name == "unauthorized":
		return refusalOf(e)
	}
	return nil
}

// settled returns once the server has heard that the client has stored its token, or with the
// reason why that did not count.
func (s *socket) settled(ctx context.Context) error {
	reply, err := s.call(ctx, "echo", "") // it is answered in the order of what was sent
	if err == nil && string(reply) == `[""]` {
		return nil
	}
	if code, _ := s.waitEnd(ctx); code != "" {
		return &refusal{Code: code}
	}
	return fmt.Errorf("%w: %s", cmp.Or(err, errClosed), reply)
}

// refusalOf returns the data of an event "unauthorized".
func refusalOf(e event) error {
	r := new(refusal)
	if len(e.args) == 0 || json.Unmarshal(e.args[0], r) != nil || r.Code == "" {
		return fmt.Errorf("a strange refusal: %s", e.args)
	}
	return r
}

func (s *socket) write(packet []byte) error {
	s.writing.Lock()
	defer s.writing.Unlock()
	_ = s.conn.SetWriteDeadline(time.Now().Add(patience))
	return s.conn.WriteMessage(websocket.TextMessage, packet)
}

func (s *socket) read() {
	defer s.change(func() { s.ended = true })
	defer s.conn.Close()
	for {
		_, packet, err := s.conn.ReadMessage()
		if err != nil || len(packet) == 0 {
			return
		}
		switch kind := string(packet[:min(2, len(packet))]); {
		case kind == "2":
			_ = s.write([]byte("3"))
		case kind == "41" || kind == "44":
			return
		case kind == "42":
			s.take(packet[2:], time.Now())
		case kind == "43":
			if id, data, ok := numbered(packet[2:]); ok {
				s.change(func() { s.acks[id] = data })
			}
		}
	}
}

// numbered splits the id of an acknowledgement from what follows.
func numbered(data []byte) (id int, rest []byte, ok bool) {
	n := 0
	for n < len(data) && '0' <= data[n] && data[n] <= '9' {
		n++
	}
	id, err := strconv.Atoi(string(data[:n]))
	return id, data[n:], err == nil
}

// take takes an event.
func (s *socket) take(data []byte, at time.Time) {
	id, data, asks := numbered(data)
	var values []json.RawMessage
	var e event
	if json.Unmarshal(data, &values) != nil || len(values) == 0 || json.Unmarshal(values[0], &e.name) != nil {
		return
	}
	e.args, e.at = values[1:], at
	if s.heard != nil && !s.heard(e) {
		return
	}
	if e.name == "authenticated" {
		stored := false
		s.change(func() {
			if stored = !s.noAck; stored {
				s.token = e.text(0)
			}
		})
		if stored && asks { // before whoever waits for the event can send anything else
			_ = s.write([]byte("43" + strconv.Itoa(id) + "[]"))
		}
	}
	s.change(func() { s.events, s.last = append(s.events, e), at })
}

// change makes a change under the lock and tells those who wait.
func (s *socket) change(f func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	f()
	close(s.changed)
	s.changed = make(chan struct{})
}

// await waits until ready, which is called with the lock held.
func (s *socket) await(ctx context.Context, ready func() bool) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	for {
		s.mu.Lock()
		done, ended, changed := ready(), s.ended, s.changed
		s.mu.Unlock()
		switch {
		case done:
			return nil
		case ended:
			return errClosed
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// wait returns the next event that has one of the names. Those before it stay.
func (s *socket) wait(ctx context.Context, names ...string) (e event, err error) {
	err = s.await(ctx, func() bool {
		n := slices.IndexFunc(s.events, func(e event) bool { return slices.Contains(names, e.name) })
		if n >= 0 {
			e = s.events[n]
			s.events = slices.Delete(s.events, n, n+1)
		}
		return n >= 0
	})
	return e, err
}

// waitEnd waits until the server has closed the connection, and returns the code of the last
// "unauthorized" that came before, or "".
func (s *socket) waitEnd(ctx context.Context) (code string, err error) {
	err = s.await(ctx, func() bool { return s.ended })
	for _, e := range s.all("unauthorized") {
		code = refused(refusalOf(e))
	}
	return code, err
}

// all returns the events of a name that were not waited for.
func (s *socket) all(name string) []event {
	s.mu.Lock()
	defer s.mu.Unlock()
	var found []event
	for _, e := range s.events {
		if e.name == name {
			found = append(found, e)
		}
	}
	return found
}

// open reports whether the server has not closed the connection.
func (s *socket) open() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return !s.ended
}

// lastEvent returns when the last event came.
func (s *socket) lastEvent() time.Time {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.last
}

// stored returns the newest token.
func (s *socket) stored() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.token
}

// emit sends an event.
func (s *socket) emit(name string, args ...any) error {
	data, err := json.Marshal(append([]any{name}, args...))
	if err != nil {
		return err
	}
	return s.write(append([]byte("42"), data...))
}

// call sends an event and returns the acknowledgement, a JSON array.
func (s *socket) call(ctx context.Context, name string, args ...any) (reply json.RawMessage, err error) {
	var id int
	s.change(func() { s.asked++; id = s.asked })
	data, err := json.Marshal(append([]any{name}, args...))
	if err != nil {
		return nil, err
	}
	if err := s.write(append([]byte("42"+strconv.Itoa(id)), data...)); err != nil {
		return nil, err
	}
	err = s.await(ctx, func() (ok bool) {
		reply, ok = s.acks[id]
		return ok
	})
	return reply, err
}

// close leaves without a word, as a client that has lost its network. It waits for the end.
func (s *socket) close() {
	_ = s.conn.Close()
	_ = s.await(context.Background(), func() bool { return s.ended })
}
