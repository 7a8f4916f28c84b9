package doctest

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"unicode"
)

const root = "../.."

// document is one Markdown file of the repository.
type document struct {
	path   string // below root
	lines  []string
	blocks []block
	prose  map[int]string // the lines outside of blocks, by number
}

// block is one fenced block of code.
type block struct {
	line     int // of the opening fence
	language string
	quotes   string // the file that the comment before it names
	code     string
}

// markdown reads all Markdown files of the repository.
func markdown(t *testing.T) []document {
	t.Helper()
	var documents []document
	err := filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case entry.IsDir() && (entry.Name() == "node_modules" || entry.Name() == ".git"):
			return filepath.SkipDir
		case filepath.Ext(path) != ".md":
			return nil
		}
		below, err := filepath.Rel(root, path)
		if err != nil {
			return err
		}
		documents = append(documents, readDocument(t, below))
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return documents
}

var (
	fence  = regexp.MustCompile("^(```+)(\\w*)$")
	marker = regexp.MustCompile(`^<!-- (\S+) -->$`)
)

func readDocument(t *testing.T, path string) document {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(root, path))
	if err != nil {
		t.Fatal(err)
	}
	d := document{path: path, lines: strings.Split(string(text), "\n"), prose: make(map[int]string)}
	for i := 0; i < len(d.lines); i++ {
		open := fence.FindStringSubmatch(d.lines[i])
		if open == nil {
			d.prose[i+1] = d.lines[i]
			continue
		}
		b := block{line: i + 1, language: open[2]}
		if i > 0 {
			if named := marker.FindStringSubmatch(d.lines[i-1]); named != nil {
				b.quotes = named[1]
			}
		}
		start := i + 1
		for i++; i < len(d.lines) && d.lines[i] != open[1]; i++ {
		}
		if i == len(d.lines) {
			t.Fatalf("%s:%d: this block has no end", path, b.line)
		}
		b.code = strings.Join(d.lines[start:i], "\n")
		d.blocks = append(d.blocks, b)
	}
	return d
}

var (
	heading = regexp.MustCompile(`^#+ +(.*)$`)
	id      = regexp.MustCompile(`<a id="([^"]+)">`)
)

// anchors returns what a link to the document may have after its "#", as GitHub makes it.
func (d document) anchors() map[string]bool {
	all := make(map[string]bool)
	for n := range d.lines {
		line, ok := d.prose[n+1]
		if !ok {
			continue
		}
		for _, named := range id.FindAllStringSubmatch(line, -1) {
			all[named[1]] = true
		}
		if title := heading.FindStringSubmatch(line); title != nil {
			anchor := slug(title[1])
			for i := 1; all[anchor]; i++ {
				anchor = fmt.Sprintf("%s-%d", slug(title[1]), i)
			}
			all[anchor] = true
		}
	}
	return all
}

// slug is the anchor that GitHub makes of a heading.
func slug(title string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case r == ' ':
			return '-'
		case r == '-' || r == '_' || unicode.IsLetter(r) || unicode.IsDigit(r):
			return unicode.ToLower(r)
		}
		return -1
	}, title)
}

var codeSpan = regexp.MustCompile("`[^`]*`")
