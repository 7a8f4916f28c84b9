package eio

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"testing"
	"time"

	"github.com/gorilla/websocket"
)

// maskedFrame encodes a frame of a client.
func maskedFrame(first byte, payload string) []byte {
	frame := []byte{first}
	switch n := len(payload); {
	case n <= 125:
		frame = append(frame, maskBit|byte(n))
	case n <= 0xFFFF:
		frame = binary.BigEndian.AppendUint16(append(frame, maskBit|126), uint16(n))
	default:
		frame = binary.BigEndian.AppendUint64(append(frame, maskBit|127), uint64(n))
	}
	mask := [4]byte{0x5A, 1, 0xFE, 0x77}
	frame = append(frame, mask[:]...)
	for i := range len(payload) {
		frame = append(frame, payload[i]^mask[i%4])
	}
	return frame
}

// decoded is what came out of a decoder.
type decoded struct {
	kind    byte
	payload string
}

// decode passes bytes to a decoder in parts of the given size.
func decode(data []byte, size, limit int) (all []decoded, err error) {
	var d decoder
	for part := range slices.Chunk(data, size) {
		d.in = append(slices.Clone(d.in), part...)
		for {
			kind, payload, err := d.next(limit)
			if err != nil {
				return all, err
			}
			if kind == opContinuation {
				break
			}
			all = append(all, decoded{kind, string(payload)})
			if kind == opClose {
				return all, checkClose(payload)
			}
		}
	}
	return all, nil
}

func TestFrameParts(t *testing.T) {
	// Guards that messages are whole however the network cuts them, and however the client fragments
	// them.
	long := string(bytes.Repeat([]byte("0123456789a"), 7000))
	data := slices.Concat(
		maskedFrame(finalBit|opText, "one"), maskedFrame(finalBit|opText, ""), maskedFrame(opText, "fr"),
		maskedFrame(finalBit|opPing, "ping"), maskedFrame(opContinuation, ""), maskedFrame(opContinuation, "agmen"),
		maskedFrame(finalBit|opContinuation, "ts"), maskedFrame(finalBit|opBinary, long[:200]),
		maskedFrame(finalBit|opBinary, long), maskedFrame(finalBit|opClose, "\x03\xE9"),
	)
	want := []decoded{{opText, "one"}, {opText, ""}, {opPing, "ping"}, {opText, "fragments"},
		{opBinary, long[:200]}, {opBinary, long}, {opClose, "\x03\xE9"}}
	for _, size := range []int{1, 2, 3, 7, 64, 1000, 4096, len(data)} {
		got, err := decode(data, size, len(long))
		if err != nil || !slices.Equal(got, want) {
			t.Errorf("in parts of %d bytes: %d messages, %v", size, len(got), err)
		}
	}
}

func TestFrameErrors(t *testing.T) {
	// Guards that what RFC 6455 forbids, and what is too long, is refused as soon as it is seen.
	protocol := func(err error) bool { return errors.As(err, new(frameError)) }
	limit := func(err error) bool { return errors.Is(err, errLimit) }
	for name, c := range map[string]struct {
		data []byte
		is   func(error) bool
	}{
		"reserved bit":          {maskedFrame(0xC0|opText, "x"), protocol},
		"opcode":                {maskedFrame(finalBit|3, "x"), protocol},
		"control opcode":        {maskedFrame(finalBit|11, "x"), protocol},
		"no mask":               {[]byte{finalBit | opText, 1}, protocol},
		"fragmented ping":       {maskedFrame(opPing, "x"), protocol},
		"long ping":             {maskedFrame(finalBit|opPing, string(make([]byte, 126))), protocol},
		"continuation first":    {maskedFrame(finalBit|opContinuation, "x"), protocol},
		"message in a message":  {append(maskedFrame(opText, "x"), maskedFrame(finalBit|opText, "x")...), protocol},
		"close code":            {maskedFrame(finalBit|opClose, "\x03\xED"), protocol},
		"close text":            {maskedFrame(finalBit|opClose, "\x03\xE8\xFF"), protocol},
		"too long":              {maskedFrame(finalBit|opText, string(make([]byte, 101)))[:8], limit},
		"too long in fragments": {append(maskedFrame(opText, string(make([]byte, 60))), maskedFrame(opContinuation, string(make([]byte, 60)))[:6]...), limit},
		"longest there is":      {[]byte{finalBit | opText, maskBit | 127, 255, 255, 255, 255, 255, 255, 255, 255, 1, 2, 3, 4}, limit},
		"overflow":              {append(maskedFrame(opText, "x"), opContinuation, maskBit|127, 127, 255, 255, 255, 255, 255, 255, 255, 1, 2, 3, 4), limit},
	} {
		if _, err := decode(c.data, len(c.data), 100); !c.is(err) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestFrameMemory(t *testing.T) {
	// Guards that a client cannot make the server allocate much by announcing a long message.
	var d decoder
	d.in = maskedFrame(finalBit|opBinary, string(make([]byte, 1<<20)))[:14+100]
	if _, _, err := d.next(1 << 20); err != nil || d.partial == nil || cap(d.partial.data) > 1000 {
		t.Errorf("%d bytes for 100 that have arrived, %v", cap(d.partial.data), err)
	}
}

func TestFrameFragments(t *testing.T) {
	// Guards that a message in fragments of one byte costs what its length is worth: copied for each
	// fragment, 1 MiB would take minutes. Nor does it keep twice the memory.
	const fragments = 5000
	data := bytes.Repeat(maskedFrame(opContinuation, "x"), fragments)
	data[0] = opText
	last := maskedFrame(finalBit|opContinuation, "x")
	allocations := testing.AllocsPerRun(1, func() {
		var d decoder
		d.in = data
		if kind, _, err := d.next(1 << 20); kind != opContinuation || err != nil || cap(d.partial.data) > 2*fragments {
			t.Errorf("%d, %v", kind, err)
		}
		arrived := d.partial.data // with much room
		d.in = last
		kind, payload, err := d.next(1 << 20)
		if kind != opText || len(payload) != fragments+1 || err != nil || &payload[0] == &arrived[0] {
			t.Errorf("%d, %d bytes, %v", kind, len(payload), err)
		}
	})
	if allocations > 30 {
		t.Errorf("%.0f allocations for %d fragments", allocations, fragments)
	}
}

// stubConn is a connection of which all that arrives is known.
type stubConn struct {
	net.Conn
	r io.Reader
}

func (c stubConn) Read(b []byte) (int, error)       { return c.r.Read(b) }
func (stubConn) Write(b []byte) (int, error)        { return len(b), nil }
func (stubConn) Close() error                       { return nil }
func (stubConn) SetDeadline(time.Time) error        { return nil }
func (stubConn) SetReadDeadline(t time.Time) error  { return nil }
func (stubConn) SetWriteDeadline(t time.Time) error { return nil }

type stubHijacker struct {
	http.ResponseWriter
	conn net.Conn
}

func (h stubHijacker) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	return h.conn, bufio.NewReadWriter(bufio.NewReader(h.conn), bufio.NewWriter(h.conn)), nil
}

// reference decodes as gorilla/websocket does.
func reference(t *testing.T, data []byte, limit int) (all []decoded, failed bool) {
	r := httptest.NewRequest(http.MethodGet, "/", nil)
	r.Header = http.Header{"Connection": {"Upgrade"}, "Upgrade": {"websocket"}, "Sec-Websocket-Version": {"13"},
		"Sec-Websocket-Key": {"AAAAAAAAAAAAAAAAAAAAAA=="}}
	u := websocket.Upgrader{}
	conn, err := u.Upgrade(stubHijacker{httptest.NewRecorder(), stubConn{r: bytes.NewReader(data)}}, r, nil)
	if err != nil {
		t.Fatal(err)
	}
	conn.SetReadLimit(int64(limit))
	conn.SetPingHandler(func(text string) error { all = append(all, decoded{opPing, text}); return nil })
	conn.SetPongHandler(func(text string) error { all = append(all, decoded{opPong, text}); return nil })
	conn.SetCloseHandler(func(int, string) error { all = append(all, decoded{opClose, ""}); return nil })
	for {
		kind, payload, err := conn.ReadMessage()
		if err != nil {
			var closed *websocket.CloseError
			end := errors.Is(err, io.EOF) || errors.As(err, &closed)
			return all, !end
		}
		all = append(all, decoded{byte(kind), string(payload)})
	}
}

func FuzzFrames(f *testing.F) {
	// Guards that the decoder takes and refuses what gorilla/websocket does.
	f.Add(slices.Concat(maskedFrame(opText, "fr"), maskedFrame(finalBit|opPing, "p"), maskedFrame(finalBit|opContinuation, "ag")), 3)
	f.Add(slices.Concat(maskedFrame(finalBit|opBinary, "data"), maskedFrame(finalBit|opClose, "\x03\xE9bye")), 1)
	f.Add([]byte{finalBit | opText, maskBit | 126, 0, 3, 1, 2, 3, 4, 5, 6, 7}, 2)
	f.Add([]byte{finalBit | opText, 3, 1, 2, 3}, 5)
	f.Add([]byte("\x81\xff\xff0000000"), 97)
	f.Add([]byte("\x01\x82000000\x01\xfe"), 19)
	f.Fuzz(func(t *testing.T, data []byte, size int) {
		const limit = 300
		want, refused := reference(t, data, limit)
		got, err := decode(data, max(size, 1), limit)
		for i, m := range got {
			if m.kind == opClose {
				got[i].payload = ""
			}
		}
		if err != nil && len(got) > 0 && got[len(got)-1].kind == opClose {
			got = got[:len(got)-1] // its payload was wrong
		}
		if !slices.Equal(got, want) || refused != (err != nil) {
			t.Errorf("%q, %v; gorilla/websocket: %q, refused %t", got, err, want, refused)
		}
	})
}
