package socketauth

import (
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"net/http"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/z-open/socketauth/internal/deadline"
)

// clientEntry is the name of the file that pages import. It imports the others.
const clientEntry = "socketauth.js"

// clientImport matches the end of a statement that imports or exports from another file.
var clientImport = regexp.MustCompile(`(?m)^(?:import|export|\}) .*"\./(\w+\.js)";$`)

//go:embed client/*.js
var clientSources embed.FS

// clientFile serves one file of the client.
type clientFile struct {
	name    string
	version string // the query parameter v in the URLs by which the other files import this one
	plain   encodedFile
	gzipped encodedFile
}

// encodedFile is a file's content in one encoding, and its entity tag.
type encodedFile struct {
	content []byte
	etag    string
}

// clientFiles returns the files of the client as they are served. They import each other by URLs
// with a version, which is a hash of all files: "./token.js?v=0123456789abcdef". A browser can
// therefore store the files without a time limit and only asks for the entry at each visit. All
// files of a page are of one version, unless servers of two versions answer its requests.
var clientFiles = sync.OnceValues(func() ([]*clientFile, error) {
	entries, err := clientSources.ReadDir("client")
	if err != nil {
		return nil, err
	}
	var names []string
	sources := make(map[string]string)
	hash := sha256.New()
	for _, entry := range entries {
		source, err := clientSources.ReadFile(path.Join("client", entry.Name()))
		if err != nil {
			return nil, err
		}
		names = append(names, entry.Name())
		sources[entry.Name()] = withoutComments(string(source))
		hash.Write([]byte(entry.Name()))
		hash.Write(source)
	}
	version := hex.EncodeToString(hash.Sum(nil)[:8])

	// What was imported, and by what it is replaced. A file that could not be loaded is asked for by
	// another URL at the next try: Firefox asks once for each URL in the life of a page.
	var imports []string
	for _, name := range names {
		url := `"./` + name + `?v=` + version
		again := url + `&again=" + performance.now()`
		imports = append(imports, `import("./`+name+`")`, `import(`+url+`").catch(() => import(`+again+`))`)
		imports = append(imports, `"./`+name+`"`, url+`"`)
	}
	versioned := strings.NewReplacer(imports...)
	// The entry imports all files that every page needs, so that a browser requests all of them at
	// once. Otherwise it would request each file only after it has read the one that imports it. The
	// others are loaded when a page first needs them, by the function import, or never.
	needed := []string{clientEntry}
	for n := 0; n < len(needed); n++ {
		for _, match := range clientImport.FindAllStringSubmatch(sources[needed[n]], -1) {
			if name := match[1]; !slices.Contains(needed, name) {
				needed = append(needed, name)
			}
		}
	}
	for _, name := range needed[1:] {
		sources[clientEntry] += `import "./` + name + "\";\n"
	}
	files := make([]*clientFile, 0, len(names))
	for _, name := range names {
		f, err := newClientFile(name, version, []byte(versioned.Replace(sources[name])))
		if err != nil {
			return nil, err
		}
		files = append(files, f)
	}
	return files, nil
})

// withoutComments returns a file without the lines that are nothing but comments, which would be a
// third of what browsers load.
func withoutComments(source string) string {
	var code strings.Builder
	inComment := false
	for line := range strings.Lines(source) {
		text := strings.TrimSpace(line)
		inComment = inComment || strings.HasPrefix(text, "/*")
		if !inComment && !strings.HasPrefix(text, "//") {
			code.WriteString(line)
		}
		inComment = inComment && !strings.HasSuffix(text, "*/")
	}
	return code.String()
}

// newClientFile compresses a file, once for all requests.
func newClientFile(name, version string, content []byte) (*clientFile, error) {
	var gzipped bytes.Buffer
	w, err := gzip.NewWriterLevel(&gzipped, gzip.BestCompression)
	if err == nil {
		_, err = w.Write(content)
	}
	if err == nil {
		err = w.Close()
	}
	if err != nil {
		return nil, err
	}
	sum := sha256.Sum256(content)
	tag := hex.EncodeToString(sum[:16])
	return &clientFile{
		name:    name,
		version: version,
		plain:   encodedFile{content, `"` + tag + `"`},
		gzipped: encodedFile{gzipped.Bytes(), `"` + tag + `-gzip"`},
	}, nil
}

// registerClient registers the files of the client under folder. Each file has a route of its own,
// because routers differ in how they match a whole folder.
func registerClient(mux Mux, folder string) error {
	files, err := clientFiles()
	if err != nil {
		return err
	}
	for _, f := range files {
		if err := register(mux, folder+f.name, f, http.MethodGet); err != nil {
			return err
		}
	}
	return nil
}

// ServeHTTP implements http.Handler. A file never changes under a URL with its version. Under any
// other URL, such as that of the entry, the browser asks each time whether it has changed, so that
// its version is that of the server.
func (f *clientFile) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	h := w.Header()
	h.Set("Content-Type", "text/javascript; charset=utf-8")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Access-Control-Allow-Origin", "*") // the file is public, and pages of AllowedOrigins import it
	h.Add("Vary", "Accept-Encoding")
	if r.URL.Query().Get("v") == f.version {
		h.Set("Cache-Control", "public, max-age=31536000, immutable")
	} else {
		h.Set("Cache-Control", "no-cache")
	}
	encoded := f.plain
	if acceptsGzip(r.Header) {
		encoded = f.gzipped
		h.Set("Content-Encoding", "gzip")
	}
	h.Set("ETag", encoded.etag)
	deadline.Answer(w)
	http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(encoded.content))
}

// acceptsGzip reports whether the client accepts the content coding gzip (RFC 9110 section 12.5.3).
func acceptsGzip(h http.Header) bool {
	for coding := range strings.SplitSeq(strings.Join(h.Values("Accept-Encoding"), ","), ",") {
		name, parameter, _ := strings.Cut(coding, ";")
		if !strings.EqualFold(strings.TrimSpace(name), "gzip") {
			continue
		}
		quality, found := strings.CutPrefix(strings.ToLower(strings.TrimSpace(parameter)), "q=")
		if !found {
			return true
		}
		q, err := strconv.ParseFloat(quality, 64)
		return err == nil && q > 0
	}
	return false
}
