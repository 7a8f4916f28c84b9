package interop

import (
	"bufio"
	"encoding/json"
	"os/exec"
	"testing"
)

// TestSlashes: each transport works whatever a router's middleware does to the last slash of a
// path, and whether or not the client sends that slash. Only the oldest and the newest client are
// tested, since the others build the path in the same way.
func TestSlashes(t *testing.T) {
	t.Parallel()
	command := exec.Command(buildExample(t, "internal/slashes/serve"))
	command.Stderr = t.Output()
	stdin, err := command.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	stdout, err := command.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := command.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = stdin.Close() // makes the process exit
		if err := command.Wait(); err != nil {
			t.Errorf("serve: %v", err)
		}
	})
	about, err := bufio.NewReader(stdout).ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	var served struct {
		Apps []struct {
			Name      string
			Redirects bool
		}
	}
	if err := json.Unmarshal([]byte(about), &served); err != nil || len(served.Apps) == 0 {
		t.Fatalf("%v in %s", err, about)
	}
	for _, client := range []clientVersion{clients[0], clients[len(clients)-1]} {
		t.Run(client.version, func(t *testing.T) {
			d := node(t, "socket.io-client-"+client.version, "slashes.mjs", client.version, about)
			for _, app := range served.Apps {
				for _, slash := range []string{"slash", "no slash"} {
					if slash == "slash" && app.Redirects || slash == "no slash" && client.version != "4.8.4" {
						continue
					}
					for transports, final := range map[string]string{"websocket": "websocket", "polling": "polling", "polling websocket": "websocket"} {
						d.hears(app.Name+" "+slash+" "+transports, "outcome", final)
					}
				}
			}
			d.done()
		})
	}
}
