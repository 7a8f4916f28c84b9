package interop

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"strings"
	"sync"
	"testing"
	"time"
)

// patience is how long a driver may take for a whole scenario: far longer than it needs, even on a
// busy machine.
const patience = 90 * time.Second

// line is one thing that happened on one of the driver's sockets.
type line struct {
	Socket string            `json:"socket"`
	Event  string            `json:"event"`
	Args   []json.RawMessage `json:"args"`
}

func (l line) String() string {
	text, _ := json.Marshal(l)
	return string(text)
}

// driver is a Node process that runs a scenario. A test expects the lines of each socket in their
// order, and no line may be left at the end.
type driver struct {
	t       *testing.T
	wait    func() error // waits for the process to end
	lines   <-chan line  // closed when the process has printed its last line
	stderr  bytes.Buffer
	waiting map[string][]line // the lines that other sockets printed meanwhile, by socket
	ignored map[string]bool
}

// play starts a scenario of client.mjs against a server.
func play(t *testing.T, r run, scenario, url string, options map[string]any) *driver {
	t.Helper()
	all := map[string]any{"entry": r.entry}
	maps.Copy(all, options)
	text, err := json.Marshal(all)
	if err != nil {
		t.Fatal(err)
	}
	return node(t, "socket.io-client-"+r.client.version, "client.mjs", scenario, r.client.version, r.transport, url, string(text))
}

// node starts a script. needs is the package of package.json that the script uses.
func node(t *testing.T, needs, script string, args ...string) *driver {
	t.Helper()
	return nodeWith(t, nil, needs, script, args...)
}

// nodeWith is node with additional environment variables.
func nodeWith(t *testing.T, env []string, needs, script string, args ...string) *driver {
	t.Helper()
	return nodeFor(t, patience, env, needs, script, args...)
}

// nodeFor is nodeWith for a scenario that may take so long.
func nodeFor(t *testing.T, patience time.Duration, env []string, needs, script string, args ...string) *driver {
	t.Helper()
	path, err := exec.LookPath("node")
	if err != nil {
		t.Fatal("Node is missing: install version 20 or newer")
	}
	if _, err := os.Stat(filepath.Join("node_modules", needs)); err != nil {
		t.Fatalf("the package %s is missing: run `npm ci` in interop", needs)
	}
	scripts, _ := filepath.Glob("*.mjs")
	for _, name := range scripts {
		_, _ = os.Stat(name) // makes go test's cached result depend on these files
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Duration(soaking(1, 20))*patience)
	d := &driver{t: t, waiting: make(map[string][]line), ignored: make(map[string]bool)}
	cmd := exec.CommandContext(ctx, path, append([]string{script}, args...)...)
	cmd.Env = append(os.Environ(), env...)
	cmd.Stderr = &d.stderr
	d.wait = sync.OnceValue(cmd.Wait)
	stdout, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		cancel()
		t.Fatal(err)
	}
	lines := make(chan line, 1024)
	d.lines = lines
	go func() {
		defer close(lines)
		scanner := bufio.NewScanner(stdout)
		scanner.Buffer(nil, 1<<20)
		for scanner.Scan() {
			var l line
			if err := json.Unmarshal(scanner.Bytes(), &l); err != nil {
				l = line{Socket: "client", Event: "not a line: " + scanner.Text()}
			}
			select {
			case lines <- l:
			case <-ctx.Done():
			}
		}
	}()
	t.Cleanup(func() {
		cancel()
		for range lines {
		}
		if err := d.wait(); t.Failed() {
			t.Logf("%s %s: %v\n%s", script, strings.Join(args, " "), err, d.stderr.String())
		}
	})
	return d
}

// ignore drops all lines of an event.
func (d *driver) ignore(event string) { d.ignored[event] = true }

// next returns the next line of a socket. ok is false if there are no more lines.
func (d *driver) next(socket string) (l line, ok bool) {
	if queue := d.waiting[socket]; len(queue) > 0 {
		d.waiting[socket] = queue[1:]
		return queue[0], true
	}
	for l := range d.lines {
		switch {
		case d.ignored[l.Event]:
		case l.Socket == socket:
			return l, true
		default:
			d.waiting[l.Socket] = append(d.waiting[l.Socket], l)
		}
	}
	return line{}, false
}

// hears expects the next line of a socket to be an event, with these arguments if args is not
// empty.
func (d *driver) hears(socket, event string, args ...any) line {
	d.t.Helper()
	l, ok := d.next(socket)
	if !ok {
		d.t.Fatalf("%s: the driver ended, %q should have come; not looked at yet: %v", socket, event, d.waiting)
	}
	if l.Event != event {
		d.t.Fatalf("%s: %v came, %q should have", socket, l, event)
	}
	if args != nil {
		d.same(l, args)
	}
	return l
}

func (d *driver) same(l line, args []any) {
	d.t.Helper()
	text, err := json.Marshal(args)
	if err != nil {
		d.t.Fatal(err)
	}
	got, _ := json.Marshal(l.Args)
	var want, have any
	if json.Unmarshal(text, &want) != nil || json.Unmarshal(got, &have) != nil || !reflect.DeepEqual(want, have) {
		d.t.Fatalf("%s: %s came with %s, %s should have", l.Socket, l.Event, got, text)
	}
}

// token returns the token in a line.
func (d *driver) token(l line) string {
	d.t.Helper()
	var token string
	if len(l.Args) != 1 || json.Unmarshal(l.Args[0], &token) != nil || strings.Count(token, ".") != 2 {
		d.t.Fatalf("%v should have come with a token alone", l)
	}
	return token
}

// enters expects a socket to connect and to be authenticated, and returns its token.
func (d *driver) enters(socket string) string {
	d.t.Helper()
	d.hears(socket, "connect")
	return d.token(d.hears(socket, "authenticated"))
}

// offered expects a socket to receive a token that it has to acknowledge, and returns the token.
func (d *driver) offered(socket string) string {
	d.t.Helper()
	l := d.hears(socket, "authenticated")
	if len(l.Args) != 2 || string(l.Args[1]) != `{"acknowledgement":true}` {
		d.t.Fatalf("%s: %v came, a token and an acknowledgement should have come", socket, l)
	}
	l.Args = l.Args[:1]
	return d.token(l)
}

// entersConfirming is enters for a socket of a confirming client.
func (d *driver) entersConfirming(socket string) string {
	d.t.Helper()
	d.hears(socket, "connect")
	return d.offered(socket)
}

// messages holds for each code the message that a client gets, and whether its token is invalid.
var messages = map[string]struct {
	text     string
	terminal bool
}{
	"invalid_token":   {"Invalid token", true},
	"token_expired":   {"Token has expired", true},
	"no_longer_valid": {"Token is no longer valid", true},
	"token_reused":    {"Token was used twice, the session is over", true},
	"session_revoked": {"Session was revoked", true},
	"timeout":         {"No token was presented in time", false},
	"wrong_session":   {"Token is of another session", false},
}

// unauthorized expects a socket to be refused with a code.
func (d *driver) unauthorized(socket, code string) {
	d.t.Helper()
	d.told(socket, code, messages[code].terminal)
}

func (d *driver) told(socket, code string, terminal bool) {
	d.t.Helper()
	d.toldText(socket, code, messages[code].text, terminal)
}

func (d *driver) toldText(socket, code, text string, terminal bool) {
	d.t.Helper()
	data := map[string]any{"message": text, "code": code, "type": "UnauthorizedError"}
	d.hears(socket, "unauthorized", map[string]any{
		"message": text, "code": code, "type": "UnauthorizedError", "terminal": terminal, "data": data,
	})
}

// overtaken expects a socket to be refused because its token was replaced a moment ago, which is
// not treated as theft.
func (d *driver) overtaken(socket string) {
	d.t.Helper()
	d.told(socket, "no_longer_valid", false)
	d.ends(socket)
}

// refused expects a socket to be refused with a code, and to be disconnected for good by the
// server.
func (d *driver) refused(socket, code string) {
	d.t.Helper()
	d.unauthorized(socket, code)
	d.ends(socket)
}

// unconfirmed expects a socket to be told that it has not acknowledged its token in time, and to be
// disconnected for good.
func (d *driver) unconfirmed(socket string) {
	d.t.Helper()
	d.toldText(socket, "timeout", "The token was not acknowledged in time", false)
	d.ends(socket)
}

// ends expects a socket to be disconnected by the server. Clients do not reconnect by themselves
// after that.
func (d *driver) ends(socket string) {
	d.t.Helper()
	d.hears(socket, "disconnect", "io server disconnect")
}

// done expects the scenario to end without an error and without further lines.
func (d *driver) done() {
	d.t.Helper()
	for l := range d.lines {
		if !d.ignored[l.Event] {
			d.waiting[l.Socket] = append(d.waiting[l.Socket], l)
		}
	}
	for socket, rest := range d.waiting {
		// At its end a scenario closes the sockets that are still open.
		if n := len(rest); n > 0 && rest[n-1].String() == fmt.Sprintf(`{"socket":%q,"event":"disconnect","args":["io client disconnect"]}`, socket) {
			rest = rest[:n-1]
		}
		if len(rest) > 0 {
			d.t.Errorf("%s: %v came besides", socket, rest)
		}
	}
	if err := d.wait(); err != nil {
		d.t.Errorf("the driver: %v", err)
	}
}
