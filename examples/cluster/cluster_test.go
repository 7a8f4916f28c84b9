package main

import (
	"bufio"
	"context"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/z-open/socketauth/examples/internal/wire"
)

// TestMain lets the tests start this program as the nodes of a cluster, and as a cluster.
func TestMain(m *testing.M) {
	if len(os.Args) == 2 && os.Args[1] == "node" || os.Getenv("TEST_CLUSTER") != "" {
		main()
		return
	}
	os.Exit(m.Run())
}

// cluster is a cluster that runs.
type cluster struct {
	t   *testing.T
	url string

	mu    sync.Mutex
	pids  map[string]int // of the nodes that run, by name
	ended int            // how often a node has ended
	news  *sync.Cond
}

var (
	readyURL = regexp.MustCompile(`the cluster is ready" url=http://localhost(:\d+)`)
	nodePID  = regexp.MustCompile(`the node is ready" node=(\w) pid=(\d+)`)
)

// read reads the log of the cluster to its end.
func (c *cluster) read(logs io.Reader) {
	for lines := bufio.NewScanner(logs); lines.Scan(); {
		c.t.Log(lines.Text())
		c.mu.Lock()
		if found := readyURL.FindStringSubmatch(lines.Text()); found != nil {
			c.url = "http://127.0.0.1" + found[1]
		}
		if found := nodePID.FindStringSubmatch(lines.Text()); found != nil {
			c.pids[found[1]], _ = strconv.Atoi(found[2])
		}
		if strings.Contains(lines.Text(), "a node has ended") {
			c.ended++
		}
		c.mu.Unlock()
		c.news.Broadcast()
	}
}

// await waits until the log has what done looks for.
func (c *cluster) await(done func() bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for !done() {
		c.news.Wait()
	}
}

// start starts a cluster of two nodes that ends with the test.
func start(t *testing.T, args ...string) *cluster {
	t.Helper()
	c := &cluster{t: t, pids: make(map[string]int)}
	c.news = sync.NewCond(&c.mu)
	ctx, cancel := context.WithCancel(context.Background())
	logs, write := io.Pipe()
	var running sync.WaitGroup
	running.Go(func() { c.read(logs) })
	running.Go(func() {
		if err := runCluster(ctx, append([]string{"-addr", "127.0.0.1:0"}, args...), write); err != nil {
			t.Error(err)
		}
		_ = write.Close()
	})
	t.Cleanup(func() {
		cancel()
		running.Wait()
	})
	c.await(func() bool { return c.url != "" })
	return c
}

// tab connects with a login of its own, and returns the node that serves it.
func (c *cluster) tab(name string) (tab *wire.Client, node string) {
	c.t.Helper()
	tab = wire.WebSocket(c.t, c.url, wire.Auth(wire.Code(c.t, c.url+"/login", name, "open sesame")))
	tab.AwaitToken()
	var hello struct{ Node string }
	tab.Call(&hello, "hello")
	return tab, hello.Node
}

// tabs connects until there is a tab on each of the two nodes.
func (c *cluster) tabs(name string) (onA, onB *wire.Client) {
	c.t.Helper()
	for range 10 {
		switch tab, node := c.tab(name); node {
		case "A":
			onA = tab
		case "B":
			onB = tab
		}
		if onA != nil && onB != nil {
			return onA, onB
		}
		wire.Do(c.t, http.MethodGet, c.url+"/", "") // a login and a websocket are two requests, one for each node
	}
	c.t.Fatal("all tabs are on one node")
	return nil, nil
}

// onEachRedis runs a test with the stand-in and with a real Redis.
func onEachRedis(t *testing.T, test func(t *testing.T, args ...string)) {
	t.Run("stand-in", func(t *testing.T) { test(t) })
	t.Run("redis-server", func(t *testing.T) { test(t, "-redis", startRedis(t)) })
}

// startRedis starts a redis-server that ends with the test, and returns its address.
func startRedis(t *testing.T) string {
	t.Helper()
	program, err := exec.LookPath("redis-server")
	if err != nil {
		if os.Getenv("CI") != "" {
			t.Fatal("redis-server is missing: run `apt-get install redis-server`")
		}
		t.Skip("not tested without redis-server")
	}
	free, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := free.Addr().String()
	_ = free.Close()
	_, port, _ := net.SplitHostPort(addr)
	server := exec.Command(program, "--bind", "127.0.0.1", "--port", port, "--dir", t.TempDir(), "--save", "")
	if err := server.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = server.Process.Kill()
		_ = server.Wait()
	})
	for range 500 {
		if conn, err := net.Dial("tcp", addr); err == nil {
			_ = conn.Close()
			return addr
		}
		time.Sleep(20 * time.Millisecond) // nothing else says that it listens
	}
	t.Fatal("redis-server does not listen")
	return ""
}

// Guards that tabs on two nodes see each other, and that ending a session closes its tabs on both.
func TestTwoNodes(t *testing.T) {
	onEachRedis(t, func(t *testing.T, args ...string) {
		c := start(t, args...)
		onA, onB := c.tabs("ada")
		heard := make(chan struct{})
		said := make(chan int, 1)
		go func() { // until B has subscribed to what the tabs of A say
			n := 0
			for ; ; n++ {
				onA.Emit("say", "hello B")
				select {
				case <-time.After(100 * time.Millisecond):
				case <-heard:
					said <- n
					return
				}
			}
		}()
		var message struct{ Author, Node, Text string }
		onB.Await("message", &message)
		close(heard)
		t.Log("said", <-said)
		if message.Author != "ada" || message.Node != "A" || message.Text != "hello B" {
			t.Errorf("B hears %+v", message)
		}
		var nodes []nodeTabs
		onB.Call(&nodes, "where")
		if len(nodes) != 2 || len(nodes[0].Tabs) == 0 || len(nodes[1].Tabs) == 0 || !nodes[0].Complete || !nodes[1].Complete {
			t.Errorf("on B, who is where: %+v", nodes)
		}

		var devices []device
		onA.Call(&devices, "devices")
		if len(devices) < 2 {
			t.Errorf("ada's sessions: %+v", devices)
		}
		for _, d := range devices {
			if d.Address != "127.0.0.1" || d.Tabs != 1 {
				t.Errorf("a session: %+v", d)
			}
		}
		bob, _ := c.tab("bob")
		var receipt struct{ Sessions, Sockets, Nodes int }
		bob.Call(&receipt, "end device", devices[0].ID)
		if receipt.Sessions != 0 {
			t.Errorf("bob has ended a session of ada's: %+v", receipt)
		}
		onA.Call(&receipt, "end others")
		if receipt.Sessions != len(devices)-1 || receipt.Sockets != len(devices)-1 || receipt.Nodes != 2 {
			t.Errorf("the receipt of ending the others, of %d sessions: %+v", len(devices), receipt)
		}
		if code := onB.AwaitRefusal(); code != "session_revoked" {
			t.Errorf("on B: %s", code)
		}
		var hello struct{ You string }
		if bob.Call(&hello, "hello"); hello.You != "bob" {
			t.Errorf("bob is %q", hello.You)
		}
	})
}

// Guards that a node that is killed is started again, and that the other one serves meanwhile.
func TestNodeIsKilled(t *testing.T) {
	c := start(t)
	_, onB := c.tabs("ada")
	c.mu.Lock()
	pid := c.pids["A"]
	delete(c.pids, "A")
	c.mu.Unlock()
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	c.await(func() bool { return c.ended > 0 })
	if _, node := c.tab("bob"); node != "B" {
		t.Errorf("served by %s, which was killed", node)
	}
	var hello struct{ Node string }
	if onB.Call(&hello, "hello"); hello.Node != "B" {
		t.Errorf("on B: %q", hello.Node)
	}
	c.await(func() bool { return c.pids["A"] != 0 })
	c.tabs("bob")
}

// Guards that no node outlives the command, also if that is killed.
func TestNodesEndWithTheCluster(t *testing.T) {
	command := exec.Command(os.Args[0], "-addr", "127.0.0.1:0")
	command.Env = append(os.Environ(), "TEST_CLUSTER=1")
	logs, err := command.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := command.Start(); err != nil {
		t.Fatal(err)
	}
	c := &cluster{t: t, pids: make(map[string]int)}
	c.news = sync.NewCond(&c.mu)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		c.read(logs) // until the last process that has this pipe has ended
	}()
	c.await(func() bool { return c.url != "" })
	_ = command.Process.Kill()
	select {
	case <-ended:
	case <-time.After(20 * time.Second):
		for node, pid := range c.pids {
			t.Errorf("node %s has outlived the cluster", node)
			_ = syscall.Kill(pid, syscall.SIGKILL)
		}
		<-ended
	}
	_ = command.Wait()
}

// Guards that the balancer passes requests to its nodes in turn, that what clients say about their
// address does not get through, and that a node that does not run is left out.
func TestBalancer(t *testing.T) {
	node := func(name string) *httptest.Server {
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			_, _ = io.WriteString(w, strings.Join([]string{name, r.Host, r.Header.Get("X-Forwarded-For")}, " "))
		}))
		t.Cleanup(server.Close)
		return server
	}
	a, b := node("A"), node("B")
	balancer := newBalancer(2, slog.New(slog.DiscardHandler))
	front := httptest.NewServer(balancer)
	defer front.Close()
	balancer.set(0, a.Listener.Addr().String())
	balancer.set(1, b.Listener.Addr().String())
	get := func() string {
		r, _ := http.NewRequest(http.MethodGet, front.URL, nil)
		r.Host = "app.example"
		r.Header.Set("X-Forwarded-For", "203.0.113.7")
		response, err := http.DefaultClient.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = response.Body.Close() }()
		body, _ := io.ReadAll(response.Body)
		return string(body)
	}
	for range 2 {
		if one, two := get(), get(); one != "B app.example 127.0.0.1" || two != "A app.example 127.0.0.1" {
			t.Errorf("%q, then %q", one, two)
		}
	}
	b.Close() // it was not said that B has ended
	for range 2 {
		if got := get(); !strings.HasPrefix(got, "A ") {
			t.Errorf("B is gone: %q", got)
		}
	}
	balancer.set(0, "")
	if got := get(); got != "" {
		t.Errorf("both are gone: %q", got)
	}
}
