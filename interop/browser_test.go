package interop

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"testing"

	"github.com/z-open/socketauth"
)

// TestBrowser runs the clients' builds for browsers in Chromium, on pages of an origin that is allowed and of one that
// is not: a browser, and no other client, insists on CORS.
func TestBrowser(t *testing.T) {
	pages := func() string {
		s := httptest.NewServer(http.HandlerFunc(page))
		t.Cleanup(s.Close)
		return s.URL
	}
	allowed, foreign := pages(), pages()
	a := serve(t, setup{options: func(o *socketauth.Options[string]) { o.AllowedOrigins = []string{allowed} }})

	var versions []string
	for _, client := range clients {
		versions = append(versions, client.version)
	}
	d := chromium(t, "browser.mjs", append([]string{a.url, allowed, foreign}, versions...)...)
	for _, version := range versions {
		for transports, final := range map[string]string{"websocket": "websocket", "polling": "polling", "polling websocket": "websocket"} {
			socket := version + " " + transports
			d.hears(socket, "allowed", true, final, 1001, 1000, "你好 👋 \u2028")
			d.hears(socket, "foreign", false, "connect_error")
		}
	}
	d.done()
}

// page serves an empty page with a client in it.
func page(w http.ResponseWriter, r *http.Request) {
	version := r.FormValue("client")
	switch {
	case r.URL.Path == "/client.js":
		dir := filepath.Join("node_modules", "socket.io-client-"+filepath.Base(version))
		file := filepath.Join(dir, "dist", "socket.io.js")
		if _, err := os.Stat(file); err != nil {
			file = filepath.Join(dir, "socket.io.js") // where 1.4 has it
		}
		http.ServeFile(w, r, file)
	case version != "":
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		_, _ = fmt.Fprintf(w, `<!doctype html><title>page</title><script src="/client.js?client=%s"></script>`, version)
	default:
		http.NotFound(w, r)
	}
}
