package socketauth

import (
	"bufio"
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/z-open/socketauth/blacklist"
	"github.com/z-open/socketauth/internal/dpop/dpoptest"
)

// A hotPath is an operation that servers repeat all the time. TestHotPathAllocations limits what it
// allocates, and BenchmarkHotPaths measures it.
type hotPath struct {
	name      string
	most      float64 // allocations of one operation, as the test allows them
	receivers int     // of a broadcast: most is then for each of them
	start     func(t testing.TB, receivers int) (op func() error)
}

// hotPaths returns the operations. Clients that it needs are in the same process and allocate
// nothing.
func hotPaths() []hotPath {
	return []hotPath{
		{name: "presentation", most: 8, start: startPresentation},
		{name: "presentation/bound", most: 76, start: startBoundPresentation},
		{name: "echo/eio3", most: 12, start: func(t testing.TB, _ int) func() error { return startEcho(t, 3) }},
		{name: "echo/eio4", most: 11, start: func(t testing.TB, _ int) func() error { return startEcho(t, 4) }},
		{name: "broadcast", most: 0.2, receivers: 200, start: startBroadcast},
		{name: "login", most: 58, start: startLogin},
		{name: "middleware", most: 29, start: startMiddleware},
	}
}

// BenchmarkHotPaths measures the operations of hotPaths, clients included. For two versions of the
// library, benchstat compares what it writes.
func BenchmarkHotPaths(b *testing.B) {
	for _, p := range hotPaths() {
		b.Run(p.name, func(b *testing.B) {
			op := p.start(b, p.receivers)
			b.ReportAllocs()
			for b.Loop() {
				if err := op(); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// startPresentation verifies a token, has the store decide on it and makes its successor.
func startPresentation(t testing.TB, _ int) func() error {
	a, err := New(Options[any]{Secret: testSecret})
	if err != nil {
		t.Fatal(err)
	}
	current, err := a.tokens.code(t.Context(), jwt.MapClaims{"sub": "anna"}, time.Now(), "")
	if err != nil {
		t.Fatal(err)
	}
	ctx, text := t.Context(), current.Text
	return func() error {
		presented, err := a.tokens.verify(ctx, text)
		if err != nil {
			return err
		}
		next, err := a.tokens.successor(ctx, presented)
		if err != nil {
			return err
		}
		r, err := a.blacklist.Present(ctx, blacklist.Presentation{
			Token: presented.ref(), SuccessorID: next.ID, SuccessorExpiresAt: next.ExpiresAt,
		})
		if err == nil && r.Verdict != blacklist.Accepted {
			err = fmt.Errorf("verdict %v", r.Verdict)
		}
		text = next.Text
		return err
	}
}

// startBoundPresentation is startPresentation for a token that is bound to a key, with its proof.
// It is the same token each time, whose client does not confirm the next one.
func startBoundPresentation(t testing.TB, _ int) func() error {
	a, err := New(Options[any]{Secret: testSecret})
	if err != nil {
		t.Fatal(err)
	}
	key := dpoptest.NewKey()
	code, err := a.tokens.code(t.Context(), jwt.MapClaims{"sub": "anna"}, time.Now(), key.Thumbprint)
	if err != nil {
		t.Fatal(err)
	}
	const connection = "lv_VI97HAXpY6yYWAAACAA"
	ctx, in := t.Context(), presented{token: code.Text, proof: key.Socket(connection, code.Text)}
	return func() error {
		presented, refused := a.verifyProved(ctx, in, connection)
		if refused != nil {
			return refused.cause
		}
		next, err := a.tokens.successor(ctx, presented)
		if err != nil {
			return err
		}
		r, err := a.blacklist.Present(ctx, blacklist.Presentation{
			Token: presented.ref(), SuccessorID: next.ID, SuccessorExpiresAt: next.ExpiresAt, Confirming: true,
		})
		if err == nil && r.Verdict != blacklist.Accepted {
			err = fmt.Errorf("verdict %v", r.Verdict)
		}
		return err
	}
}

// hotServer is a server with a handler that echoes its argument.
type hotServer struct {
	*Server
	mux *http.ServeMux
	url string
}

func startHotServer(t testing.TB) *hotServer {
	mux := http.NewServeMux()
	s, err := Infrastructure(nil, mux, Options[string]{
		Secret: testSecret,
		FindUserByCredentials: func(_ context.Context, c Credentials) (string, error) {
			return c.Get("username"), nil
		},
		Claim:  func(user string) (jwt.MapClaims, error) { return jwt.MapClaims{"sub": user}, nil },
		Logger: slog.New(slog.NewTextHandler(io.Discard, nil)), // logins are logged
		Limits: Limits{LoginsPerAddress: NoLimit, SessionsPerUser: NoLimit, SocketsPerUser: NoLimit},
	})
	if err != nil {
		t.Fatal(err)
	}
	s.On("echo", func(_ context.Context, _ *Socket, args Args) (any, error) {
		var text string
		err := args.Decode(&text)
		return text, err
	})
	h := httptest.NewServer(mux)
	t.Cleanup(func() {
		_ = s.Shutdown(context.WithoutCancel(t.Context()))
		h.Close()
	})
	return &hotServer{s, mux, h.URL}
}

// dial connects a client that is authenticated and hears broadcasts.
func (s *hotServer) dial(t testing.TB, version int) *hotClient {
	code, err := s.Auth().IssueCode(t.Context(), jwt.MapClaims{"sub": "anna"})
	if err != nil {
		t.Fatal(err)
	}
	conn, err := net.Dial("tcp", strings.TrimPrefix(s.url, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	c := &hotClient{Conn: conn, in: bufio.NewReader(conn)}
	_, err = fmt.Fprintf(conn, "GET /socket.io/?EIO=%d&transport=websocket HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\n"+
		"Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n", version)
	if err != nil {
		t.Fatal(err)
	}
	answer, err := http.ReadResponse(c.in, nil)
	if err != nil || answer.StatusCode != http.StatusSwitchingProtocols {
		t.Fatal(answer, err)
	}
	expect := func(prefix string) {
		if err := c.read(); err != nil || !bytes.HasPrefix(c.packet, []byte(prefix)) {
			t.Fatalf("%q instead of %q: %v", c.packet, prefix, err)
		}
	}
	send := func(packet string) {
		if _, err := conn.Write(masked(packet)); err != nil {
			t.Fatal(err)
		}
	}
	expect("0{")
	if version == 4 {
		send(`40{"token":"` + code + `"}`)
		expect("40{")
	} else {
		expect("40")
		send(`42["authenticate",{"token":"` + code + `"}]`)
	}
	expect(`42["authenticated","`)
	return c
}

// hotClient reads and writes frames without allocating.
type hotClient struct {
	net.Conn
	in     *bufio.Reader
	header [8]byte
	packet []byte // the last one that was read
}

// masked encodes a packet as a client's frame, with a mask of zeros.
func masked(packet string) []byte {
	frame := []byte{0x81, 0x80 | byte(len(packet))}
	if len(packet) > 125 {
		frame = binary.BigEndian.AppendUint16([]byte{0x81, 0x80 | 126}, uint16(len(packet)))
	}
	return append(append(frame, 0, 0, 0, 0), packet...)
}

// read reads a text frame of less than 64 KiB.
func (c *hotClient) read() error {
	if _, err := io.ReadFull(c.in, c.header[:2]); err != nil {
		return err
	}
	n := int(c.header[1])
	if n == 126 {
		if _, err := io.ReadFull(c.in, c.header[:2]); err != nil {
			return err
		}
		n = int(binary.BigEndian.Uint16(c.header[:]))
	}
	if cap(c.packet) < n {
		c.packet = make([]byte, n)
	}
	c.packet = c.packet[:n]
	_, err := io.ReadFull(c.in, c.packet)
	return err
}

const hotText = "a line of chat, of about the length that people write before they press enter"

func startEcho(t testing.TB, version int) func() error {
	c := startHotServer(t).dial(t, version)
	question, answer := masked(`421["echo","`+hotText+`"]`), []byte(`431["`+hotText+`"]`)
	return func() error {
		if _, err := c.Write(question); err != nil {
			return err
		}
		if err := c.read(); err != nil || !bytes.Equal(c.packet, answer) {
			return fmt.Errorf("%q: %v", c.packet, err)
		}
		return nil
	}
}

func startBroadcast(t testing.TB, receivers int) func() error {
	s := startHotServer(t)
	clients := make([]*hotClient, receivers)
	for i := range clients {
		clients[i] = s.dial(t, 3+i%2)
	}
	news := []byte(`42["news","` + hotText + `"]`)
	return func() error {
		if err := s.Emit("news", hotText); err != nil {
			return err
		}
		for _, c := range clients {
			if err := c.read(); err != nil || !bytes.Equal(c.packet, news) {
				return fmt.Errorf("%q: %v", c.packet, err)
			}
		}
		return nil
	}
}

// hotWriter keeps the last status of a response and nothing else.
type hotWriter struct {
	header http.Header
	status int
	body   bytes.Buffer
}

func (w *hotWriter) Header() http.Header         { return w.header }
func (w *hotWriter) WriteHeader(status int)      { w.status = status }
func (w *hotWriter) Write(b []byte) (int, error) { return w.body.Write(b) }

// answers returns an operation that has h answer r, of which it makes a new body each time.
func answers(h http.Handler, r *http.Request, body string) func() error {
	w := &hotWriter{header: make(http.Header)}
	content := strings.NewReader(body)
	return func() error {
		clear(w.header)
		w.status = http.StatusOK
		w.body.Reset()
		content.Reset(body)
		r.Body = io.NopCloser(content)
		if h.ServeHTTP(w, r); w.status != http.StatusOK || w.body.Len() == 0 {
			return fmt.Errorf("status %d: %q", w.status, w.body.String())
		}
		return nil
	}
}

func startLogin(t testing.TB, _ int) func() error {
	s := startHotServer(t)
	body := `{"username":"anna","password":"correct horse battery staple"}`
	r := httptest.NewRequest(http.MethodPost, "/login", strings.NewReader(body))
	r.Header.Set("Content-Type", "application/json")
	return answers(s.mux, r, body)
}

func startMiddleware(t testing.TB, _ int) func() error {
	s := startHotServer(t)
	_, token, _ := strings.Cut(string(s.dial(t, 4).packet), `,"`)
	r := httptest.NewRequest(http.MethodGet, "/api/me", nil)
	r.Header.Set("Authorization", "Bearer "+strings.TrimSuffix(token, `"]`))
	return answers(s.Auth().Middleware(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if claims, ok := ClaimsFromContext(r.Context()); ok {
			_, _ = io.WriteString(w, claims["sub"].(string))
		}
	})), r, "")
}
