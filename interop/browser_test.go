package interop

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"testing"

	"github.com/z-open/socketauth"
)

// TestBrowser runs the clients' builds for browsers in Chromium, on pages of an allowed origin and
// of one that is not allowed. Only browsers enforce CORS.
func TestBrowser(t *testing.T) {
	pages := func() string {
		s := httptest.NewServer(http.HandlerFunc(page))
		t.Cleanup(s.Close)
		return s.URL
	}
	allowed, foreign := pages(), pages()
	a := serve(t, setup{options: func(o *socketauth.Options[string]) {
		o.AllowedOrigins = []string{allowed}
		find := o.FindUserByCredentials
		o.FindUserByCredentials = func(ctx context.Context, c socketauth.Credentials) (string, error) {
			if c.Get("username") == "too early" {
				return "", socketauth.ErrUnavailable
			}
			return find(ctx, c)
		}
	}})

	var versions []string
	for _, client := range clients {
		versions = append(versions, client.version)
	}
	d := chromium(t, "browser.mjs", append([]string{a.url, allowed, foreign}, versions...)...)
	l := d.hears("page", "unavailable")
	if seconds := string(l.Args[1]); string(l.Args[0]) != "503" || seconds == "null" || seconds == `""` {
		t.Errorf("%s: when to come back is hidden from the page", l)
	}
	for _, version := range versions {
		for transports, final := range map[string]string{"websocket": "websocket", "polling": "polling", "polling websocket": "websocket"} {
			socket := version + " " + transports
			d.hears(socket, "allowed", true, final, 1001, 1000, "你好 👋 \u2028")
			d.hears(socket, "foreign", false, "connect_error")
		}
	}
	d.done()
}

// TestBrowserAttacks: requests that pages of other sites can make a visitor's browser send, without
// an Origin or with one that equals Host, open no connection.
func TestBrowserAttacks(t *testing.T) {
	pages := httptest.NewServer(http.HandlerFunc(page))
	t.Cleanup(pages.Close)
	for _, named := range []bool{true, false} {
		t.Run(fmt.Sprintf("with Hosts %v", named), func(t *testing.T) {
			answered := make(chan string, 10)
			a := serve(t, setup{options: func(o *socketauth.Options[string]) {
				if named {
					o.Hosts = []string{"127.0.0.1"}
				}
			}, server: func(s *http.Server) {
				next := s.Handler
				s.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
					status := &statusWriter{inner: w}
					next.ServeHTTP(status, r)
					if site := r.Header.Get("Sec-Fetch-Site"); site != "" {
						answered <- fmt.Sprint(site, " ", status.status)
					}
				})
			}})
			d := chromium(t, "attacks.mjs", a.url, pages.URL)
			for _, site := range []string{"same-site", "cross-site"} {
				d.hears(site, "embedded")
				if got := <-answered; got != site+" 403" {
					t.Errorf("an image of a page that is %s: %s", site, got)
				}
			}
			if named {
				d.hears("rebound", "answers", http.StatusForbidden, http.StatusForbidden, false)
			} else {
				d.hears("rebound", "answers", http.StatusOK, http.StatusOK, true) // so the attack is a real one
			}
			d.done()
		})
	}
}

// page serves an empty page with a client in it.
func page(w http.ResponseWriter, r *http.Request) {
	version := r.FormValue("client")
	switch {
	case r.URL.Path == "/client.js":
		dir := filepath.Join("node_modules", "socket.io-client-"+filepath.Base(version))
		file := filepath.Join(dir, "dist", "socket.io.js")
		if _, err := os.Stat(file); err != nil {
			file = filepath.Join(dir, "socket.io.js") // the path in version 1.4
		}
		http.ServeFile(w, r, file)
	case version != "":
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		_, _ = fmt.Fprintf(w, `<!doctype html><title>page</title><script src="/client.js?client=%s"></script>`, version)
	default:
		http.NotFound(w, r)
	}
}
