package forward

import (
	"bufio"
	"context"
	"errors"
	"io"
	"log"
	"log/slog"
	"net"
	"net/http"
	"net/http/httputil"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/z-open/socketauth/internal/deadline"
)

const (
	// bodyTimeout is how long a client may take to send a body. It is that of the engines.
	bodyTimeout = 45 * time.Second

	// headerTimeout is how long the answer to a request may take, besides the body of the request. A
	// poll waits for an event, and is answered by a heartbeat after 25 seconds.
	headerTimeout = 60 * time.Second

	// answerTimeout is how long a client may take to read an answer, and another process to send
	// what follows the header of one.
	answerTimeout = 10 * time.Second

	// flushTimeout is what is left of answerTimeout when this process ends.
	flushTimeout = 2 * time.Second

	// stallTimeout is how long the other process may take to refuse a body that is too large.
	stallTimeout = 5 * time.Second
)

// past is a deadline that makes reads return at once.
var past = time.Unix(1, 0)

// refusal is an answer of this process in place of the other's. The bodies have the form of those
// of the engines. Clients take every status but 200 for the end of the transport, and reconnect.
type refusal struct {
	status int
	body   string
}

var (
	errBody         = &refusal{http.StatusBadRequest, `{"code":3,"message":"Bad request"}`}
	errUnreachable  = &refusal{http.StatusBadGateway, `{"code":3,"message":"Process out of reach"}`}
	errFull         = &refusal{http.StatusServiceUnavailable, `{"code":3,"message":"Too many connections"}`}
	errShuttingDown = &refusal{http.StatusServiceUnavailable, `{"code":3,"message":"Server is shutting down"}`}
)

// refuse answers a request that is not handed on.
func refuse(w http.ResponseWriter, r *http.Request, why *refusal) {
	deadline.Body(w, r)
	deadline.Answer(w)
	h := w.Header()
	h.Set("Cache-Control", "no-store")
	h.Set("Content-Type", "application/json; charset=UTF-8")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Content-Length", strconv.Itoa(len(why.body)))
	w.WriteHeader(why.status)
	_, _ = io.WriteString(w, why.body) // the client may be gone
}

// handOn hands a request on and answers it.
func (f *Forwarder) handOn(w http.ResponseWriter, r *http.Request, to *target) {
	if refusal := f.begin(); refusal != nil {
		if refusal == errFull {
			f.c.Limited()
		}
		refuse(w, r, refusal)
		return
	}
	defer f.end()
	f.c.Counts.Sent.Add(1)
	ctx, cancel := context.WithCancelCause(r.Context())
	defer cancel(nil)

	h := &handoff{f: f, to: to, w: w, rc: http.NewResponseController(w), in: r, cancel: cancel}
	h.limit = time.AfterFunc(headerTimeout, h.late)
	defer h.end()
	defer context.AfterFunc(f.closing, h.shutdown)()
	// The timeouts of the http.Server are for requests that do not wait.
	_ = h.rc.SetWriteDeadline(time.Time{})
	defer h.rc.SetWriteDeadline(time.Time{}) // the connection may carry further requests
	out := r.WithContext(ctx)
	if r.ContentLength != 0 {
		_ = h.rc.SetReadDeadline(time.Now().Add(bodyTimeout))
		h.body = &body{in: r.Body, left: f.c.MaxBody + 1, known: r.ContentLength, stop: ctx.Done()}
		h.limit.Reset(bodyTimeout + headerTimeout)
		out.Body = h.body
	} else {
		_ = h.rc.SetReadDeadline(time.Time{})
	}
	proxy := httputil.ReverseProxy{
		Transport:      f.transport,
		Rewrite:        h.rewrite,
		ModifyResponse: h.answered,
		ErrorHandler:   h.failed,
		BufferPool:     (*buffers)(&f.buffers),
		ErrorLog:       silent, // failed logs
	}
	proxy.ServeHTTP(h, out)
}

// silent is where httputil logs.
var silent = log.New(io.Discard, "", 0)

// handoff is one request that is being handed on. It is the http.ResponseWriter of its answer.
type handoff struct {
	f      *Forwarder
	to     *target
	w      http.ResponseWriter
	rc     *http.ResponseController
	in     *http.Request
	body   *body // of the request; nil if it has none
	cancel context.CancelCauseFunc

	limit *time.Timer // of the wait for the answer, then of its body

	mu    sync.Mutex
	conn  net.Conn // to the client, once it has a websocket
	ended bool
}

// end must be called before the request ends.
func (h *handoff) end() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.ended = true
	h.limit.Stop()
}

var errLate = errors.New("no answer in time")

// late ends the request because the other process takes too long.
func (h *handoff) late() { h.cancel(errLate) }

// shutdown ends the request because this process ends. What is being written to the client still
// has a little time.
func (h *handoff) shutdown() {
	h.cancel(nil)
	h.mu.Lock()
	defer h.mu.Unlock()
	switch {
	case h.ended:
	case h.conn != nil:
		_ = h.conn.Close()
	default:
		_ = h.rc.SetWriteDeadline(time.Now().Add(flushTimeout))
	}
}

// Header implements http.ResponseWriter.
func (h *handoff) Header() http.Header { return h.w.Header() }

// WriteHeader implements http.ResponseWriter.
func (h *handoff) WriteHeader(status int) { h.w.WriteHeader(status) }

// Write implements http.ResponseWriter.
func (h *handoff) Write(b []byte) (int, error) { return h.w.Write(b) }

// Unwrap lets http.ResponseController find the methods of the inner ResponseWriter.
func (h *handoff) Unwrap() http.ResponseWriter { return h.w }

// Hijack implements http.Hijacker.
func (h *handoff) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	conn, rw, err := h.rc.Hijack()
	if err != nil {
		return nil, nil, err
	}
	h.mu.Lock()
	h.conn = conn
	h.mu.Unlock()
	if h.f.closing.Err() != nil {
		_ = conn.Close() // shutdown may have come before
	}
	_ = conn.SetWriteDeadline(time.Now().Add(answerTimeout)) // of the answer to the handshake
	return clientConn{conn, rw.Reader, &h.f.buffers}, rw, nil
}

// kept are headers that a client must not be able to take out of its request by naming them in its
// header Connection, or that ReverseProxy takes out: the other process is to see what this one has
// seen.
var kept = [...]string{"Forwarded", "Origin", "Sec-Fetch-Site", "X-Forwarded-For", "X-Forwarded-Host", "X-Forwarded-Proto"}

// rewrite makes the request that is sent to the other process. Its Host is that of the client's.
func (h *handoff) rewrite(pr *httputil.ProxyRequest) {
	pr.Out.URL = h.to.url
	pr.Out.Trailer = nil
	for _, name := range kept {
		if values := pr.In.Header[name]; values != nil {
			pr.Out.Header[name] = values
		}
	}
	to := bounds{h.to.name, pr.Out.Method, pr.Out.URL.RequestURI()}
	from := claim{h.in.RemoteAddr, h.f.c.ClientIP(h.in)}
	pr.Out.Header.Set(headerName, seal(h.f.headerKey, to, time.Now(), from))
}

// answered is called with the answer of the other process, before it is passed on.
func (h *handoff) answered(res *http.Response) error {
	// The other process has answered for the app as this one would, so its headers take the place of
	// those that this process has set already. Otherwise those of CORS would be there twice.
	for name := range res.Header {
		if name != "Set-Cookie" {
			h.w.Header().Del(name)
		}
	}
	if res.StatusCode == http.StatusSwitchingProtocols {
		h.limit.Stop()
		return nil
	}
	if res.StatusCode == http.StatusUpgradeRequired {
		// RFC 9110 section 15.5.22 wants them; ReverseProxy has taken them out.
		h.w.Header().Set("Upgrade", "websocket")
		h.w.Header().Set("Connection", "Upgrade")
	}
	if h.body != nil && !h.body.done.Load() {
		// The rest of the body is of no use. Do not wait for it.
		_ = h.rc.SetReadDeadline(past)
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.f.closing.Err() == nil { // otherwise shutdown sets it
		_ = h.rc.SetWriteDeadline(time.Now().Add(answerTimeout))
	}
	h.limit.Reset(answerTimeout)
	return nil
}

// failed is called if the other process has not answered.
func (h *handoff) failed(_ http.ResponseWriter, _ *http.Request, err error) {
	why := errUnreachable
	switch {
	case h.f.closing.Err() != nil:
		why = errShuttingDown
	case h.body != nil && h.body.failed.Load():
		why = errBody
	case h.in.Context().Err() != nil: // the client has gone
	default:
		h.f.c.Counts.Failed.Add(1)
		if unsaid, now := h.f.unreachable.Allow(); now {
			h.f.c.Logger.WarnContext(h.in.Context(), "socketauth: another process does not answer a request that was passed on to it",
				slog.String("url", h.to.base.String()), slog.String("prefix", h.to.name), slog.Any("cause", err),
				slog.Int("more_since_last", unsaid),
				slog.String("fix", "nothing if the process has ended; otherwise its Cluster.Advertise must be a URL that this process reaches"))
		}
	}
	h.mu.Lock()
	hijacked := h.conn != nil
	h.mu.Unlock()
	if !hijacked {
		refuse(h.w, h.in, why)
	}
}

// body is the body of a request that is being handed on. A body that is too large is not read
// further: the other process, whose limit is no larger, refuses it and ends the connection.
type body struct {
	in    io.ReadCloser
	left  int64 // how much more of it is read
	known int64 // how much more it has; negative if that is not known
	stop  <-chan struct{}

	done, failed atomic.Bool
}

var errStalled = errors.New("a body that is too large was not refused")

// Read implements io.Reader.
func (b *body) Read(p []byte) (int, error) {
	if b.left == 0 {
		select {
		case <-b.stop:
		case <-time.After(stallTimeout):
		}
		return 0, errStalled
	}
	n, err := b.in.Read(p[:min(int64(len(p)), b.left)])
	b.left -= int64(n)
	if b.known >= 0 {
		b.known -= int64(n)
	}
	switch {
	case err == io.EOF || err == nil && b.known == 0:
		b.done.Store(true)
	case err != nil:
		b.failed.Store(true)
	}
	return n, err
}

// Close implements io.Closer.
func (b *body) Close() error { return b.in.Close() }
