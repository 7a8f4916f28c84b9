// Package brokertest has the tests that every socketauth.Broker has to pass. Each subtest is one
// promise of that interface:
//
//	func TestBroker(t *testing.T) {
//		brokertest.Run(t, func(t *testing.T) brokertest.Fixture {
//			server := startServer(t)
//			return brokertest.Fixture{
//				Brokers: [2]brokertest.Broker{connect(t, server), connect(t, server)},
//				Cut:     server.closeConnections,
//				Stall:   server.stop,
//			}
//		})
//	}
//
// A broker may bound what waits for a subscriber and call gap if that is too much, but the suite
// wants room for a burst of 4,000 short messages, and for one of 1 MiB.
//
// It needs nothing but package testing, so that a broker can be a module of its own.
package brokertest

import (
	"context"
	"slices"
	"testing"
	"time"
)

// Broker is socketauth.Broker.
type Broker interface {
	Publish(ctx context.Context, topic string, data []byte) error
	Subscribe(ctx context.Context, topic string, message func(data []byte), gap func()) (cancel func(), err error)
}

// A Fixture is what the suite needs for one of its tests.
type Fixture struct {
	// Brokers reach each other. Each stands for a process, and has connections of its own.
	Brokers [2]Broker

	// Cut closes all connections of the brokers, which may connect again at once. If nil, there are
	// none, and what is promised for that case is not tested.
	Cut func()

	// Stall makes the service between the brokers stop answering, with its connections open, until
	// resume is called. The suite calls resume in any case, perhaps twice. If nil, what is promised
	// for that case is not tested.
	Stall func() (resume func())
}

// patience is how long the suite waits for what has to happen.
var patience = 20 * time.Second

// Run runs the suite. open returns brokers that nobody uses yet, for each promise, and has
// t.Cleanup close what it opened.
func Run(t *testing.T, open func(t *testing.T) Fixture) {
	for _, c := range slices.Concat(delivery(), subscriptions(), callbacks(), failures()) {
		t.Run(c.promise, func(t *testing.T) { c.check(t, &fixture{Fixture: open(t), t: t}) })
	}
}

// clause is one promise.
type clause struct {
	promise string
	check   func(t *testing.T, f *fixture)
}
