// Package recipes has no code: each recipe is a package of its own.
package recipes

import (
	"go/ast"
	"go/parser"
	"go/scanner"
	"go/token"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// maxLines is how much code of its own an app needs for a recipe.
const maxLines = 40

// TestShort guards that each recipe is short.
func TestShort(t *testing.T) {
	recipes := map[string]int{}
	files, err := filepath.Glob("*/*.go")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range files {
		if !strings.HasSuffix(name, "_test.go") {
			src, err := os.ReadFile(name)
			if err != nil {
				t.Fatal(err)
			}
			recipes[filepath.Dir(name)] += countLines(t, name, src)
		}
	}
	if len(recipes) != 4 {
		t.Errorf("%d recipes, want 4", len(recipes))
	}
	for recipe, n := range recipes {
		t.Logf("%s: %d lines", recipe, n)
		if n > maxLines {
			t.Errorf("%s has %d lines, more than %d", recipe, n, maxLines)
		}
	}
}

// TestCount guards the rules by which TestShort counts.
func TestCount(t *testing.T) {
	const src = `
// Package p is not counted.
package p

import "errors"

var a = 1 // 1

func f(b int) (int, error) { // 2
	err := g()  // 3

	if err != nil {
		return 0, err
	}
	if err := g(); err != nil { // 4
		return 0, err
	}
	if err != nil {
		return 0, errors.New("x") // 6, with the line before
	}
	/* not
	counted */
	return f( // 7
		b, // 8
	)
}
`
	if n := countLines(t, "p.go", []byte(src)); n != 8 {
		t.Errorf("%d lines, want 8", n)
	}
}

// countLines returns how many lines of a file an app has to write by itself: those with code, apart
// from the package clause and the imports, from brackets that stand alone, and from
//
//	if err != nil {
//		return ..., err
//	}
func countLines(t *testing.T, name string, src []byte) int {
	t.Helper()
	set := token.NewFileSet()
	file, err := parser.ParseFile(set, name, src, 0)
	if err != nil {
		t.Fatal(err)
	}
	line := func(p token.Pos) int { return set.Position(p).Line }
	skipped := map[int]bool{}
	skip := func(n ast.Node) {
		for l := line(n.Pos()); l <= line(n.End()-1); l++ {
			skipped[l] = true
		}
	}
	skipped[line(file.Package)] = true
	ast.Inspect(file, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.GenDecl:
			if n.Tok == token.IMPORT {
				skip(n)
			}
		case *ast.IfStmt:
			if handsOn(n) && n.Init == nil {
				skip(n)
			} else if handsOn(n) {
				skip(n.Body.List[0])
			}
		}
		return true
	})
	counted := map[int]bool{}
	var s scanner.Scanner
	s.Init(set.AddFile(name, -1, len(src)), src, nil, 0)
	for pos, tok, text := s.Scan(); tok != token.EOF; pos, tok, text = s.Scan() {
		switch {
		case tok == token.RPAREN, tok == token.RBRACE, tok == token.RBRACK, tok == token.COMMA:
		case tok == token.SEMICOLON && text == "\n", skipped[line(pos)]:
		default:
			for i := range strings.Count(text, "\n") + 1 { // a raw string has several
				counted[line(pos)+i] = true
			}
		}
	}
	return len(counted)
}

// handsOn reports whether a statement only returns err if there is one.
func handsOn(n *ast.IfStmt) bool {
	is := func(e ast.Expr, name string) bool { i, ok := e.(*ast.Ident); return ok && i.Name == name }
	c, ok := n.Cond.(*ast.BinaryExpr)
	if !ok || c.Op != token.NEQ || !is(c.X, "err") || !is(c.Y, "nil") || n.Else != nil || len(n.Body.List) != 1 {
		return false
	}
	r, ok := n.Body.List[0].(*ast.ReturnStmt)
	return ok && len(r.Results) > 0 && is(r.Results[len(r.Results)-1], "err")
}
