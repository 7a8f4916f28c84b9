package socketauth_test

import (
	"bytes"
	"compress/gzip"
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/z-open/socketauth"
)

// clientServer serves the client in a folder.
func clientServer(t *testing.T, folder string) http.Handler {
	t.Helper()
	mux := http.NewServeMux()
	s, err := socketauth.SocketServe(nil, mux, socketauth.Options[any]{Secret: make([]byte, 32), ClientPath: folder})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Shutdown(context.Background()); err != nil {
			t.Error(err)
		}
	})
	return mux
}

// ask sends a request with pairs of header names and values, and returns the answer and its body.
func ask(t *testing.T, h http.Handler, method, url string, header ...string) (*http.Response, []byte) {
	t.Helper()
	r := httptest.NewRequestWithContext(t.Context(), method, url, nil)
	for pair := range slices.Chunk(header, 2) {
		r.Header.Add(pair[0], pair[1])
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	answer := w.Result()
	body, err := io.ReadAll(answer.Body)
	if err != nil {
		t.Fatal(err)
	}
	return answer, body
}

var (
	importedURL = regexp.MustCompile(`(?m)^(?:import|export|\}) .*?"(\./[^"]+)";$`)
	onDemandURL = regexp.MustCompile(`await import\("(\./[^"]+)"\)\.catch\(\(\) => import\("(\./[^"]+)&again=" \+ performance\.now\(\)\)\)`)
)

// frameworkFiles are the files that pages with a framework import beside the entry.
var frameworkFiles = []string{"react.js", "svelte.js", "vue.js"}

// TestClientImports guards that from the URLs that pages import all files of the client are found,
// that the others can be kept for good and these alone are asked for anew, and that the entry does
// not import what only some pages need.
func TestClientImports(t *testing.T) {
	h := clientServer(t, "/socketauth/")
	urls := []string{"/socketauth/socketauth.js"}
	for _, file := range frameworkFiles {
		urls = append(urls, "/socketauth/"+file)
	}
	found, onDemand := map[string]bool{}, map[string]bool{}
	for i := 0; i < len(urls); i++ {
		answer, body := ask(t, h, http.MethodGet, urls[i])
		control := "public, max-age=31536000, immutable"
		if i <= len(frameworkFiles) {
			control = "no-cache"
		}
		for name, value := range map[string]string{
			"Cache-Control": control, "Content-Type": "text/javascript; charset=utf-8",
			"X-Content-Type-Options": "nosniff", "Access-Control-Allow-Origin": "*", "Vary": "Accept-Encoding",
		} {
			if got := answer.Header.Get(name); got != value {
				t.Errorf("%s: %s is %q", urls[i], name, got)
			}
		}
		if answer.StatusCode != http.StatusOK {
			t.Fatalf("%s: %s", urls[i], answer.Status)
		}
		name := path.Base(strings.Split(urls[i], "?")[0])
		if found[name] {
			t.Errorf("%s is imported by two URLs", name)
		}
		found[name] = true
		imports := importedURL.FindAllSubmatch(body, -1)
		others := onDemandURL.FindAllSubmatch(body, -1) // of each file twice
		for _, m := range others {
			if !bytes.Equal(m[1], m[2]) {
				t.Errorf("%s is loaded by %s, and then by %s", name, m[1], m[2])
			}
			imports = append(imports, m)
			onDemand[string(m[1])] = true
		}
		if strings.Count(string(body), `"./`) != len(imports)+len(others) {
			t.Errorf("%s has imports of another form than the test knows", name)
		}
		for _, m := range imports {
			url := path.Join("/socketauth", string(m[1]))
			if !slices.Contains(urls, url) {
				urls = append(urls, url)
			}
		}
	}
	files, err := filepath.Glob("client/*.js")
	if err != nil || len(files) < 10 {
		t.Fatal(files, err)
	}
	files = slices.DeleteFunc(files, func(file string) bool { return filepath.Base(file) == "types.js" }) // for TypeScript
	for _, file := range files {
		if !found[filepath.Base(file)] {
			t.Errorf("%s is not imported", file)
		}
	}
	_, entry := ask(t, h, http.MethodGet, urls[0])
	if n := strings.Count(string(entry), "\nimport \"./"); n != len(files)-1-len(onDemand)-len(frameworkFiles) {
		t.Errorf("the entry imports %d files of %d", n, len(files)-1-len(onDemand)-len(frameworkFiles))
	}
	if len(onDemand) == 0 {
		t.Error("no file is loaded on demand")
	}
	for _, file := range frameworkFiles {
		if strings.Contains(string(entry), file) {
			t.Errorf("the entry imports %s, whose package a page without that framework does not have", file)
		}
	}
	for url := range onDemand {
		if strings.Contains(string(entry), `"`+url+`"`) {
			t.Errorf("the entry imports %s, which only some pages need", url)
		}
	}
}

// TestClientComments guards that files are served without the lines that are comments only, and
// with all others: a page loaded half as much again.
func TestClientComments(t *testing.T) {
	h := clientServer(t, "/socketauth/")
	comment := regexp.MustCompile(`(?ms)^[ \t]*(?://[^\n]*|/\*.*?\*/)\n`)
	version := regexp.MustCompile(`\?v=[0-9a-f]{16}`)
	for _, name := range []string{"session.js", "storage.js", "durable.js", "mutex.js"} { // not those that load others
		source, err := os.ReadFile("client/" + name)
		if err != nil {
			t.Fatal(err)
		}
		_, served := ask(t, h, http.MethodGet, "/socketauth/"+name)
		code := comment.ReplaceAll(source, nil)
		if got := version.ReplaceAll(served, nil); !bytes.Equal(got, code) || len(code) > len(source)*9/10 {
			t.Errorf("%s: of %d bytes are served %d, %d should be", name, len(source), len(got), len(code))
		}
	}
}

// TestClientCompressed guards that who takes gzip gets it and who does not does not, and that each
// has an entity tag of its own, with which nothing is sent again.
func TestClientCompressed(t *testing.T) {
	h := clientServer(t, "/socketauth/")
	const url = "/socketauth/session.js"
	_, plain := ask(t, h, http.MethodGet, url)
	tags := map[string]string{}
	for accepted, coding := range map[string]string{
		"": "", "br": "", "gzip": "gzip", "deflate, GZIP , br": "gzip", "gzip;q=0.5": "gzip", "gzip;q=1.0,br": "gzip",
		"gzip;q=0": "", "gzip; q=0.000, br": "", "gzip;q=x": "", "xgzip": "", "*": "",
	} {
		answer, body := ask(t, h, http.MethodGet, url, "Accept-Encoding", accepted)
		if got := answer.Header.Get("Content-Encoding"); got != coding {
			t.Errorf("%q: Content-Encoding is %q", accepted, got)
		}
		if coding == "gzip" {
			if len(body) > len(plain)/2 {
				t.Errorf("%q: %d bytes of %d", accepted, len(body), len(plain))
			}
			r, err := gzip.NewReader(bytes.NewReader(body))
			if err != nil {
				t.Fatal(err)
			}
			if body, err = io.ReadAll(r); err != nil {
				t.Fatal(err)
			}
		}
		if !bytes.Equal(body, plain) {
			t.Errorf("%q: another content", accepted)
		}
		tag := answer.Header.Get("ETag")
		if other, ok := tags[coding]; ok && other != tag || tag == "" {
			t.Errorf("%q: ETag %q, then %q", accepted, other, tag)
		}
		tags[coding] = tag
		again, body := ask(t, h, http.MethodGet, url, "Accept-Encoding", accepted, "If-None-Match", tag)
		if again.StatusCode != http.StatusNotModified || len(body) > 0 {
			t.Errorf("%q: asked for again: %s, %d bytes", accepted, again.Status, len(body))
		}
		head, body := ask(t, h, http.MethodHead, url, "Accept-Encoding", accepted)
		if head.StatusCode != http.StatusOK || len(body) > 0 || head.Header.Get("ETag") != tag {
			t.Errorf("%q: HEAD: %s, %d bytes, %v", accepted, head.Status, len(body), head.Header)
		}
	}
	if tags[""] == tags["gzip"] {
		t.Errorf("both encodings have the ETag %s", tags[""])
	}
	if r, _ := ask(t, h, http.MethodGet, url, "Accept-Encoding", "gzip", "If-None-Match", tags[""]); r.StatusCode != http.StatusOK {
		t.Errorf("a client that has it uncompressed: %s", r.Status)
	}
}

// TestClientOfAnotherVersion guards pages that were begun by a server of another version, while one
// replaces the other: they get this server's file, and do not keep it under the other version's
// URL.
func TestClientOfAnotherVersion(t *testing.T) {
	h := clientServer(t, "/socketauth/")
	for _, url := range []string{"/socketauth/token.js", "/socketauth/token.js?v=0123456789abcdef", "/socketauth/socketauth.js?v=1"} {
		if r, body := ask(t, h, http.MethodGet, url); r.StatusCode != http.StatusOK || r.Header.Get("Cache-Control") != "no-cache" || len(body) < 500 {
			t.Errorf("%s: %s, %v, %d bytes", url, r.Status, r.Header, len(body))
		}
	}
}

// TestClientFolder guards what is served: the client's files, by GET and HEAD, and nothing else of
// their folder.
func TestClientFolder(t *testing.T) {
	h := clientServer(t, "/")
	if r, _ := ask(t, h, http.MethodGet, "/socketauth.js"); r.StatusCode != http.StatusOK {
		t.Errorf("at the root: %s", r.Status)
	}
	h = clientServer(t, "/a/b/")
	if r, _ := ask(t, h, http.MethodPost, "/a/b/socketauth.js"); r.StatusCode != http.StatusMethodNotAllowed {
		t.Errorf("POST: %s", r.Status)
	}
	entries, err := os.ReadDir("client")
	if err != nil {
		t.Fatal(err)
	}
	for _, entry := range entries {
		want := http.StatusNotFound
		if path.Ext(entry.Name()) == ".js" {
			want = http.StatusOK
		}
		if r, _ := ask(t, h, http.MethodGet, "/a/b/"+entry.Name()); r.StatusCode != want {
			t.Errorf("%s: %s", entry.Name(), r.Status)
		}
	}
	none := clientServer(t, "")
	for _, url := range []string{"/a/b/", "/a/b", "/a/b/other.js", "/a/b/client/token.js", "/a/b/token.js/"} {
		if r, _ := ask(t, h, http.MethodGet, url); r.StatusCode != http.StatusNotFound {
			t.Errorf("%s: %s", url, r.Status)
		}
	}
	for _, url := range []string{"/socketauth.js", "/socketauth/socketauth.js"} {
		if r, _ := ask(t, none, http.MethodGet, url); r.StatusCode != http.StatusNotFound {
			t.Errorf("without ClientPath: %s: %s", url, r.Status)
		}
	}
}

// TestClientPathFaults guards against a ClientPath that is no folder, such as that of the one file
// that the client was.
func TestClientPathFaults(t *testing.T) {
	for _, folder := range []string{"/socketauth.js", "socketauth/", "/socketauth", "/{x}/"} {
		_, err := socketauth.New(socketauth.Options[any]{Secret: make([]byte, 32), ClientPath: folder})
		if err == nil || !strings.Contains(err.Error(), "ClientPath") {
			t.Errorf("%q: %v", folder, err)
		}
	}
}
