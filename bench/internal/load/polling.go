package load

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
)

// NewHTTPClient returns an HTTP client of client i, which keeps its connections.
func NewHTTPClient(i int) *http.Client {
	return &http.Client{
		Timeout:   patience,
		Transport: &http.Transport{DialContext: Dial(LocalAddress(i)), MaxIdleConnsPerHost: 64},
	}
}

// OpenPolling is Open over polling. It polls only when a packet is awaited.
func OpenPolling(ctx context.Context, h *http.Client, base string, d Dialect, token string) (*Conn, string, error) {
	t := &pollingTransport{ctx: ctx, http: h, url: base + d.path() + "polling&b64=1", version: d.eio()}
	if t.version == 0 {
		return nil, "", errors.New("there is no polling in this dialect")
	}
	if err := t.poll(); err != nil {
		return nil, "", err
	}
	var opened struct{ SID string }
	if err := json.Unmarshal(t.packets[0][1:], &opened); err != nil {
		return nil, "", fmt.Errorf("%q: %w", t.packets[0], err)
	}
	t.url += "&sid=" + opened.SID
	return enter(t, d, token)
}

type pollingTransport struct {
	ctx     context.Context // the context of its requests
	http    *http.Client
	url     string
	version int
	packets [][]byte
}

func (t *pollingTransport) read() ([]byte, error) {
	// go-socket.io sends OPEN before it can find the session, so a poll may come too early.
	for early := 0; len(t.packets) == 0; early++ {
		if err := t.poll(); err != nil && (!errors.Is(err, errUnknown) || early == 100) {
			return nil, err
		}
	}
	packet := t.packets[0]
	t.packets = t.packets[1:]
	return packet, nil
}

// poll reads at least one packet.
func (t *pollingTransport) poll() error {
	body, err := t.request(http.MethodGet, nil)
	if err != nil {
		return err
	}
	if t.version == 4 {
		t.packets = bytes.Split(body, []byte{0x1e})
	}
	for t.version == 3 && len(body) > 0 {
		// Lengths are in UTF-16 units, but all text here is ASCII.
		length, rest, _ := bytes.Cut(body, []byte(":"))
		n, err := strconv.Atoi(string(length))
		if err != nil || n < 1 || n > len(rest) {
			return fmt.Errorf("malformed payload %q", body)
		}
		t.packets = append(t.packets, rest[:n])
		body = rest[n:]
	}
	if len(t.packets) == 0 || len(t.packets[0]) == 0 {
		return errors.New("empty payload")
	}
	return nil
}

func (t *pollingTransport) write(packet string) error {
	if t.version == 3 {
		packet = strconv.Itoa(len(packet)) + ":" + packet
	}
	_, err := t.request(http.MethodPost, strings.NewReader(packet))
	return err
}

// errUnknown means that the server does not know the session.
var errUnknown = errors.New("unknown session")

func (t *pollingTransport) request(method string, body io.Reader) ([]byte, error) {
	r, err := http.NewRequestWithContext(t.ctx, method, t.url, body)
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

func (t *pollingTransport) wait() {}

func (t *pollingTransport) leave() error { return t.write("1") }

func (t *pollingTransport) close() {}
