package eio

import (
	"net/http"
	"sync"
)

// opening is the task of opening a session that begins with a websocket.
type opening struct {
	e        *Engine
	w        http.ResponseWriter
	r        *http.Request
	refusal  *Refusal
	panicked any
	done     sync.WaitGroup
}

// openByWorker calls openWebsocket in a goroutine of the engine's and waits for it. The one that
// net/http has started for the connection ends with the handshake, and its stack would have to grow
// for it.
func (e *Engine) openByWorker(w http.ResponseWriter, r *http.Request) *Refusal {
	o := &opening{e: e, w: w, r: r}
	o.done.Add(1)
	e.workers.Go(o)
	o.done.Wait()
	if o.panicked != nil {
		panic(o.panicked) // net/http handles it
	}
	return o.refusal
}

// Run implements workers.Task.
func (o *opening) Run() {
	defer o.done.Done()
	defer func() { o.panicked = recover() }()
	o.refusal = o.e.openWebsocket(o.w, o.r)
}
