package interop

import (
	"encoding/json"
	"fmt"
	"net/http"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/z-open/socketauth/blacklist"
)

// What the client's files may weigh in bytes, minified and compressed by
// gzip -9.
const (
	maxEntry = 11_500 // what a page loads that only signs in
	maxAll   = 16_384 // all modules in one file
)

// asked is what a browser has asked for: the names of files in order, each once.
type asked struct {
	mu    sync.Mutex
	names []string
}

func (a *asked) add(name string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if !slices.Contains(a.names, name) {
		a.names = append(a.names, name)
	}
}

func (a *asked) is(names ...string) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	return slices.Equal(a.names, names)
}

// TestClientSize: the client's files, as a bundler makes them, are no larger than they may be, and
// a page that signs in loads the first of them only.
func TestClientSize(t *testing.T) {
	t.Parallel()
	folder := t.TempDir()
	d := node(t, "esbuild", "client_size.mjs", "make", folder)
	sizes := func(l line) (minified, gzipped int) {
		if json.Unmarshal(l.Args[0], &minified) != nil || len(l.Args) > 1 && json.Unmarshal(l.Args[1], &gzipped) != nil {
			t.Fatal(l)
		}
		return minified, gzipped
	}
	for l, ok := d.next("file"); ok; l, ok = d.next("file") {
		minified, gzipped := sizes(l)
		t.Logf("%-16s %6d bytes, gzipped %6d", l.Event, minified, gzipped)
		if l.Event == "socketauth.js" && gzipped > maxEntry {
			t.Errorf("a page that only signs in loads %d bytes", gzipped)
		}
	}
	for l, ok := d.next("module"); ok; l, ok = d.next("module") {
		minified, _ := sizes(l)
		t.Logf("in the first: %-15s %5d bytes", l.Event, minified)
	}
	minified, gzipped := sizes(d.hears("all", "in one"))
	t.Logf("all in one file  %6d bytes, gzipped %6d", minified, gzipped)
	if gzipped > maxAll {
		t.Errorf("all modules are %d bytes", gzipped)
	}
	d.done()

	var files asked
	a := serve(t, setup{server: func(s *http.Server) {
		library := s.Handler
		bundled := http.FileServer(http.Dir(folder))
		s.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			switch {
			case r.URL.Path == "/page":
				w.Header().Set("Content-Type", "text/html; charset=utf-8")
				_, _ = fmt.Fprint(w, `<!doctype html><link rel="icon" href="data:,">`+
					`<script type="module">import { connect } from "./socketauth.js"; globalThis.client = connect();</script>`)
			case filepath.Ext(r.URL.Path) == ".js":
				files.add(filepath.Base(r.URL.Path))
				bundled.ServeHTTP(w, r)
			default:
				library.ServeHTTP(w, r)
			}
		})
	}})
	d = chromium(t, "client_size.mjs", "login", a.url+"/page")
	d.hears("page", "is", "online")
	d.done()
	if !files.is("socketauth.js") {
		t.Errorf("a page that only signs in loads %v", files.names)
	}
}

// TestClientLoadsLater: a module that only some pages need is loaded when one does. Where that
// fails nobody is harmed, and it is loaded at the next try.
func TestClientLoadsLater(t *testing.T) {
	// Guards: a logout without a network ended no session on the server, and a page without Web Locks
	// never connected, where the module for that could not be loaded at first.
	inBrowsers(t, func(t *testing.T, browser string) {
		var files asked
		var refused [2]atomic.Int32
		around := func(_ http.Handler, w http.ResponseWriter, r *http.Request) bool {
			name := filepath.Base(r.URL.Path)
			i := slices.Index([]string{"logoutsender.js", "mutex.js"}, name)
			if i >= 0 || name == "requests.js" || name == "proofs.js" {
				files.add(name)
			}
			if i < 0 || refused[i].Add(1) > 3 { // browsers ask twice at the first try
				return false
			}
			http.Error(w, "", http.StatusServiceUnavailable)
			return true
		}
		a := serveRequests(t, newLedger(blacklist.NewMemory()), nil, new(atomic.Int32), around, nil)
		d := node(t, "socket.io-client-4.8.4", "client_loads.mjs", browser, a.url)
		d.hears("page", "is", "signed-out")
		d.hears("page", "is", "online")
		if !files.is() {
			t.Errorf("a page that only signs in loads %v too", files.names)
		}
		d.hears("client", "ready")
		a.listener.cut()
		d.hears("page", "is", "offline")
		d.hears("page", "told", false, []any{"signed-out", "logged_out_here", nil, nil})
		if !files.is() {
			t.Errorf("without a network the page has loaded %v", files.names)
		}
		d.hears("client", "ready")
		a.listener.mend()
		d.hears("page", "is", "told")
		if all, err := a.Auth().Sessions(t.Context(), "alice"); err != nil || len(all) > 0 {
			t.Errorf("after the logout there are the sessions %v, %v", all, err)
		}
		if !files.is("logoutsender.js") {
			t.Errorf("a page that has logged out without a network has loaded %v", files.names)
		}
		d.hears("page", "without locks", true, "online")
		if !files.is("logoutsender.js", "mutex.js") {
			t.Errorf("a page without Web Locks has loaded %v", files.names)
		}
		d.done()
	})
}
