package eio4_test

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/z-open/socketauth/internal/engine"
	"github.com/z-open/socketauth/internal/engine/enginetest"
)

// Guards, over real connections, that no message is lost, doubled or out of order when clients
// upgrade in the middle of a stream in both directions.
func TestLoad_UpgradeUnderLoad(t *testing.T) {
	t.Parallel()
	const clients, messages = 30, 100
	app := newIOApp(t)
	s := serve(t, loopback(t), app.engine(engine.Options{Namespaces: map[string]engine.Accept{"/": enginetest.Echo}}), shortTimeouts)
	var wg sync.WaitGroup
	for range clients {
		wg.Go(func() { upgradeUnderLoad(t, s, messages) })
	}
	wg.Wait()
}

// upgradeUnderLoad posts a third of its messages before it upgrades, and sends the rest over the
// websocket. It runs in a goroutine of its own, so it does not call Fatal.
func upgradeUnderLoad(t *testing.T, s *server, messages int) {
	r := s.get(polling)
	if r.status != 200 || !strings.HasPrefix(r.body, "0") {
		t.Errorf("handshake: %d %q %v", r.status, r.body, r.err)
		return
	}
	p := &poller{s: s, sid: parseOpen(t, r.body).SID}
	p.path = polling + "&sid=" + p.sid

	packets := []string{"40"}
	for i := range messages {
		packets = append(packets, fmt.Sprintf(`42["m",%d]`, i))
	}
	third := messages / 3
	probed, posted := make(chan struct{}), make(chan struct{})
	var got []string
	polled := make(chan struct{})
	go func() { // polls until the probe is answered, as browsers do
		defer close(polled)
		for {
			select {
			case <-probed:
				return
			default:
			}
			r := s.get(p.path)
			if r.status != 200 {
				t.Errorf("poll: %d %q %v", r.status, r.body, r.err)
				return
			}
			got = append(got, splitPayload(r.body)...)
		}
	}()
	go func() {
		defer close(posted)
		for _, packet := range packets[:third] {
			if r := s.post(p.path, packet); r.status != 200 {
				t.Errorf("POST: %d %q %v", r.status, r.body, r.err)
				return
			}
		}
	}()
	conn, _, err := s.tryDial(p.upgradePath())
	if err != nil {
		t.Errorf("websocket: %v", err)
		close(probed)
		<-polled
		<-posted
		return
	}
	defer conn.Close()
	_ = conn.SetReadDeadline(time.Now().Add(patience))
	_ = conn.WriteMessage(1, []byte("2probe"))
	if _, data, err := conn.ReadMessage(); err != nil || string(data) != "3probe" {
		t.Errorf("probe: %q %v", data, err)
	}
	close(probed)
	<-polled
	<-posted
	_ = conn.WriteMessage(1, []byte("5"))
	for _, packet := range packets[third:] {
		_ = conn.WriteMessage(1, []byte(packet))
	}
	for {
		messagesGot := got[:0:0]
		for _, packet := range got {
			if strings.HasPrefix(packet, "42") {
				messagesGot = append(messagesGot, packet)
			}
		}
		if len(messagesGot) >= messages {
			if strings.Join(messagesGot, rs) != strings.Join(packets[1:], rs) {
				t.Errorf("got %q", messagesGot)
			}
			return
		}
		_, data, err := conn.ReadMessage()
		if err != nil {
			t.Errorf("%d of %d messages, then %v", len(messagesGot), messages, err)
			return
		}
		got = append(got, string(data))
	}
}

// Guards, over real connections, that the last message and DISCONNECT always arrive.
func TestLoad_EmitThenClose(t *testing.T) {
	t.Parallel()
	last := event(t, "bye", "€")
	accept := func(c engine.Conn, _ engine.Handshake) engine.Receiver {
		c.Close(last)
		return enginetest.Echo(c, engine.Handshake{})
	}
	app := newIOApp(t)
	s := serve(t, loopback(t), app.engine(engine.Options{Namespaces: map[string]engine.Accept{"/": accept}}), shortTimeouts)
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range 20 {
				conn, _, err := s.tryDial(webSocket)
				if err != nil {
					t.Error(err)
					return
				}
				_ = conn.SetReadDeadline(time.Now().Add(patience))
				_ = conn.WriteMessage(1, []byte("40"))
				var got []string
				for {
					_, data, err := conn.ReadMessage()
					if err != nil {
						break
					}
					got = append(got, string(data))
				}
				_ = conn.Close()
				wantLast(t, got)
			}
		})
		wg.Go(func() {
			for range 20 {
				r := s.get(polling)
				if r.status != 200 {
					t.Errorf("handshake: %d %v", r.status, r.err)
					return
				}
				path := polling + "&sid=" + parseOpen(t, r.body).SID
				got := []string{r.body}
				poll := later(func() reply { return s.get(path) })
				if r := s.post(path, "40"); r.status != 200 {
					t.Errorf("POST: %d %q", r.status, r.body)
				}
				for r = <-poll; r.status == 200; r = s.get(path) {
					got = append(got, splitPayload(r.body)...)
				}
				if n := len(got); got[n-1] == "1" || got[n-1] == "6" {
					got = got[:n-1]
				}
				wantLast(t, got)
			}
		})
	}
	wg.Wait()
}

func wantLast(t *testing.T, got []string) {
	t.Helper()
	if n := len(got); n < 2 || got[n-2] != bye || got[n-1] != goodbye {
		t.Errorf("got %q", got)
	}
}

// Guards, over a real connection, that concurrent emits all arrive, those of each goroutine in
// order, and that no two have the same acknowledgement id.
func TestLoad_ConcurrentEmits(t *testing.T) {
	t.Parallel()
	const goroutines, each = 8, 100
	app := newIOApp(t)
	s := serve(t, loopback(t), app.engine(engine.Options{}))
	w, c := s.join(app)
	var replies atomic.Int64
	var wg sync.WaitGroup
	for g := range goroutines {
		wg.Go(func() {
			for i := range each {
				m := event(t, "m", g, i)
				if i%2 == 0 {
					if err := c.Emit(m); err != nil {
						t.Errorf("Emit: %v", err)
					}
				} else if _, err := c.EmitAck(m, func(_ engine.Args, err error) {
					if err == nil {
						replies.Add(1)
					}
				}); err != nil {
					t.Errorf("EmitAck: %v", err)
				}
			}
		})
	}
	wg.Wait()
	next := make([]int, goroutines)
	ids := map[string]bool{}
	packet := regexp.MustCompile(`^42(\d*)\["m",(\d+),(\d+)\]$`)
	for range goroutines * each {
		f := w.next()
		m := packet.FindStringSubmatch(f.data)
		if m == nil {
			t.Fatalf("got %q", f.data)
		}
		g, _ := strconv.Atoi(m[2])
		if m[3] != strconv.Itoa(next[g]) {
			t.Fatalf("goroutine %d: got message %s, want %d", g, m[3], next[g])
		}
		next[g]++
		if m[1] != "" {
			ids[m[1]] = true
			w.send("43" + m[1] + "[]")
		}
	}
	if len(ids) != goroutines*each/2 {
		t.Errorf("%d ids for %d events", len(ids), goroutines*each/2)
	}
	w.send(`42["done"]`) // after the acknowledgements
	app.want("event / done []")
	if n := replies.Load(); n != goroutines*each/2 {
		t.Errorf("%d replies", n)
	}
}

// Guards that Disconnected is called once, even if several things end the connection at a time.
func TestLoad_DisconnectedOnce(t *testing.T) {
	t.Parallel()
	app := newIOApp(t)
	s := serve(t, loopback(t), app.engine(engine.Options{}))
	for range 50 {
		w, _ := s.connect()
		w.send("40")
		app.want("connect / none")
		c := app.connected()
		var wg sync.WaitGroup
		for _, end := range []func(){
			func() { c.Close(nil) }, func() { c.Close(nil) }, w.drop, func() { w.try("41", "1", "9") },
			func() { _ = c.Emit(event(t, "x")) },
		} {
			wg.Go(end)
		}
		wg.Wait()
		if line := app.next(); !strings.HasPrefix(line, "gone / ") {
			t.Fatalf("received %q", line)
		}
	}
	s.shutdown()
	if len(app.lines) != 0 {
		t.Errorf("then received %q", app.next())
	}
}
