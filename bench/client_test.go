package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/z-open/socketauth/internal/dpop/dpoptest"
)

const (
	pingEvery = 5 * time.Second  // often enough for any server here
	patience  = 30 * time.Second // for one packet

	payload  = "a line of chat, of about the length that people write before they press enter"
	echoText = `421["echo","` + payload + `"]` // asks for acknowledgement 1
	echoAck  = `431["` + payload + `"]`
	newsText = `42["news","` + payload + `"]`
)

// transport carries Engine.IO packets as text.
type transport interface {
	write(packet []byte) error
	read() ([]byte, error) // returns the next packet, which is valid until the next read
	close()                // closes at once, also while another goroutine reads
}

// client speaks Engine.IO 3 and Socket.IO 4, on either transport. It allocates little, so that the
// measurements show the servers' allocations. Only close may be called while another call runs.
type client struct {
	transport
	pinged time.Time
	sid    string        // of Engine.IO
	key    *dpoptest.Key // that the session is bound to; nil for none
}

// dialer opens a connection: dialWebsocket or dialPolling.
type dialer func(ctx context.Context, base string) (transport, error)

// join returns a client for a connection, once that is in the root namespace.
func join(t transport) (*client, error) {
	c := &client{transport: t, pinged: time.Now()}
	opened, err := c.expect("0")
	if err != nil {
		return nil, err
	}
	_, rest, _ := bytes.Cut(opened, []byte(`"sid":"`))
	sid, _, _ := bytes.Cut(rest, []byte(`"`))
	c.sid = string(sid)
	if _, err := c.expect("40"); err != nil {
		return nil, err
	}
	return c, nil
}

// expect reads the next packet, which must begin with prefix, and returns the rest. In this version
// of the protocol the client sends the pings, so expect sends them.
func (c *client) expect(prefix string) ([]byte, error) {
	if now := time.Now(); now.Sub(c.pinged) > pingEvery {
		c.pinged = now
		if err := c.write([]byte("2")); err != nil {
			return nil, err
		}
	}
	for {
		packet, err := c.read()
		if err != nil {
			return nil, fmt.Errorf("instead of %q: %w", prefix, err)
		}
		if bytes.Equal(packet, []byte("3")) {
			continue
		}
		rest, ok := bytes.CutPrefix(packet, []byte(prefix))
		if !ok {
			return nil, fmt.Errorf("%q instead of %q", packet, prefix)
		}
		return rest, nil
	}
}

// echo sends an event and waits for its acknowledgement.
func (c *client) echo() error {
	if err := c.write([]byte(echoText)); err != nil {
		return err
	}
	_, err := c.expect(echoAck)
	return err
}

// authenticate presents a code or a token, and returns the token that replaces it.
func (c *client) authenticate(token string) (string, error) {
	proof := ""
	if c.key != nil {
		proof = `","proof":"` + c.key.Socket(c.sid, token)
	}
	if err := c.write([]byte(`42["authenticate",{"token":"` + token + proof + `"}]`)); err != nil {
		return "", err
	}
	rest, err := c.expect(`42["authenticated","`)
	if err != nil {
		return "", err
	}
	return strings.TrimSuffix(string(rest), `"]`), nil
}

// login returns a code, which is valid for one socket.
func login(ctx context.Context, base string) (string, error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, base+"/login", strings.NewReader(`{"username":"someone"}`))
	if err != nil {
		return "", err
	}
	r.Header.Set("Content-Type", "application/json")
	answer, err := http.DefaultClient.Do(r)
	if err != nil {
		return "", err
	}
	defer answer.Body.Close()
	var code struct{ Token string }
	if err := json.NewDecoder(answer.Body).Decode(&code); err != nil {
		return "", err
	}
	if code.Token == "" {
		return "", errors.New("login: " + answer.Status)
	}
	return code.Token, nil
}

// enter opens a connection whose events the candidate answers: with the library, an authenticated
// one. It waits for one echo, so that the server has finished opening the connection.
func enter(ctx context.Context, s *server, dial dialer) (*client, error) {
	t, err := dial(ctx, s.url)
	if err != nil {
		return nil, err
	}
	c, err := join(t)
	if err == nil && s.authenticate {
		var code string
		if s.bound {
			c.key = dpoptest.NewKey()
		}
		if code, err = login(ctx, s.url); err == nil {
			_, err = c.authenticate(code)
		}
	}
	if err == nil {
		err = c.echo()
	}
	if err != nil {
		t.close()
		return nil, err
	}
	return c, nil
}
