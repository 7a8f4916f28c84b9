package eio

import (
	"bytes"
	"net"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"
)

// sockets returns the two ends of a TCP connection.
func sockets(t *testing.T) (client, server net.Conn) { return socketsOf(t, "tcp") }

// socketsOf is sockets for a network, "tcp" or one of Unix sockets.
func socketsOf(t *testing.T, network string) (client, server net.Conn) {
	address := "127.0.0.1:0"
	if network != "tcp" {
		address = filepath.Join(t.TempDir(), "socket")
	}
	l, err := net.Listen(network, address)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	client, err = net.Dial(network, l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = client.Close() })
	server, err = l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = server.Close() })
	_ = server.SetDeadline(time.Now().Add(time.Minute))
	return client, server
}

// arrived waits, and returns the messages that have arrived.
func arrived(t *testing.T, ws *WebSocket) (all []decoded) {
	if err := ws.await(); err != nil {
		t.Fatal(err)
	}
	for {
		switch kind, payload, err := ws.next(1 << 20); {
		case err != nil:
			t.Fatal(err)
		case kind == opContinuation:
			return all
		default:
			all = append(all, decoded{kind, string(payload)})
		}
	}
}

func TestInputWaits(t *testing.T) {
	// Guards that nothing is lost between waits, wherever those come, and that an input that waits
	// keeps no buffer but what belongs to a message.
	long := string(bytes.Repeat([]byte("0123456789a"), 1000))
	data := slices.Concat(maskedFrame(finalBit|opText, "one"), maskedFrame(opText, "fr"), maskedFrame(finalBit|opPing, "ping"),
		maskedFrame(finalBit|opContinuation, "agments"), maskedFrame(finalBit|opBinary, long), maskedFrame(finalBit|opClose, ""))
	want := []decoded{{opText, "one"}, {opPing, "ping"}, {opText, "fragments"}, {opBinary, long}, {opClose, ""}}
	for _, wrapped := range []bool{false, true} {
		for _, size := range []int{1, 5, 6, 9, 1000, 5000} {
			client, server := sockets(t)
			if wrapped {
				server = struct{ net.Conn }{server} // which can be read only by waiting in Read
			}
			ws := (&Engine{chunks: sync.Pool{}}).newWebSocket(server, "")
			var got []decoded
			for part := range slices.Chunk(data, size) {
				if _, err := client.Write(part); err != nil {
					t.Fatal(err)
				}
				got = append(got, arrived(t, ws)...)
				if ws.input.chunk != nil || !wrapped && cap(ws.input.in) > 200 {
					t.Fatalf("an input that waits has a buffer: %d bytes", cap(ws.input.in))
				}
			}
			for len(got) < len(want) { // the last part may have arrived in parts
				got = append(got, arrived(t, ws)...)
			}
			if !slices.Equal(got, want) {
				t.Errorf("wrapped %t, parts of %d bytes: %d messages", wrapped, size, len(got))
			}
		}
	}
}

func TestInputAnnounced(t *testing.T) {
	// Guards that a client cannot make the server keep much by announcing a long message and sending
	// little of it.
	for _, wrapped := range []bool{false, true} {
		client, server := sockets(t)
		if wrapped {
			server = struct{ net.Conn }{server}
		}
		ws := (&Engine{chunks: sync.Pool{}}).newWebSocket(server, "")
		frame := maskedFrame(finalBit|opText, string(make([]byte, 60_000)))
		for _, part := range [][]byte{frame[:20], frame[20:21]} {
			if _, err := client.Write(part); err != nil {
				t.Fatal(err)
			}
			if got := arrived(t, ws); len(got) > 0 {
				t.Fatalf("%d messages", len(got))
			}
		}
		if p := ws.input.partial; p == nil || cap(p.data) > 1000 {
			t.Errorf("wrapped %t: %d bytes for %d that have arrived", wrapped, cap(p.data), len(p.data))
		}
	}
}
