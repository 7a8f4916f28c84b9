//go:build unix

// Package redistest starts real Redis servers for tests, alone or as a cluster, and harms them: it
// kills them, stops them, and cuts what connects to them. It is for the tests of this module.
//
// All servers listen on free ports of the loopback interface and are killed when the test ends, or
// with the process of the test. Their flags are those of redis-server:
//
//	server := redistest.Start(t, "--appendonly", "yes")
//	client := server.Client()
//
// The program is redis-server, or the one that the environment variable REDIS_SERVER names. If
// there is none, the test is skipped; where CI=true it fails.
package redistest

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
)

// patience is how long something may take that has to happen.
const patience = 30 * time.Second

// A Server is a redis-server process, which keeps its port and folder when it is restarted.
type Server struct {
	Addr string // host:port
	Dir  string // where it keeps its files

	t       testing.TB
	flags   []string
	mu      sync.Mutex
	process *exec.Cmd     // nil if it was killed
	exited  chan struct{} // closed once the process has been waited for
}

// Start starts a server and returns once it answers PING. Without flags it keeps nothing on disk;
// flags are added to those that say so, and win.
func Start(t testing.TB, flags ...string) *Server {
	t.Helper()
	program(t)
	s := &Server{t: t, Dir: t.TempDir(), flags: flags}
	t.Cleanup(s.Kill)
	var err error
	for range 10 {
		port := freePort(t)
		s.Addr = net.JoinHostPort("127.0.0.1", strconv.Itoa(port))
		if err = s.start(); err == nil {
			return s
		}
		if !strings.Contains(s.Log(), "Address already in use") {
			break
		}
	}
	t.Fatalf("redis-server: %v\n%s", err, s.Log())
	return nil
}

// program returns the path of redis-server.
func program(t testing.TB) string {
	t.Helper()
	name := os.Getenv("REDIS_SERVER")
	if name == "" {
		name = "redis-server"
	}
	path, err := exec.LookPath(name)
	if err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatalf("this test needs redis-server: %v", err)
		}
		t.Skipf("this test needs redis-server, which is not installed (apt-get install redis-server): %v", err)
	}
	return path
}

// freePort returns a port that is free, and so is the one that is 10,000 higher, for the bus of a
// cluster. It is below those that the system gives to outgoing connections, so that a server that
// is restarted gets it again.
func freePort(t testing.TB) int {
	t.Helper()
	free := func(port int) bool {
		l, err := net.Listen("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(port)))
		if err != nil {
			return false
		}
		_ = l.Close()
		return true
	}
	for range 1000 {
		if port := 10_000 + rand.IntN(12_000); free(port) && free(port+10_000) {
			return port
		}
	}
	t.Fatal("no free port found")
	return 0
}

func (s *Server) port() int {
	_, port, _ := net.SplitHostPort(s.Addr)
	n, _ := strconv.Atoi(port)
	return n
}

// start starts the process and waits until it answers.
func (s *Server) start() error {
	args := []string{
		"--bind", "127.0.0.1", "--port", strconv.Itoa(s.port()), "--dir", s.Dir,
		"--save", "", "--appendonly", "no", "--repl-diskless-sync-delay", "0",
	}
	process := exec.Command(program(s.t), slices.Concat(args, s.flags)...)
	log, err := os.OpenFile(s.logFile(), os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer log.Close()
	process.Stdout, process.Stderr = log, log
	if err := launch(process); err != nil {
		return err
	}
	exited := make(chan struct{})
	go func() {
		_ = process.Wait()
		close(exited)
	}()
	s.mu.Lock()
	s.process, s.exited = process, exited
	s.mu.Unlock()
	for deadline := time.Now().Add(patience); ; time.Sleep(5 * time.Millisecond) {
		if s.ping() {
			return nil
		}
		select {
		case <-exited:
			return errors.New("the server has exited")
		default:
		}
		if time.Now().After(deadline) {
			return errors.New("the server does not answer")
		}
	}
}

// ping reports whether the server answers PING, and not with an error such as LOADING.
func (s *Server) ping() bool {
	conn, err := net.DialTimeout("tcp", s.Addr, time.Second)
	if err != nil {
		return false
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(time.Second))
	if _, err := io.WriteString(conn, "PING\r\n"); err != nil {
		return false
	}
	reply := make([]byte, 7)
	_, err = io.ReadFull(conn, reply)
	return err == nil && string(reply) == "+PONG\r\n"
}

func (s *Server) logFile() string { return filepath.Join(s.Dir, "redis-server.log") }

// Log returns what the server has printed.
func (s *Server) Log() string {
	text, _ := os.ReadFile(s.logFile())
	return string(text)
}

// Kill kills the process as kill -9 does, whether it is stopped or not, and returns once it is
// gone.
func (s *Server) Kill() {
	s.mu.Lock()
	process, exited := s.process, s.exited
	s.process = nil
	s.mu.Unlock()
	if process != nil {
		_ = process.Process.Kill()
		<-exited
	}
}

// Restart kills the process if it runs, and starts it again with the same port, folder and flags.
// It returns once the server answers.
func (s *Server) Restart() {
	s.t.Helper()
	s.Kill()
	if err := s.start(); err != nil {
		s.t.Fatalf("redis-server did not start again: %v\n%s", err, s.Log())
	}
}

// Pause stops the process, as SIGSTOP does: its connections stay open, and nothing is answered.
func (s *Server) Pause() {
	s.t.Helper()
	AwaitStopped(s.t, s.signal(syscall.SIGSTOP))
}

// AwaitStopped waits until a process that was sent SIGSTOP has stopped: until then it may still
// answer.
func AwaitStopped(t testing.TB, pid int) {
	t.Helper()
	Eventually(t, "the process has stopped", func() bool { return stopped(pid) })
}

// Resume lets a process go on that was stopped by Pause.
func (s *Server) Resume() {
	s.t.Helper()
	s.signal(syscall.SIGCONT)
}

func (s *Server) signal(sig syscall.Signal) (pid int) {
	s.t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.process == nil {
		s.t.Fatal("the server does not run")
	}
	if err := s.process.Process.Signal(sig); err != nil {
		s.t.Fatalf("signal %v: %v", sig, err)
	}
	return s.process.Process.Pid
}

// Replica starts a replica of the server and returns once it is up to date. It asks the server at
// addr, which may be a Proxy's; an empty addr means the server's own.
func (s *Server) Replica(addr string, flags ...string) *Server {
	s.t.Helper()
	if addr == "" {
		addr = s.Addr
	}
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		s.t.Fatal(err)
	}
	r := Start(s.t, slices.Concat([]string{"--replicaof", host, port}, flags)...)
	r.awaitLink()
	return r
}

// awaitLink waits until a replica has its master's data.
func (s *Server) awaitLink() {
	s.t.Helper()
	Eventually(s.t, "the replica is up to date", func() bool { return s.info("replication", "master_link_status") == "up" })
}

// Promote makes a replica a master, as a failover does. A replica in a cluster takes over the slots
// of its master, without asking the others.
func (s *Server) Promote() {
	s.t.Helper()
	if s.info("cluster", "cluster_enabled") == "1" {
		s.Do("CLUSTER", "FAILOVER", "TAKEOVER")
	} else {
		s.Do("REPLICAOF", "NO", "ONE")
	}
	Eventually(s.t, "the replica is a master", func() bool { return s.info("replication", "role") == "master" })
}

// info returns one value of INFO, or an empty string.
func (s *Server) info(section, name string) string {
	client := s.client()
	defer client.Close()
	text, err := client.Info(context.Background(), section).Result()
	if err != nil {
		return ""
	}
	for line := range strings.Lines(text) {
		if value, is := strings.CutPrefix(strings.TrimSpace(line), name+":"); is {
			return value
		}
	}
	return ""
}

func (s *Server) client() *redis.Client {
	return redis.NewClient(&redis.Options{Addr: s.Addr, Protocol: 2, DisableIdentity: true, MaxRetries: -1})
}

// Client returns a new client of the server, closed when the test ends. Its calls end with their
// contexts and are not repeated.
func (s *Server) Client() *redis.Client {
	return ClientAt(s.t, s.Addr)
}

// ClientAt returns a client as Client does, of the server at addr, which may be a Proxy's.
func ClientAt(t testing.TB, addr string) *redis.Client {
	client := redis.NewClient(&redis.Options{Addr: addr, ContextTimeoutEnabled: true, MaxRetries: -1})
	t.Cleanup(func() { _ = client.Close() })
	return client
}

// Do sends a command to the server and returns the reply. An error fails the test.
func (s *Server) Do(args ...any) any {
	s.t.Helper()
	client := s.client()
	defer client.Close()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	reply, err := client.Do(ctx, args...).Result()
	if err != nil && !errors.Is(err, redis.Nil) {
		s.t.Fatalf("%s: %v", fmt.Sprint(args...), err)
	}
	return reply
}

// Eventually fails the test if something does not come true within half a minute.
func Eventually(t testing.TB, what string, is func() bool) {
	t.Helper()
	for deadline := time.Now().Add(patience); !is(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("it does not come true that %s", what)
		}
	}
}
