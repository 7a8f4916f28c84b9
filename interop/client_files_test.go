package interop

import (
	"io"
	"maps"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/z-open/socketauth"
)

// TestClientCached: a browser asks for each of the client's files that every page needs once, at the
// first page, and after that for the entry alone.
func TestClientCached(t *testing.T) {
	var mu sync.Mutex
	asked := map[string]int{}
	a := serve(t, setup{
		options: func(o *socketauth.Options[string]) { o.ClientPath = "/socketauth/" },
		server: func(s *http.Server) {
			library := s.Handler
			s.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if r.URL.Path == "/page" {
					w.Header().Set("Content-Type", "text/html; charset=utf-8")
					_, _ = w.Write([]byte(`<!doctype html><link rel="icon" href="data:,">` +
						`<script type="module">import { connect } from "/socketauth/socketauth.js"; globalThis.client = connect();</script>`))
					return
				}
				if filepath.Ext(r.URL.Path) == ".js" {
					mu.Lock()
					asked[filepath.Base(r.URL.Path)]++
					mu.Unlock()
				}
				library.ServeHTTP(w, r)
			})
		},
	})
	d := chromium(t, "helper_browser.mjs", "cached", a.url)
	d.hears("first", "is", "signed-out")
	d.hears("second", "is", "signed-out")
	d.done()
	mu.Lock()
	requests := maps.Clone(asked)
	mu.Unlock()
	files, err := filepath.Glob("../client/*.js")
	notNeeded := []string{"requests.js", "proofs.js", "logoutsender.js", "mutex.js", "types.js", "react.js", "svelte.js", "vue.js"}
	files = slices.DeleteFunc(files, func(file string) bool { return slices.Contains(notNeeded, filepath.Base(file)) })
	if err != nil || len(files) != len(requests) {
		t.Errorf("the browser asked for %d files of %d, %v", len(requests), len(files), err)
	}
	gzipped := 0
	for name, n := range requests {
		r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, a.url+"/socketauth/"+name, nil)
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Accept-Encoding", "gzip") // so that nobody uncompresses it
		answer, err := http.DefaultClient.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		content, err := io.ReadAll(answer.Body)
		_ = answer.Body.Close()
		if err != nil {
			t.Fatal(err)
		}
		gzipped += len(content)
		if name == "socketauth.js" {
			n-- // at the second page too
		}
		if n != 1 {
			t.Errorf("the browser asked for %s %d times too often", name, n-1)
		}
	}
	t.Logf("a page that signs in loads %d files from ClientPath, gzipped %d bytes", len(requests), gzipped)
}

// TestClientPackage: the npm package, installed as client/README.md says, has all the files that its
// entry imports, and their types, and nothing else.
func TestClientPackage(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	run := func(name string, args ...string) {
		t.Helper()
		cmd := exec.CommandContext(t.Context(), name, args...)
		cmd.Dir = dir
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%s %v: %v\n%s", name, args, err, out)
		}
	}
	client, err := filepath.Abs("../client")
	if err != nil {
		t.Fatal(err)
	}
	run("npm", "pack", "--offline", "--ignore-scripts", client)
	archives, err := filepath.Glob(filepath.Join(dir, "socketauth-client-*.tgz"))
	if err != nil || len(archives) != 1 {
		t.Fatal(archives, err)
	}
	install := "npm install ./" + filepath.Base(archives[0])
	if readme, err := os.ReadFile("../client/README.md"); err != nil || !strings.Contains(string(readme), install+"`") {
		t.Errorf("client/README.md does not say %s: %v", install, err)
	}
	if err := os.WriteFile(filepath.Join(dir, "package.json"), []byte("{}"), 0o600); err != nil {
		t.Fatal(err)
	}
	run("npm", append(strings.Fields(install)[1:], "--offline", "--no-audit", "--no-fund")...)
	run("npm", "ci", "--offline", "--no-audit", "--no-fund") // as on another machine
	installed := filepath.Join(dir, "node_modules", "socketauth-client")
	names := func(folder string) (names []string) {
		entries, err := os.ReadDir(folder)
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range entries {
			names = append(names, e.Name())
		}
		return names
	}
	if packed, kept := names(installed), names(client); !slices.Equal(packed, kept) {
		t.Errorf("packed are %v of %v", packed, kept)
	}
	const app = `
		import { connect, Client, SocketAuthError } from "socketauth-client";
		const client = connect();
		if (!(client instanceof Client) || client.state !== "signed-out") throw new Error(client.state);
		const error = await client.login({}).catch((error) => error);
		if (!(error instanceof SocketAuthError) || error.code !== "no_url") throw error;`
	if err := os.WriteFile(filepath.Join(dir, "app.mjs"), []byte(app), 0o600); err != nil {
		t.Fatal(err)
	}
	run("node", "app.mjs")
	const typed = `
		import { connect, type Reason } from "socketauth-client";
		const client = connect<{ news: (text: string) => void }>();
		client.on("news", (text) => text.toUpperCase());
		const reason: Reason | undefined = client.snapshot.reason;
		// @ts-expect-error: no event of the server's
		client.on(reason ?? "gossip", () => {});`
	if err := os.WriteFile(filepath.Join(dir, "app.mts"), []byte(typed), 0o600); err != nil {
		t.Fatal(err)
	}
	tsc, err := filepath.Abs("node_modules/typescript/bin/tsc")
	if err != nil {
		t.Fatal(err)
	}
	run("node", tsc, "--noEmit", "--strict", "--target", "es2022", "--module", "nodenext", "--lib", "es2022,dom", "app.mts")
}
