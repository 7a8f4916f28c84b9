package interop

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"strings"
	"testing"

	"github.com/z-open/socketauth"
)

// TestClientReadme: the first lines of client/README.md work in a page as they are written.
func TestClientReadme(t *testing.T) {
	// Guards: login resolved before the client was online, so that the line after it failed as
	// offline.
	text, err := os.ReadFile("../client/README.md")
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(text), "```js\n")
	lines, _, found := strings.Cut(rest, "```\n")
	if !found {
		t.Fatal("client/README.md has no lines of JavaScript")
	}
	var a *app
	me := make(chan string, 1)
	a = serve(t, setup{
		options: func(o *socketauth.Options[string]) { o.ClientPath = "/socketauth/" },
		server: func(s *http.Server) {
			library := s.Handler
			s.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				switch r.URL.Path {
				case "/page":
					w.Header().Set("Content-Type", "text/html; charset=utf-8")
					_, _ = fmt.Fprintf(w, `<!doctype html><link rel="icon" href="data:,"><p id="status"></p><script type="module">%s</script>`, lines)
				case "/api/me":
					a.Auth().Middleware(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
						claims, _ := socketauth.ClaimsFromContext(r.Context())
						me <- fmt.Sprint(claims["sub"])
					})).ServeHTTP(w, r)
				default:
					library.ServeHTTP(w, r)
				}
			})
		},
	})
	asked := make(chan string, 2)
	for _, event := range []string{"typing", "hello"} {
		a.On(event, func(context.Context, *socketauth.Socket, socketauth.Args) (any, error) {
			asked <- event
			return "hello", nil
		})
	}
	d := chromium(t, "helper_browser.mjs", "readme", a.url)
	d.hears("page", "status", "signed-out: logged_out")
	d.done()
	if first, second := <-asked, <-asked; first != "typing" || second != "hello" {
		t.Errorf("the server was asked %q, then %q", first, second)
	}
	if name := <-me; name != "alice" {
		t.Errorf("/api/me was asked by %q", name)
	}
	sessions(t, a, "alice", 0)
}
