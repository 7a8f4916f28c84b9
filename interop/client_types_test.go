package interop

import (
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// TestClientTypes: client/socketauth.d.ts is TypeScript, and has the types that client_types.mts
// uses.
func TestClientTypes(t *testing.T) {
	t.Parallel()
	out, err := exec.CommandContext(t.Context(), "node", "node_modules/typescript/bin/tsc", "--noEmit", "--strict",
		"--target", "es2022", "--module", "nodenext", "--lib", "es2022,dom", "client_types.mts").CombinedOutput()
	if err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}

// TestClientDeclarations: the declarations of the client are those that TypeScript makes from its
// sources, and the sources of what users call have the types that they say.
func TestClientDeclarations(t *testing.T) {
	t.Parallel()
	if out, err := exec.CommandContext(t.Context(), "node", "types.mjs", "--check").CombinedOutput(); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}

// TestClientCodes: the types Reason and ErrorCode have each code of the server's and of the client's, and
// no other.
func TestClientCodes(t *testing.T) {
	t.Parallel()
	read := func(path string) string {
		t.Helper()
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		return string(text)
	}
	types := read("../client/types.d.ts")
	union := func(name string) map[string]bool {
		t.Helper()
		_, rest, _ := strings.Cut(types, "\nexport type "+name+" = ")
		text, _, found := strings.Cut(rest, ";\n")
		if !found {
			t.Fatalf("there is no type %s", name)
		}
		return matches(`"([^"]+)"`, text)
	}
	protocol := read("../docs/protocol.md")
	table := func(heading string) map[string]bool {
		t.Helper()
		_, rest, _ := strings.Cut(protocol, "\n### "+heading+"\n")
		text, _, found := strings.Cut(rest, "\n#")
		if !found {
			t.Fatalf("docs/protocol.md has no %s", heading)
		}
		return matches("(?m)^\\| (?:<a [^>]+></a>)?`(\\w+)` \\|", text)
	}
	refusals := table("Codes of `unauthorized`")
	server := maps.Clone(refusals)
	for _, heading := range []string{"Codes of acknowledgements", "Codes of requests", "Codes of login and registration"} {
		maps.Copy(server, table(heading))
	}
	if fromCode := matches(`(?m)^\t(?:code|http)\w+ += "(\w+)"`, read("../errors.go")); !maps.Equal(fromCode, server) {
		t.Errorf("errors.go has the codes %v, and docs/protocol.md %v", sorted(fromCode), sorted(server))
	}

	if got := union("RefusalCode"); !maps.Equal(got, refusals) {
		t.Errorf("RefusalCode has %v, and the server %v", sorted(got), sorted(refusals))
	}
	var sources strings.Builder
	files, err := filepath.Glob("../client/*.js")
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		if filepath.Base(file) != "types.js" {
			sources.WriteString(read(file))
		}
	}
	own := func(codes map[string]bool) map[string]bool {
		return without(codes, server)
	}
	reasons, errs := union("Reason"), union("ErrorCode")
	for code := range own(reasons) {
		if !strings.Contains(sources.String(), `"`+code+`"`) {
			t.Errorf("Reason has %q, which is none", code)
		}
	}
	for code := range own(errs) {
		if !strings.Contains(sources.String(), `"`+code+`"`) {
			t.Errorf("ErrorCode has %q, which is none", code)
		}
	}
	maps.Copy(errs, refusals) // by its name
	maps.Copy(reasons, refusals)
	if missing := without(server, errs); len(missing) > 0 {
		t.Errorf("ErrorCode has no %v", sorted(missing))
	}
	thrown := matches(`(?:SocketAuthError\(|[ .]fail\(|setTimeout\(fail, .*, |#delay = )"([\w ]+)"`, sources.String())
	if missing := without(thrown, errs); len(thrown) < 10 || len(missing) > 0 {
		t.Errorf("of %d codes ErrorCode has no %v", len(thrown), sorted(missing))
	}
	given := matches(`(?:[sS]ignOut\(|[lL]ost\((?:connection, )?|become\("offline", |[ .#]end\()"([\w ]+)"`, sources.String())
	delete(given, "io client disconnect") // of a connection that the client has given up
	if missing := without(given, reasons); len(given) < 5 || len(missing) > 0 {
		t.Errorf("of %d reasons Reason has no %v", len(given), sorted(missing))
	}
}

// matches returns what the first group of an expression matches in a text.
func matches(expression, text string) map[string]bool {
	all := make(map[string]bool)
	for _, m := range regexp.MustCompile(expression).FindAllStringSubmatch(text, -1) {
		all[m[1]] = true
	}
	return all
}

// without returns the elements of a set that are not in another one.
func without(set, other map[string]bool) map[string]bool {
	rest := maps.Clone(set)
	maps.DeleteFunc(rest, func(element string, _ bool) bool { return other[element] })
	return rest
}

func sorted(set map[string]bool) []string { return slices.Sorted(maps.Keys(set)) }
