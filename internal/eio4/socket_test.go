package eio4

import (
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gorilla/websocket"

	"github.com/z-open/socketauth/internal/engine"
)

// joined is a client in the root namespace, with the calls of its receiver.
type joined struct {
	ws     *websocket.Conn
	conn   engine.Conn
	events []string
	ends   []engine.Reason
}

func (j *joined) Event(name string, args engine.Args, ack engine.Ack) {
	j.events = append(j.events, name)
	for i, v := range args.Values {
		if !json.Valid(v) {
			panic("argument is not JSON: " + string(v))
		}
		args.Attachment(i)
	}
	if ack != nil {
		_ = ack(name)
	}
}

func (j *joined) Disconnected(reason engine.Reason) { j.ends = append(j.ends, reason) }

// join runs a test in fake time with one client over a websocket.
func join(t *testing.T, o engine.Options, f func(t *testing.T, j *joined)) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		j := new(joined)
		o.Namespaces = map[string]engine.Accept{
			"/":    func(c engine.Conn, _ engine.Handshake) engine.Receiver { j.conn = c; return j },
			"/nil": func(engine.Conn, engine.Handshake) engine.Receiver { return nil },
		}
		e := New(o)
		j.ws = dialPipe(t, e, "transport=websocket")
		defer wantNothingLeft(t, e)
		defer j.ws.Close()
		receive(t, j.ws)
		send(t, j.ws, websocket.TextMessage, "40")
		receive(t, j.ws)
		f(t, j)
	})
}

func message(t *testing.T, event string, args ...any) *engine.Message {
	t.Helper()
	m, err := engine.NewMessage(event, args...)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func TestAttachmentsTooLarge(t *testing.T) {
	// Guards the total size of the attachments of a packet.
	const size = 1000
	join(t, engine.Options{MaxPayload: size}, func(t *testing.T, j *joined) {
		placeholder := `{"_placeholder":true,"num":0}`
		send(t, j.ws, websocket.TextMessage, `455-["fits",`+placeholder+`]`)
		for range 5 {
			send(t, j.ws, websocket.BinaryMessage, strings.Repeat("x", 4*size/5))
		}
		synctest.Wait()
		if !slices.Equal(j.events, []string{"fits"}) || len(j.ends) > 0 {
			t.Fatalf("received %q, ended with %q", j.events, j.ends)
		}
		send(t, j.ws, websocket.TextMessage, `455-["does not",`+placeholder+`]`)
		for range 5 {
			send(t, j.ws, websocket.BinaryMessage, strings.Repeat("x", size))
		}
		if _, _, err := j.ws.ReadMessage(); err == nil {
			t.Error("the connection is open")
		}
		synctest.Wait()
		if !slices.Equal(j.events, []string{"fits"}) || !slices.Equal(j.ends, []engine.Reason{engine.ProtocolError}) {
			t.Errorf("received %q, ended with %q", j.events, j.ends)
		}
	})
}

func TestEmitAckError(t *testing.T) {
	// Guards that done is not called if EmitAck fails.
	join(t, engine.Options{MaxQueue: 1000}, func(t *testing.T, j *joined) {
		done := func(engine.Args, error) { t.Error("done is called though EmitAck failed") }
		half := message(t, "x", strings.Repeat("x", 600))
		if err := j.conn.Emit(half); err != nil {
			t.Error(err)
		}
		if _, err := j.conn.EmitAck(half, done); !errors.Is(err, engine.ErrSlow) {
			t.Errorf("too much: %v", err)
		}
		if _, err := j.conn.EmitAck(message(t, "x"), done); !errors.Is(err, engine.ErrClosed) {
			t.Errorf("afterwards: %v", err)
		}
		synctest.Wait()
		if !slices.Equal(j.ends, []engine.Reason{engine.SlowPeer}) {
			t.Errorf("ended %q", j.ends)
		}
	})
}

func TestAcceptWithoutReceiver(t *testing.T) {
	// Guards that Accept may return nil.
	join(t, engine.Options{}, func(t *testing.T, j *joined) {
		send(t, j.ws, websocket.TextMessage, "40/nil,")
		if got := receive(t, j.ws); !strings.HasPrefix(got, `40/nil,{"sid":"`) {
			t.Errorf("CONNECT is answered with %s", got)
		}
		send(t, j.ws, websocket.TextMessage, `42/nil,["x"]`)
		send(t, j.ws, websocket.TextMessage, `42["y"]`)
		synctest.Wait()
		if !slices.Equal(j.events, []string{"y"}) {
			t.Errorf("received %q", j.events)
		}
	})
}

func TestRejoinAfterClose(t *testing.T) {
	// Guards that a client may join again after Conn.Close, and that packets which it sent before
	// it knew are ignored.
	join(t, engine.Options{ConnectTimeout: time.Minute}, func(t *testing.T, j *joined) {
		send(t, j.ws, websocket.TextMessage, "40/nil,")
		receive(t, j.ws)
		first := j.conn
		first.Close(message(t, "bye"))
		first.Close(nil)
		for _, want := range []string{`42["bye"]`, `41`} {
			if got := receive(t, j.ws); got != want {
				t.Errorf("got %s, want %s", got, want)
			}
		}
		send(t, j.ws, websocket.TextMessage, `42["late"]`)
		send(t, j.ws, websocket.TextMessage, `40`)
		if got := receive(t, j.ws); !strings.HasPrefix(got, `40{"sid":"`) || j.conn == first || j.conn.ID() == first.ID() {
			t.Errorf("CONNECT is answered with %s, on the same Conn: %v", got, j.conn == first)
		}
		send(t, j.ws, websocket.TextMessage, `42["again"]`)
		synctest.Wait()
		if !slices.Equal(j.events, []string{"again"}) || !slices.Equal(j.ends, []engine.Reason{engine.ServerDisconnect}) {
			t.Errorf("received %q, ended with %q", j.events, j.ends)
		}
		if err := first.Emit(message(t, "x")); !errors.Is(err, engine.ErrClosed) {
			t.Errorf("Emit on the first: %v", err)
		}
	})
}

// FuzzPost sends arbitrary POSTs as a client in the root namespace. The engine must not panic or
// leave anything behind, and what it delivers must be as documented.
func FuzzPost(f *testing.F) {
	for _, seed := range []string{
		`42["a",1]`, "451-[\"a\",{\"_placeholder\":true,\"num\":0}]\x1ebAQID", "41\x1e40\x1e420[\"x\"]", "3\x1e6\x1e5\x1e1",
		`40`, "40/nil,\x1e42/nil,[1]\x1e41/nil,", `430[]`, `2`, "4\x1e", "452-1[\"a\"]\x1eb\x1eb",
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, payload []byte) {
		j := new(joined)
		e := New(engine.Options{Namespaces: map[string]engine.Accept{
			"/":    func(c engine.Conn, _ engine.Handshake) engine.Receiver { j.conn = c; return j },
			"/nil": func(engine.Conn, engine.Handshake) engine.Receiver { return nil },
		}})
		session := openPoll(t, e)
		if w := serve(e, "POST", session, "40"); w.Code != 200 {
			t.Fatalf("CONNECT: %d", w.Code)
		}
		if _, err := j.conn.EmitAck(message(t, "x"), func(engine.Args, error) {}); err != nil {
			t.Fatal(err)
		}
		serve(e, "POST", session, string(payload))
		wantNothingLeft(t, e)
	})
}
