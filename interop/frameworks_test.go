package interop

import (
	"context"
	"net/http"
	"net/http/httputil"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/z-open/socketauth"
	"github.com/z-open/socketauth/blacklist"
)

// frameworks is the folder with the pages of React, Vue and Svelte.
const frameworks = "frameworks"

// copyFrameworks copies the pages into a folder of their own beside their packages, with the client
// as npm installs it, and returns the folder.
func copyFrameworks(t *testing.T) string {
	t.Helper()
	if _, err := os.Stat(filepath.Join(frameworks, "node_modules", "vite")); err != nil {
		t.Fatal("packages are missing: run `npm ci` in interop/frameworks")
	}
	folder, err := os.MkdirTemp(frameworks, "_run-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(folder) })
	if folder, err = filepath.Abs(folder); err != nil {
		t.Fatal(err)
	}
	copyFiles(t, frameworks, folder, "*.js", "*.jsx", "*.html", "*.vue", "*.svelte", "*.ts", "package.json")
	copyFiles(t, "../client", filepath.Join(folder, "node_modules", "socketauth-client"), "*.js", "*.d.ts", "package.json")
	return folder
}

func copyFiles(t *testing.T, from, to string, patterns ...string) {
	t.Helper()
	if err := os.MkdirAll(to, 0o700); err != nil {
		t.Fatal(err)
	}
	for _, pattern := range patterns {
		files, err := filepath.Glob(filepath.Join(from, pattern))
		if err != nil {
			t.Fatal(err)
		}
		for _, file := range files {
			content, err := os.ReadFile(file)
			if err == nil {
				err = os.WriteFile(filepath.Join(to, filepath.Base(file)), content, 0o600)
			}
			if err != nil {
				t.Fatal(err)
			}
		}
	}
}

// serveFrameworks serves the app of the pages, which has what is built from a folder below /dist/.
// What it does not know it passes on to another server, if there is one. After GET /hold no
// presentation is decided before GET /release; GET /held waits for one.
func serveFrameworks(t *testing.T, folder, other string) *app {
	t.Helper()
	g := &gate{Store: blacklist.NewMemory(), waiting: make(chan struct{}, 10)}
	proxy := &httputil.ReverseProxy{
		Rewrite: func(r *httputil.ProxyRequest) {
			target, _ := url.Parse(other)
			r.SetURL(target)
			r.Out.Host = r.In.Host
		},
		ErrorHandler: func(w http.ResponseWriter, _ *http.Request, _ error) { w.WriteHeader(http.StatusBadGateway) },
	}
	a := serve(t, setup{
		options: func(o *socketauth.Options[string]) { o.Blacklist = g },
		server: func(s *http.Server) {
			library := s.Handler.(*http.ServeMux)
			pages := http.NewServeMux()
			pages.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
				if _, pattern := library.Handler(r); pattern == "" && other != "" {
					proxy.ServeHTTP(w, r)
					return
				}
				library.ServeHTTP(w, r)
			})
			pages.Handle("GET /dist/", http.StripPrefix("/dist/", http.FileServer(http.Dir(filepath.Join(folder, "dist")))))
			pages.HandleFunc("GET /hold", func(http.ResponseWriter, *http.Request) { g.held.Lock() })
			pages.HandleFunc("GET /held", func(http.ResponseWriter, *http.Request) { <-g.waiting })
			pages.HandleFunc("GET /release", func(http.ResponseWriter, *http.Request) { g.held.Unlock() })
			s.Handler = pages
		},
	})
	a.On("count", func(ctx context.Context, s *socketauth.Socket, _ socketauth.Args) (any, error) {
		sessions, err := a.Auth().Sessions(ctx, s.UserID())
		if err != nil {
			return nil, err
		}
		sockets, err := a.ToUser(s.UserID()).Sockets(ctx)
		return map[string]int{"sockets": len(sockets), "sessions": len(sessions)}, err
	})
	return a
}

// gate is a store whose decisions can be held up.
type gate struct {
	blacklist.Store
	held    sync.RWMutex
	waiting chan struct{} // gets one for each presentation that is held up
}

func (g *gate) Present(ctx context.Context, p blacklist.Presentation) (blacklist.Result, error) {
	if !g.held.TryRLock() {
		g.waiting <- struct{}{}
		g.held.RLock()
	}
	defer g.held.RUnlock()
	return g.Store.Present(ctx, p)
}

// TestFrameworks: pages of React, Vue and Svelte share one client among their components, built and
// in Vite's development server, while they are rendered on a server, hydrated, rendered again and
// edited.
func TestFrameworks(t *testing.T) {
	folder := copyFrameworks(t)
	a := serveFrameworks(t, folder, "")
	d := chromium(t, "frameworks/vite.mjs", folder, a.url)
	pages := []string{"react", "vue", "svelte"}
	const alice, fault = "alice is online", "thrown by a handler"
	one := map[string]int{"sockets": 1, "sessions": 1}
	for _, page := range append(pages, "svelte4") { // as they are built
		d.hears(page, "shows", alice, "0 alice online")
		d.hears(page, "news", 1, 1)
		d.hears(page, "heard", "0: one")
		d.hears(page, "faults", fault)
		d.hears(page, "counts", one)
		d.hears(page, "shows", "Please log in", "0 nobody signed-out")
	}
	for _, page := range pages {
		// Rendered on a server: nothing is known of the session, and nothing is left with the client.
		const html = `<p>One moment</p><p>One moment</p><output>0 nobody connecting</output>`
		d.hears(page, "served", html, 0)
		d.hears(page, "shows", "Please log in", "0 nobody signed-out")
		d.hears(page, "shows", alice, "0 alice online")
		d.hears(page, "shows", alice, "0 alice online") // hydrated when the client was online
		d.hears(page, "picture", "data:,alice")         // frameworks leave it where they find a difference
		d.hears(page, "counts", one)
		d.hears(page, "faults", []any{}...)

		d.hears(page, "shows", alice, "0 alice online")
		d.hears(page, "news", 1, 1)
		d.hears(page, "heard", "0: one")
		d.hears(page, "faults", fault)
		d.hears(page, "counts", one)
		d.hears(page, "shows", alice, "1 alice online")
		d.hears(page, "news", 1, 1)
		d.hears(page, "heard", "1: two") // by the latest function, without another subscription
		d.hears(page, "faults", fault)
		d.hears(page, "subscribed", 0)
		d.hears(page, "shows", alice, "")
		d.hears(page, "held", 0, 0)
		d.hears(page, "news", 1, 1)
		d.hears(page, "heard", []any{}...)
		d.hears(page, "faults", []any{}...)
		d.hears(page, "shows", alice, "2 alice online")
		d.hears(page, "news", 1, 1)
		d.hears(page, "heard", "2: four")
		d.hears(page, "faults", fault)
		d.hears(page, "held", 2, 1)
		d.hears(page, "shows", alice, "2 bob online")
		d.hears(page, "held", 2, 1)
		d.hears(page, "news", 1, 1)
		d.hears(page, "heard", []any{}...)
		d.hears(page, "faults", []any{}...)
		d.hears(page, "heard", "2: six")
		d.hears(page, "faults", fault)
		d.hears(page, "shows", alice, "2 nobody signed-out")
		d.hears(page, "shows", alice, "")
		d.hears(page, "held", 0, 0)

		d.hears(page, "shows", alice, "") // after a component was edited
		d.hears(page, "same client", true)
		d.hears(page, "counts", one)
		d.hears(page, "first client", "offline", "closed") // after its module was edited
		d.hears(page, "counts", one)
		d.hears(page, "shows", alice, "")
		d.hears(page, "news", 1, 1)
		d.hears(page, "faults", []any{}...)
		d.hears(page, "shows", page+" is online", "") // edited before it was signed in
		d.hears(page, "counts", one)
		d.hears(page, "faults", []any{}...)
	}
	d.done()
	noAlarm(t, a)
	for _, page := range pages {
		sessions(t, a, page, 1)
	}
}

// TestNext: under Next.js a module that calls connect is imported by components that are rendered on
// the server and hydrated in the page. React warns of nothing, and the server renders nothing of any
// user.
func TestNext(t *testing.T) {
	folder := filepath.Join(copyFrameworks(t), "next")
	copyFiles(t, filepath.Join(frameworks, "next"), folder, "*.js", "package.json")
	copyFiles(t, filepath.Join(frameworks, "next", "app"), filepath.Join(folder, "app"), "*.jsx")
	copyFiles(t, frameworks, filepath.Join(folder, "app"), "session.js", "Chat.jsx")
	on := listen(t)
	_ = on.TCPListener.Close() // Next.js takes the port
	a := serveFrameworks(t, folder, "http://"+on.Addr().String())
	env := []string{"NEXT_TELEMETRY_DISABLED=1", "NEXT_IGNORE_INCORRECT_LOCKFILE=1"}
	_, port, _ := strings.Cut(on.Addr().String(), ":")
	d := nodeWith(t, env, "playwright-core", "frameworks/next.mjs", folder, port, a.url)
	const page = `<main><p>One moment</p><p>One moment</p><output>signed-out</output></main>`
	one := map[string]int{"sockets": 1, "sessions": 1}
	d.hears("first", "shows", "Please log in", "signed-out")
	d.hears("alice", "shows", "alice is online", "signed-out")
	d.hears("alice", "shows", "alice is online", "signed-out") // after a reload
	d.hears("alice", "news", 1, 1)
	d.hears("alice", "rendered", page, false)
	d.hears("bob", "shows", "Please log in", "signed-out")
	d.hears("bob", "shows", "bob is online", "signed-out")
	d.hears("bob", "news", 1, 1)
	d.hears("alice", "news", 1, 1)
	d.hears("bob", "rendered", page, false)
	for _, user := range []string{"alice", "bob"} {
		d.hears(user, "counts", one)
	}
	d.hears("alice", "same client", true) // after a component was edited
	d.hears("alice", "shows", "alice is online", "signed-out")
	for _, user := range []string{"alice", "bob"} {
		d.hears(user, "counts", one) // after the client's module was edited
		d.hears(user, "faults", []any{}...)
	}
	d.done()
	noAlarm(t, a)
}

// TestFrameworkTypes: TypeScript finds the declarations for frameworks in the package, and they have
// the types that frameworks/types.ts uses.
func TestFrameworkTypes(t *testing.T) {
	t.Parallel()
	compiler, err := filepath.Abs("node_modules/typescript/bin/tsc")
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), "node", compiler, "--noEmit", "--strict", "--target", "es2022",
		"--module", "esnext", "--moduleResolution", "bundler", "--lib", "es2022,dom", "types.ts")
	cmd.Dir = copyFrameworks(t)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}
