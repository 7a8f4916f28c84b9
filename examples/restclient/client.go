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
	"sync/atomic"
	"time"

	"github.com/z-open/socketauth/examples/internal/dpop"
)

var errSignedOut = errors.New("signed out: log in again")

// client is a session that has no socket: it makes requests with a token and has that replaced. It
// is safe for concurrent use.
type client struct {
	url   string
	http  *http.Client
	file  tokenFile
	key   *dpop.Key                                        // that the session is bound to; nil if it is to be bound to none
	nonce atomic.Pointer[string]                           // the last one that the server has sent, for proofs
	pause func(ctx context.Context, d time.Duration) error // waits between tries

	mu      sync.Mutex // held while the token is read or replaced: there is one request to /token at a time
	token   string     // what is stored
	renewAt time.Time  // when it is to be replaced; zero if its age is not known
}

// newClient returns a client that goes on with the token in a file, if there is one. If key is not
// nil, the session that a login begins is bound to it.
func newClient(url string, transport http.RoundTripper, file tokenFile, key *dpop.Key) (*client, error) {
	token, err := file.load()
	if err != nil {
		return nil, err
	}
	if key != nil && key.IsLost(token) {
		token = "" // nobody else has that key, so this session is over
	}
	h := &http.Client{Transport: transport, Timeout: 20 * time.Second}
	return &client{url: url, http: h, file: file, key: key, pause: sleep, token: token}, nil
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
	text   []byte
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
	return c.send(ctx, method, path, token, text)
}

// send makes a request, once more if the server wants its nonce in the proof: the clocks differ.
func (c *client) send(ctx context.Context, method, path, token string, body []byte) (a answer, err error) {
	for range 2 {
		a, err = c.try(ctx, method, path, token, body)
		if err != nil || !strings.EqualFold(a.Code, "use_dpop_nonce") { // a login answers it in capitals
			break
		}
	}
	return a, err
}

// try makes a request.
func (c *client) try(ctx context.Context, method, path, token string, body []byte) (a answer, err error) {
	r, err := http.NewRequestWithContext(ctx, method, c.url+path, bytes.NewReader(body))
	if err != nil {
		return a, err
	}
	if body != nil {
		r.Header.Set("Content-Type", "application/json")
	}
	if err := c.authorize(r, token); err != nil {
		return a, err
	}
	res, err := c.http.Do(r)
	if err != nil {
		return a, err
	}
	defer res.Body.Close()
	if nonce := res.Header.Get("DPoP-Nonce"); nonce != "" {
		c.nonce.Store(&nonce)
	}
	if a.text, err = io.ReadAll(io.LimitReader(res.Body, 1<<20)); err != nil {
		return a, err
	}
	_ = json.Unmarshal(a.text, &a) // what is not JSON has no token and no code
	a.status = res.StatusCode
	seconds, _ := strconv.Atoi(res.Header.Get("Retry-After"))
	a.wait = time.Duration(seconds) * time.Second
	return a, nil
}

// authorize adds the token to a request, unless that is "", and a proof if there is a key.
func (c *client) authorize(r *http.Request, token string) error {
	switch {
	case token == "":
	case dpop.BoundTo(token) == "": // a code too that is to be bound
		r.Header.Set("Authorization", "Bearer "+token)
	default:
		r.Header.Set("Authorization", "DPoP "+token)
	}
	if c.key == nil {
		return nil
	}
	nonce := ""
	if last := c.nonce.Load(); last != nil {
		nonce = *last
	}
	proof, err := c.key.Request(r.Method, r.URL.String(), token, nonce)
	r.Header.Set("DPoP", proof)
	return err
}

// again calls ask until the server has decided. A request whose answer was lost may be sent again:
// until the next token is confirmed, the one that is stored stays good.
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
	"token_reused": true, "session_revoked": true, "invalid_proof": true,
}

// Get makes a request. If the server says that the token is out of date, it is made once more with
// the next one.
func (c *client) Get(ctx context.Context, path string) (text string, err error) {
	refused := ""
	for {
		token, err := c.current(ctx, refused)
		if err != nil {
			return "", err
		}
		a, err := c.send(ctx, http.MethodGet, path, token, nil)
		if err != nil {
			return "", err
		}
		if a.status == http.StatusOK {
			return string(a.text), nil
		}
		if refused != "" || a.Code != "stale_token" && a.Code != "token_expired" {
			return "", fmt.Errorf("refused: %d %s", a.status, a.Code)
		}
		refused = token
	}
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

// claims are what a client may want to know of a token. It need not verify the signature: the token
// is its own.
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
