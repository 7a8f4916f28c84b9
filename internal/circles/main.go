// Command circles prints the circles of files in a package: files each of which refers to every
// other, directly or by way of others of the circle. A circle is what has to be read as one.
//
//	go run ./internal/circles -limit 4 .
//
// Tests are left out. The exit code is 1 if a circle has more files than the limit allows.
package main

import (
	"errors"
	"flag"
	"fmt"
	"go/ast"
	"go/build"
	"go/importer"
	"go/parser"
	"go/token"
	"go/types"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

func main() {
	limit := flag.Int("limit", 4, "the largest circle that is allowed, in files")
	flag.Parse()
	dir := "."
	if flag.NArg() > 0 {
		dir = flag.Arg(0)
	}
	refs, err := references(dir)
	if err != nil {
		fmt.Fprintln(os.Stderr, "circles:", err)
		os.Exit(2)
	}
	largest := 0
	for _, circle := range circles(refs) {
		largest = max(largest, len(circle))
		fmt.Printf("%d files: %s\n", len(circle), strings.Join(circle, " "))
		for _, from := range circle {
			for _, to := range slices.Sorted(maps.Keys(refs[from])) {
				if slices.Contains(circle, to) {
					fmt.Printf("\t%s -> %s: %s\n", from, to, strings.Join(slices.Sorted(maps.Keys(refs[from][to])), " "))
				}
			}
		}
	}
	fmt.Printf("%d files, the largest circle has %d\n", len(refs), largest)
	if largest > *limit {
		fmt.Fprintf(os.Stderr, "circles: a circle of %d files, more than %d\n", largest, *limit)
		os.Exit(1)
	}
}

// names are what one file uses of another.
type names map[string]bool

// references returns, for each file of the package in dir, the other files that it refers to.
func references(dir string) (map[string]map[string]names, error) {
	pkg, err := build.ImportDir(dir, 0)
	if err != nil {
		return nil, err
	}
	fset := token.NewFileSet()
	var files []*ast.File
	for _, name := range pkg.GoFiles {
		f, err := parser.ParseFile(fset, filepath.Join(dir, name), nil, parser.SkipObjectResolution)
		if err != nil {
			return nil, err
		}
		files = append(files, f)
	}
	info := &types.Info{Uses: make(map[*ast.Ident]types.Object)}
	var faults []error
	conf := types.Config{
		Importer: importer.ForCompiler(fset, "source", nil),
		Error:    func(err error) { faults = append(faults, err) },
	}
	checked, _ := conf.Check(pkg.Name, fset, files, info)
	if len(faults) > 0 {
		return nil, errors.Join(faults...)
	}
	refs := make(map[string]map[string]names, len(files))
	for _, name := range pkg.GoFiles {
		refs[name] = make(map[string]names)
	}
	for id, used := range info.Uses {
		if used.Pkg() != checked || !used.Pos().IsValid() {
			continue
		}
		from := filepath.Base(fset.Position(id.Pos()).Filename)
		to := filepath.Base(fset.Position(used.Pos()).Filename)
		if from == to {
			continue
		}
		if refs[from][to] == nil {
			refs[from][to] = make(names)
		}
		refs[from][to][used.Name()] = true
	}
	return refs, nil
}

// circles returns the strongly connected components of more than one file, the largest first.
func circles(refs map[string]map[string]names) [][]string {
	reach := make(map[string]map[string]bool, len(refs))
	var visit func(from, at string)
	visit = func(from, at string) {
		for to := range refs[at] {
			if !reach[from][to] {
				reach[from][to] = true
				visit(from, to)
			}
		}
	}
	for file := range refs {
		reach[file] = make(map[string]bool)
		visit(file, file)
	}
	var found [][]string
	seen := make(map[string]bool)
	for _, file := range slices.Sorted(maps.Keys(refs)) {
		if seen[file] || !reach[file][file] {
			continue
		}
		var circle []string
		for _, other := range slices.Sorted(maps.Keys(refs)) {
			if reach[file][other] && reach[other][file] {
				circle = append(circle, other)
				seen[other] = true
			}
		}
		found = append(found, circle)
	}
	slices.SortStableFunc(found, func(a, b []string) int { return len(b) - len(a) })
	return found
}
