package interop

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/z-open/socketauth"
)

// balancers are the load balancers whose configurations docs/operations.md has, and one of a few
// lines that hands each request to the next process.
var balancers = []balancer{
	{"nginx", "nginx-cluster.conf", adaptNginx, func(config, _ string) *exec.Cmd {
		return exec.Command("nginx", "-p", filepath.Dir(config), "-c", config, "-e", "stderr")
	}},
	{"HAProxy", "haproxy-cluster.cfg", adaptHAProxy, func(config, _ string) *exec.Cmd {
		return exec.Command("haproxy", "-db", "-f", config)
	}},
	{"Traefik", "traefik-cluster.yml", func(config, _, certificate string) string {
		config = strings.ReplaceAll(config, "/etc/ssl/app.example.crt", certificate)
		config = strings.ReplaceAll(config, "/etc/ssl/app.example.key", certificate)
		return strings.ReplaceAll(config, "app.example", "127.0.0.1")
	}, func(config, addr string) *exec.Cmd {
		return exec.Command(os.Getenv("TRAEFIK"), "--providers.file.filename="+config, "--entrypoints.https.address="+addr)
	}},
	{"", "", nil, nil},
}

type balancer struct {
	name, config string
	adapt        func(config, addr, certificate string) string // changes the configuration so that it runs without root
	command      func(config, addr string) *exec.Cmd
}

// start starts the load balancer in front of the processes, with a rule for each prefix if there
// are any, and returns its address.
func (b balancer) start(t *testing.T, c *cluster, certificate string, prefixes []string) string {
	t.Helper()
	if b.name == "" {
		return c.inTurn(t, certificate)
	}
	config, err := os.ReadFile("../examples/deploy/" + b.config)
	if err != nil {
		t.Fatal(err)
	}
	front, file := freeAddr(t), filepath.Join(t.TempDir(), b.config)
	adapted := b.adapt(c.adapt(string(config), prefixes), front, certificate)
	if err := os.WriteFile(file, []byte(adapted), 0o600); err != nil {
		t.Fatal(err)
	}
	startServing(t, b.command(file, front), front)
	awaitRoutes(t, front)
	return front
}

// TestBalancers guards that every client can use every transport of an app of several processes,
// whichever process a load balancer sends each request to, with its own address known; and that
// with the rules of docs/operations.md no process has to hand a request on to another one.
//
// Traefik, which is not in Debian, is run if TRAEFIK names its program.
func TestBalancers(t *testing.T) {
	t.Parallel()
	node := filepath.Join(t.TempDir(), "clusternode")
	if out, err := exec.CommandContext(t.Context(), "go", "build", "-o", node, "./clusternode").CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	for _, b := range balancers {
		if b.name == "Traefik" && os.Getenv("TRAEFIK") == "" {
			continue
		}
		for _, many := range []int{2, 3} {
			t.Run(fmt.Sprintf("%s/%d", b.name, many), func(t *testing.T) {
				c := startCluster(t, node, many)
				certificate := filepath.Join(t.TempDir(), "certificate.pem")
				writeCertificate(t, certificate)
				before := c.handedOn()
				versions := clients
				if many == 2 {
					versions = []clientVersion{clients[0], clients[len(clients)-1]}
				}
				through(t, b.start(t, c, certificate, nil), certificate, versions, 12)
				if c.handedOn() == before {
					t.Error("no request was handed on")
				}
				if b.name == "" {
					return
				}
				before = c.handedOn()
				through(t, b.start(t, c, certificate, c.prefixes()), certificate, []clientVersion{clients[0], clients[len(clients)-1]}, 4)
				if n := c.handedOn() - before; n != 0 {
					t.Errorf("%d requests were handed on in spite of the rules", n)
				}
			})
		}
	}
}

// TestBalancedLosesProcess guards that clients whose process is killed, in the middle of a poll or
// with a websocket that reaches it by way of another process, come back by themselves to a process
// that knows their session.
func TestBalancedLosesProcess(t *testing.T) {
	node := filepath.Join(t.TempDir(), "clusternode")
	if out, err := exec.CommandContext(t.Context(), "go", "build", "-o", node, "./clusternode").CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	matrix(t, func(t *testing.T, r run) {
		c := startCluster(t, node, 3)
		d := play(t, r, "outlive", "http://"+c.inTurn(t, ""), nil)
		d.enters("member")
		d.hears("member", "settled", r.final())
		for n, addr := range c.addrs {
			if len(c.stats(addr).Sockets) > 0 {
				if err := c.processes[n].Process.Kill(); err != nil {
					t.Fatal(err)
				}
				break
			}
		}
		d.ignore("connect_error")
		d.lost("member")
		d.enters("member")
		d.done()
	})
}

// TestBalancedDeployment guards that requests are served while one process after the other is down
// and started again, as in a deployment: they go to the processes that are there.
func TestBalancedDeployment(t *testing.T) {
	t.Parallel()
	node := filepath.Join(t.TempDir(), "clusternode")
	if out, err := exec.CommandContext(t.Context(), "go", "build", "-o", node, "./clusternode").CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	for _, b := range balancers {
		if b.name == "" || b.name == "Traefik" && os.Getenv("TRAEFIK") == "" {
			continue
		}
		t.Run(b.name, func(t *testing.T) {
			c := startCluster(t, node, 3)
			certificate := filepath.Join(t.TempDir(), "certificate.pem")
			writeCertificate(t, certificate)
			front := b.start(t, c, certificate, nil)
			transport := &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}
			defer transport.CloseIdleConnections()
			client := &http.Client{Transport: transport}
			for n, process := range c.processes {
				if err := process.Process.Kill(); err != nil {
					t.Fatal(err)
				}
				for conn, err := net.Dial("tcp", c.addrs[n]); err == nil; conn, err = net.Dial("tcp", c.addrs[n]) {
					_ = conn.Close()
				}
				for range 6 {
					res, err := client.Get("https://" + front + "/stats")
					if err != nil {
						t.Fatal(err)
					}
					_, _ = io.Copy(io.Discard, res.Body)
					_ = res.Body.Close()
					if res.StatusCode != http.StatusOK {
						t.Errorf("while process %d is down, a request is answered %d", n, res.StatusCode)
					}
				}
				startServing(t, exec.Command(process.Path, process.Args[1:]...), c.addrs[n])
			}
		})
	}
}

// through has clients connect by way of a load balancer, so many times with each transport.
func through(t *testing.T, front, certificate string, versions []clientVersion, times int) {
	t.Helper()
	for _, client := range versions {
		d := nodeWith(t, []string{"NODE_EXTRA_CA_CERTS=" + certificate},
			"socket.io-client-"+client.version, "proxies.mjs", client.version, "https://"+front, fmt.Sprint(times))
		for range times {
			for transports, final := range map[string]string{"websocket": "websocket", "polling": "polling", "polling websocket": "websocket"} {
				d.hears(transports, "outcome", final, "127.0.0.2")
			}
		}
		d.done()
	}
}

// awaitRoutes waits until a load balancer, which accepts connections already, knows where to.
func awaitRoutes(t *testing.T, front string) {
	t.Helper()
	transport := &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}
	defer transport.CloseIdleConnections()
	client := &http.Client{Transport: transport}
	for timeout := time.After(20 * time.Second); ; {
		res, err := client.Get("https://" + front + "/stats")
		if err == nil {
			_ = res.Body.Close()
			if res.StatusCode == http.StatusOK {
				return
			}
		}
		select {
		case <-time.After(10 * time.Millisecond):
		case <-timeout:
			t.Fatalf("the load balancer does not serve: %v, %v", res, err)
		}
	}
}

// cluster is the processes of an app.
type cluster struct {
	t         *testing.T
	addrs     []string
	processes []*exec.Cmd
	turns     atomic.Uint64
}

// startCluster starts a Redis and so many processes, and waits until they know each other.
func startCluster(t *testing.T, program string, many int) *cluster {
	t.Helper()
	if _, err := exec.LookPath("redis-server"); err != nil {
		t.Fatal("redis-server is missing: run `apt-get install redis-server`")
	}
	c, redis := &cluster{t: t}, freeAddr(t)
	_, port, _ := strings.Cut(redis, ":")
	startServing(t, exec.Command("redis-server", "--port", port, "--bind", "127.0.0.1", "--save", "", "--appendonly", "no", "--dir", t.TempDir()), redis)
	for range many {
		addr := freeAddr(t)
		process := exec.Command(program, "-addr", addr, "-redis", redis)
		startServing(t, process, addr)
		c.addrs, c.processes = append(c.addrs, addr), append(c.processes, process)
	}
	for _, addr := range c.addrs {
		for timeout := time.After(20 * time.Second); len(c.stats(addr).Nodes) != many; {
			select {
			case <-time.After(10 * time.Millisecond): // nothing tells when they do
			case <-timeout:
				t.Fatalf("a process knows %+v", c.stats(addr).Nodes)
			}
		}
	}
	return c
}

// stats returns what a process counts.
func (c *cluster) stats(addr string) (s socketauth.Stats) {
	c.t.Helper()
	res, err := http.Get("http://" + addr + "/stats")
	if err != nil {
		c.t.Fatal(err)
	}
	defer res.Body.Close()
	if err := json.NewDecoder(res.Body).Decode(&s); err != nil {
		c.t.Fatal(err)
	}
	return s
}

// handedOn returns how many requests the processes have handed on to each other. All of them must
// have been believed.
func (c *cluster) handedOn() (n uint64) {
	c.t.Helper()
	var received uint64
	for _, addr := range c.addrs {
		s := c.stats(addr).Forwarded
		n, received = n+s.Sent, received+s.Received
		if s.Failed+s.Forged > 0 {
			c.t.Errorf("%+v", s)
		}
	}
	if received != n {
		c.t.Errorf("%d requests were handed on, and %d believed", n, received)
	}
	return n
}

// prefixes returns what the ids of each process's connections begin with.
func (c *cluster) prefixes() (prefixes []string) {
	for _, addr := range c.addrs {
		prefixes = append(prefixes, c.stats(addr).Nodes[0].Prefix)
	}
	return prefixes
}

// adapt puts the processes into a configuration that has three. Without prefixes no id of a
// connection is in it.
func (c *cluster) adapt(config string, prefixes []string) string {
	c.t.Helper()
	placeholders := []string{"aaaaaaaa", "bbbbbbbb", "cccccccc"}
	var lines []string
	for line := range strings.Lines(config) {
		keep := true
		for n, placeholder := range placeholders {
			addr := fmt.Sprintf("10.0.0.%d:8080", 5+n)
			if n >= len(c.addrs) && (strings.Contains(line, placeholder) || strings.Contains(line, addr)) {
				keep = false
			} else if n < len(c.addrs) {
				line = strings.ReplaceAll(line, addr, c.addrs[n])
				if prefixes != nil {
					line = strings.ReplaceAll(line, placeholder, prefixes[n])
				}
			}
		}
		if keep {
			lines = append(lines, line)
		}
	}
	return strings.Join(lines, "")
}

// dialNext connects to the next process that can be reached.
func (c *cluster) dialNext(ctx context.Context, network, _ string) (conn net.Conn, err error) {
	for range c.addrs {
		next := c.addrs[c.turns.Add(1)%uint64(len(c.addrs))]
		if conn, err = new(net.Dialer).DialContext(ctx, network, next); err == nil {
			return conn, nil
		}
	}
	return nil, err
}

// inTurn starts a load balancer that sends each request to the next process, with TLS if there is a
// certificate.
func (c *cluster) inTurn(t *testing.T, certificate string) string {
	t.Helper()
	server := &http.Server{
		ErrorLog: slog.NewLogLogger(slog.DiscardHandler, slog.LevelError),
		Handler: &httputil.ReverseProxy{
			Rewrite: func(r *httputil.ProxyRequest) {
				r.SetURL(&url.URL{Scheme: "http", Host: "next"})
				r.Out.Host = r.In.Host
				r.SetXForwarded()
			},
			Transport: &http.Transport{DialContext: c.dialNext, DisableKeepAlives: true},
			ErrorLog:  slog.NewLogLogger(slog.DiscardHandler, slog.LevelError),
		},
	}
	listener := listen(t)
	listener.open()
	go func() {
		if certificate == "" {
			_ = server.Serve(listener)
		} else {
			_ = server.ServeTLS(listener, certificate, certificate)
		}
	}()
	t.Cleanup(func() { _ = server.Close() })
	return listener.Addr().String()
}
