package main

import (
	"fmt"
	"os"
	"strings"
	"testing"
)

// TestREADMEQuotesThisExample guards that what the README shows is what is compiled and tested here.
func TestREADMEQuotesThisExample(t *testing.T) {
	readme, err := os.ReadFile("../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	for name, language := range map[string]string{"main.go": "go", "index.html": "html", "browser.js": "js", "socketio.js": "js"} {
		code, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		block := fmt.Sprintf("<!-- examples/minimal/%s -->\n```%s\n%s```\n", name, language, code)
		if !strings.Contains(string(readme), block) {
			t.Errorf("README.md quotes another %s", name)
		}
	}
}
