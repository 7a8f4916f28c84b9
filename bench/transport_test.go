package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/gorilla/websocket"
)

// websocketTransport uses a websocket from the start.
type websocketTransport struct {
	ws       *websocket.Conn
	buf      bytes.Buffer
	extended time.Time // when the read deadline was last moved
}

func dialWebsocket(ctx context.Context, base string) (transport, error) {
	dialer := websocket.Dialer{HandshakeTimeout: patience, ReadBufferSize: 512, WriteBufferSize: 512}
	ws, _, err := dialer.DialContext(ctx, "ws"+strings.TrimPrefix(base, "http")+socketPath+"?EIO=3&transport=websocket", nil)
	if err != nil {
		return nil, err
	}
	return &websocketTransport{ws: ws}, nil
}

func (t *websocketTransport) write(packet []byte) error {
	return t.ws.WriteMessage(websocket.TextMessage, packet)
}

func (t *websocketTransport) read() ([]byte, error) {
	if now := time.Now(); now.Sub(t.extended) > pingEvery {
		t.extended = now
		_ = t.ws.SetReadDeadline(now.Add(2 * patience))
	}
	_, r, err := t.ws.NextReader()
	if err != nil {
		return nil, err
	}
	t.buf.Reset()
	if _, err := t.buf.ReadFrom(r); err != nil {
		return nil, err
	}
	return bytes.TrimSuffix(t.buf.Bytes(), []byte("\n")), nil // some encoders end JSON with a line feed
}

// leave ends the connection as browsers do, and waits until the server has closed it.
func (t *websocketTransport) leave() error {
	if err := t.ws.WriteControl(websocket.CloseMessage, nil, time.Now().Add(patience)); err != nil {
		return err
	}
	for {
		_, err := t.read()
		var closed *websocket.CloseError
		switch {
		case errors.As(err, &closed):
			// The server has to close the connection.
			_, err := t.ws.NetConn().Read(make([]byte, 1))
			if errors.Is(err, io.EOF) {
				return nil
			}
			return fmt.Errorf("after the close frame: %w", err)
		case err != nil:
			return err
		}
	}
}

func (t *websocketTransport) close() { _ = t.ws.Close() }

// pollingTransport always has a pending poll, as the real client does.
type pollingTransport struct {
	http    *http.Client
	url     string
	ctx     context.Context // the context of its requests
	cancel  context.CancelFunc
	packets chan []byte
	done    chan struct{} // closed when the polls have ended
	err     error         // why they ended, set before done is closed
}

func dialPolling(ctx context.Context, base string) (transport, error) {
	t := &pollingTransport{
		http:    &http.Client{Transport: &http.Transport{ResponseHeaderTimeout: 2 * patience}},
		url:     base + socketPath + "?EIO=3&transport=polling&b64=1",
		packets: make(chan []byte, 16),
		done:    make(chan struct{}),
	}
	t.ctx, t.cancel = context.WithCancel(ctx)
	packets, err := t.poll()
	if err != nil {
		t.cancel()
		return nil, err
	}
	var opened struct{ SID string }
	if err := json.Unmarshal(packets[0][1:], &opened); err != nil {
		t.cancel()
		return nil, fmt.Errorf("%q: %w", packets[0], err)
	}
	t.url += "&sid=" + opened.SID
	go t.run(packets)
	return t, nil
}

// maxEarly is how many polls may come too early. go-socket.io sends OPEN before it can find the
// session.
const maxEarly = 100

// errUnknown means that the server does not know the session.
var errUnknown = errors.New("unknown session")

// run passes packets on, and polls for more until the connection ends.
func (t *pollingTransport) run(packets [][]byte) {
	defer close(t.done)
	for early := 0; t.err == nil; {
		for _, packet := range packets {
			select {
			case t.packets <- packet:
			case <-t.ctx.Done():
				t.err = t.ctx.Err()
				return
			}
		}
		packets, t.err = t.poll()
		if errors.Is(t.err, errUnknown) && early < maxEarly {
			early++
			t.err = nil
		}
	}
}

// poll returns at least one packet.
func (t *pollingTransport) poll() ([][]byte, error) {
	body, err := t.request(http.MethodGet, nil)
	if err != nil {
		return nil, err
	}
	var packets [][]byte
	for len(body) > 0 {
		// Lengths are in UTF-16 units, but all text here is ASCII.
		length, rest, _ := bytes.Cut(body, []byte(":"))
		n, err := strconv.Atoi(string(length))
		if err != nil || n < 1 || n > len(rest) {
			return nil, fmt.Errorf("malformed payload %q", body)
		}
		packets = append(packets, bytes.TrimSuffix(rest[:n], []byte("\n")))
		body = rest[n:]
	}
	if len(packets) == 0 {
		return nil, errors.New("empty payload")
	}
	return packets, nil
}

func (t *pollingTransport) write(packet []byte) error {
	body := append(strconv.AppendInt(nil, int64(len(packet)), 10), ':')
	_, err := t.request(http.MethodPost, append(body, packet...))
	return err
}

func (t *pollingTransport) request(method string, body []byte) ([]byte, error) {
	r, err := http.NewRequestWithContext(t.ctx, method, t.url, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	if body != nil {
		r.Header.Set("Content-Type", "text/plain;charset=UTF-8")
	}
	answer, err := t.http.Do(r)
	if err != nil {
		return nil, err
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(answer.Body)
	switch {
	case err != nil:
		return nil, err
	case answer.StatusCode == http.StatusBadRequest && bytes.Contains(text, []byte("invalid sid")):
		return nil, errUnknown
	case answer.StatusCode != http.StatusOK:
		return nil, fmt.Errorf("%s: %s: %q", method, answer.Status, text)
	}
	return text, nil
}

func (t *pollingTransport) read() ([]byte, error) {
	select {
	case packet := <-t.packets:
		return packet, nil
	case <-t.done:
		return nil, t.err
	}
}

func (t *pollingTransport) close() {
	t.cancel()
	<-t.done
	t.http.CloseIdleConnections()
}
