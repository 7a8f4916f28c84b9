package natstest

import (
	"net"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"

	"github.com/z-open/socketauth/brokertest"
)

// start starts a NATS server in this process, on a port of its own if port is -1.
func start(t *testing.T, port int) *server.Server {
	t.Helper()
	s, err := server.NewServer(&server.Options{Host: "127.0.0.1", Port: port, NoLog: true, NoSigs: true})
	if err != nil {
		t.Fatal(err)
	}
	s.Start()
	t.Cleanup(func() {
		s.Shutdown()
		s.WaitForShutdown()
	})
	if !s.ReadyForConnections(10 * time.Second) {
		t.Fatal("the server does not start")
	}
	return s
}

func fixture(t *testing.T, addr string) brokertest.Fixture {
	var f brokertest.Fixture
	var relays []*relay
	for n := range f.Brokers {
		r := newRelay(t, addr)
		b, err := connect("nats://"+r.listener.Addr().String(), "test.")
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(b.close)
		f.Brokers[n], relays = b, append(relays, r)
	}
	f.Cut = func() {
		for _, r := range relays {
			r.cut()
		}
	}
	f.Stall = func() func() {
		for _, r := range relays {
			r.stall(true)
		}
		return sync.OnceFunc(func() {
			for _, r := range relays {
				r.stall(false)
			}
		})
	}
	return f
}

// TestBroker checks that the interface of a Broker fits NATS.
func TestBroker(t *testing.T) {
	s := start(t, -1)
	brokertest.Run(t, func(t *testing.T) brokertest.Fixture { return fixture(t, s.Addr().String()) })
}

// TestRestart checks the same where the server itself is stopped and started again.
func TestRestart(t *testing.T) {
	brokertest.Run(t, func(t *testing.T) brokertest.Fixture {
		s := start(t, -1)
		f := fixture(t, s.Addr().String())
		port := s.Addr().(*net.TCPAddr).Port
		f.Cut = func() {
			s.Shutdown()
			s.WaitForShutdown()
			s = start(t, port)
		}
		return f
	})
}
