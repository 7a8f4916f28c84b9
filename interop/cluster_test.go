package interop

import (
	"net"
	"os"
	"os/exec"
	"testing"
)

// TestCluster uses the cluster example in Chromium: tabs on two processes see each other, and
// ending a session closes its tabs on both. It does not run in parallel with other tests, since a
// browser needs most of the machine.
func TestCluster(t *testing.T) {
	program := buildExample(t, "cluster")
	t.Run("stand-in", func(t *testing.T) { testCluster(t, program) })
	t.Run("redis-server", func(t *testing.T) {
		if _, err := exec.LookPath("redis-server"); err != nil {
			if os.Getenv("CI") != "" {
				t.Fatal("redis-server is missing: run `apt-get install redis-server`")
			}
			t.Skip("not tested without redis-server")
		}
		addr := freeAddr(t)
		_, port, _ := net.SplitHostPort(addr)
		startServing(t, exec.Command("redis-server", "--bind", "127.0.0.1", "--port", port, "--dir", t.TempDir(), "--save", ""), addr)
		testCluster(t, program, "-redis", addr)
	})
}

func testCluster(t *testing.T, program string, args ...string) {
	addr := freeAddr(t)
	startServing(t, exec.Command(program, append([]string{"-addr", addr}, args...)...), addr)
	d := chromium(t, "cluster.mjs", "http://"+addr)
	d.hears("one", "is", "signed-out")
	d.hears("one", "is", "online")
	d.hears("two", "is", "online")
	d.hears("one", "sees", 1, 1, 2)
	d.hears("two", "sees", 1, 1, 2)
	d.hears("two", "reads", "A", "hello B")
	d.hears("one", "reads", "B", "hello A")

	d.hears("phone", "is", "signed-out")
	d.hears("phone", "is", "online")
	d.hears("two", "sees", 2, 1, 2)
	d.hears("phone", "sees", 2, 1, 1)
	d.hears("phone", "fits", true)
	d.hears("phone", "fits", true)
	d.hears("phone", "is", "signed-out")
	d.hears("phone", "told", "This session was logged out from another one.")
	d.hears("two", "told", "Ended 1 session with 1 tab. 2 processes have answered.")
	d.hears("two", "sees", 1, 1, 2)

	d.hears("phone", "is", "signed-out")
	d.hears("phone", "is", "online")
	d.hears("one", "sees", 1, 2, 2)
	d.hears("one", "is", "signed-out")
	d.hears("two", "is", "signed-out")
	d.hears("phone", "told", "Ended 1 session")
	d.hears("phone", "is", "signed-out")
	d.hears("phone", "told", "You are logged out, on every process.")
	d.done()
}
