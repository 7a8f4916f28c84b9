package main

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"
)

var errSignedOut = errors.New("signed out: log in again")

// client is a session that has no socket: it makes requests with a token and has that replaced. It is
// safe for concurrent use.
type client struct {
	url   string
	http  *http.Client
	file  tokenFile
	pause func(ctx context.Context, d time.Duration) error // waits between tries

	mu      sync.Mutex // held while the token is read or replaced: there is one request to /token at a time
	token   string     // what is stored
	renewAt time.Time  // when it is to be replaced; zero if its age is not known
}

// newClient returns a client that goes on with the token in a file, if there is one.
func newClient(url string, transport http.RoundTripper, file tokenFile) (*client, error) {
	token, err := file.load()
	if err != nil {
		return nil, err
	}
	h := &http.Client{Transport: transport, Timeout: 20 * time.Second}
	return &client{url: url, http: h, file: file, pause: sleep, token: token}, nil
}

func sleep(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// answer is what the server has answered.
type answer struct {
	status int
	wait   time.Duration // of Retry-After
	Token  string        `json:"token"`
	Code   string        `json:"code"`

	// Terminal says, if it is there, whether the token that was sent is dead.
	Terminal *bool `json:"terminal"`
}

// ask sends JSON and reads the answer, with the token unless that is "".
func (c *client) ask(ctx context.Context, method, path, token string, body any) (a answer, err error) {
	var text []byte
	if body != nil {
		if text, err = json.Marshal(body); err != nil {
			return a, err
		}
	}
	r, err := http.NewRequestWithContext(ctx, method, c.url+path, bytes.NewReader(text))
	if err != nil {
		return a, err
	}
	if body != nil {
		r.Header.Set("Content-Type", "application/json")
	}
	if token != "" {
		r.Header.Set("Authorization", "Bearer "+token)
	}
	res, err := c.http.Do(r)
	if err != nil {
		return a, err
	}
	defer res.Body.Close()
	if text, err = io.ReadAll(io.LimitReader(res.Body, 64<<10)); err != nil {
		return a, err
	}
	_ = json.Unmarshal(text, &a) // what is not JSON has no token and no code
	a.status = res.StatusCode
	seconds, _ := strconv.Atoi(res.Header.Get("Retry-After"))
	a.wait = time.Duration(seconds) * time.Second
	return a, nil
}

// again calls ask until the server has decided. A request whose answer was lost may be sent again: until
// the next token is confirmed, the one that is stored stays good.
func (c *client) again(ctx context.Context, method, path, token string, body any) (answer, error) {
	for delay := 50 * time.Millisecond; ; delay = min(2*delay, 10*time.Second) {
		a, err := c.ask(ctx, method, path, token, body)
		if err == nil && a.status != http.StatusTooManyRequests && a.status < 500 {
			return a, nil
		}
		if err := c.pause(ctx, max(a.wait, delay/2+rand.N(delay))); err != nil {
			return a, err
		}
	}
}

// Login logs in. The code that it is answered is stored like a token: it is the first one.
func (c *client) Login(ctx context.Context, username, password string) error {
	a, err := c.ask(ctx, http.MethodPost, "/login", "", map[string]string{"username": username, "password": password})
	if err != nil {
		return err
	}
	if a.status != http.StatusOK || a.Token == "" {
		return fmt.Errorf("login refused: %d %s", a.status, a.Code)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.store(a.Token)
}

// store stores a token before it is used.
func (c *client) store(token string) error {
	if err := c.file.store(token); err != nil {
		return err
	}
	c.token, c.renewAt = token, time.Time{}
	if claims := claimsOf(token); claims.Use == "session" {
		life := time.Duration(claims.Life * float64(time.Second))
		c.renewAt = time.Now().Add(life*7/10 + rand.N(life/10+1))
	}
	return nil
}

// current returns a token that is not about to expire, and is not the one that was refused.
func (c *client) current(ctx context.Context, refused string) (string, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case c.token == "":
		return "", errSignedOut
	case c.token != refused && time.Now().Before(c.renewAt):
		return c.token, nil
	}
	if err := c.replace(ctx); err != nil {
		return "", err
	}
	return c.token, nil
}

// replace has the token replaced. c.mu is held.
func (c *client) replace(ctx context.Context) error {
	a, err := c.again(ctx, http.MethodPost, "/token", c.token, nil)
	switch {
	case err != nil:
		return err
	case a.status == http.StatusOK && a.Token != "":
	case a.Terminal != nil && !*a.Terminal:
		return fmt.Errorf("not now: %s", a.Code) // what is stored may be good, or may have been replaced since
	case isDead[a.Code]:
		return errors.Join(fmt.Errorf("%w: %s", errSignedOut, a.Code), c.forget())
	default:
		return fmt.Errorf("the token was not replaced: %d %s", a.status, a.Code)
	}
	if err := c.store(a.Token); err != nil {
		return err
	}
	// If this is lost, the first use of the token confirms it.
	_, _ = c.ask(ctx, http.MethodPost, "/token", c.token, map[string]bool{"confirm": true})
	return nil
}

// isDead has the codes by which the token, and with it the session, is over.
var isDead = map[string]bool{
	"invalid_token": true, "token_expired": true, "invalid_tenant": true, "no_longer_valid": true,
	"token_reused": true, "session_revoked": true,
}

// Get makes a request. If the server says that the token is out of date, it is made once more with the
// next one.
func (c *client) Get(ctx context.Context, path string) (text string, err error) {
	refused := ""
	for {
		token, err := c.current(ctx, refused)
		if err != nil {
			return "", err
		}
		status, text, err := c.get(ctx, path, token)
		if err != nil {
			return "", err
		}
		if status == http.StatusOK {
			return text, nil
		}
		var a answer
		_ = json.Unmarshal([]byte(text), &a)
		if refused != "" || a.Code != "stale_token" && a.Code != "token_expired" {
			return "", fmt.Errorf("refused: %d %s", status, a.Code)
		}
		refused = token
	}
}

func (c *client) get(ctx context.Context, path, token string) (status int, text string, err error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, c.url+path, nil)
	if err != nil {
		return 0, "", err
	}
	r.Header.Set("Authorization", "Bearer "+token)
	res, err := c.http.Do(r)
	if err != nil {
		return 0, "", err
	}
	defer res.Body.Close()
	body, err := io.ReadAll(io.LimitReader(res.Body, 1<<20))
	return res.StatusCode, string(body), err
}

// Logout ends the session.
func (c *client) Logout(ctx context.Context) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if claimsOf(c.token).Use == "session" { // what is left of a login that was not finished ends by itself
		if a, err := c.again(ctx, http.MethodDelete, "/token", c.token, nil); err != nil {
			return err
		} else if a.status != http.StatusNoContent && !isDead[a.Code] {
			return fmt.Errorf("not logged out: %d %s", a.status, a.Code)
		}
	}
	return c.forget()
}

// forget removes the token. c.mu is held.
func (c *client) forget() error {
	c.token, c.renewAt = "", time.Time{}
	return c.file.remove()
}

// claims are what a client may want to know of a token. It need not verify the signature: the token is
// its own.
type claims struct {
	Use        string  `json:"token_use"`
	Life       float64 `json:"dur"` // in seconds, so that no clocks are compared
	Generation uint64  `json:"gen"`
	Role       string  `json:"role"` // of the app
}

func claimsOf(token string) (c claims) {
	if parts := strings.Split(token, "."); len(parts) == 3 {
		payload, _ := base64.RawURLEncoding.DecodeString(parts[1])
		_ = json.Unmarshal(payload, &c)
	}
	return c
}
