package socketauth

import (
	"context"
	"crypto/hkdf"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"net/url"
	"reflect"
	"strconv"
	"strings"
	"time"
)

// Cluster joins the processes of one app, so that emits, receipts and limits on guessing reach
// across them. Its zero value is an app of one process.
type Cluster struct {
	// Broker carries messages between the processes. All of them must use the same one, and share
	// Options.Blacklist, which must be set. Every message is authenticated with a key that is
	// derived from Key or Options.Secret; all others are ignored. If nil, the process is on its own.
	Broker Broker

	// Advertise is the URL at which the other processes reach this one directly, past the load
	// balancer, such as "http://10.0.0.5:8080": a scheme, a host and perhaps a port, and nothing
	// else. A process that is sent a polling request of another's connection passes it on to there.
	// If empty, requests are not passed on to this process; clients that poll then need a load
	// balancer that sends each of them to the same process.
	Advertise string

	// Key are at least 32 random bytes, the same in all processes, from which the keys of the
	// cluster are derived. If nil, they are derived from Options.Secret. It is required with Broker
	// if Secret is not set.
	Key []byte

	// MaxStale is for how long the process may hear nothing of the blacklist before it disconnects
	// its sockets, whose sessions may have ended meanwhile. Clients reconnect by themselves. It is at
	// least 3 seconds. The default is 0: the sockets stay.
	MaxStale time.Duration

	// ReceiptTimeout is for how long a revocation waits for the other processes to say what they
	// have closed. The default is 500 milliseconds.
	ReceiptTimeout time.Duration
}

// LogValue keeps the key out of logs.
func (c Cluster) LogValue() slog.Value { return slog.StringValue("socketauth.Cluster") }

// Format keeps the key out of the output of package fmt.
func (c Cluster) Format(f fmt.State, _ rune) { fmt.Fprint(f, "socketauth.Cluster") }

// MarshalJSON keeps the key out of logs in JSON.
func (c Cluster) MarshalJSON() ([]byte, error) { return json.Marshal("socketauth.Cluster") }

// Broker carries messages between the processes of one app: each at most once, and those of one
// publisher on one topic in order. It keeps nothing. An implementation needs nothing of this
// package; package brokertest has the tests that each has to pass. A Broker is safe for concurrent
// use.
type Broker interface {
	// Publish sends data to all who have subscribed to the topic, in this process too. Topics are
	// at most 64 letters, digits, "-" and "_". ctx bounds this call. Publish does not keep data.
	Publish(ctx context.Context, topic string, data []byte) error

	// Subscribe calls message with what is published on the topic from now on, and gap whenever
	// messages may have been lost. It returns once nothing is missed any more. ctx bounds this call
	// alone; cancel ends the subscription, and waits for a call that is running.
	//
	// The functions of one subscription are called one at a time. They return soon, and data is
	// theirs to keep. cancel is not called within them.
	Subscribe(ctx context.Context, topic string, message func(data []byte), gap func()) (cancel func(), err error)
}

// clusterConfig is Cluster, checked and with defaults.
type clusterConfig struct {
	broker         Broker
	advertise      string
	key            []byte // 32 bytes, which other keys are derived from; nil without a Broker
	maxStale       time.Duration
	receiptTimeout time.Duration
}

// minMaxStale is more than the 2 seconds within which a store that processes share says that it has
// missed nothing.
const minMaxStale = 3 * time.Second

// check returns the configuration with its defaults, and calls fault for each option that is not
// valid. duration does so for durations, and returns the default for zero.
func (c Cluster) check(
	secret []byte, shared bool, fault func(format string, args ...any),
	duration func(name string, d, standard time.Duration) time.Duration,
) clusterConfig {
	config := clusterConfig{
		broker:         c.Broker,
		advertise:      c.Advertise,
		maxStale:       duration("Cluster.MaxStale", c.MaxStale, 0),
		receiptTimeout: duration("Cluster.ReceiptTimeout", c.ReceiptTimeout, 500*time.Millisecond),
	}
	if time.Millisecond <= c.MaxStale && c.MaxStale < minMaxStale {
		fault("Cluster.MaxStale is %v, less than %v: sockets would end although nothing is wrong", c.MaxStale, minMaxStale)
	}
	if c.Advertise != "" {
		if err := checkAdvertise(c.Advertise); err != nil {
			fault("Cluster.Advertise %q: %w", c.Advertise, err)
		}
	}
	if c.Key != nil && len(c.Key) < 32 {
		fault("Cluster.Key has %d bytes and needs at least 32 random ones", len(c.Key))
	}
	switch {
	case c.Broker == nil:
		return config
	case isNilPointer(c.Broker):
		fault("Cluster.Broker is a nil %T, not nil", c.Broker)
	}
	if !shared {
		fault("Cluster.Broker is set without Blacklist: the processes must share a store that is not in memory")
	}
	if c.Key == nil && secret == nil {
		fault("Cluster.Broker needs Cluster.Key, because Secret is not set: 32 random bytes that all processes share")
	}
	if c.Key != nil {
		secret = c.Key
	}
	// Other uses in the cluster derive their keys from this one, each with an info of its own.
	key, err := hkdf.Key(sha256.New, secret, nil, "socketauth cluster v1", sha256.Size) // RFC 5869
	if err != nil {
		fault("deriving the key of the cluster: %w", err)
	}
	config.key = key
	return config
}

// isNilPointer reports whether an interface holds a nil pointer, which its methods cannot use.
func isNilPointer(v any) bool {
	of := reflect.ValueOf(v)
	return of.Kind() == reflect.Pointer && of.IsNil()
}

var (
	errAdvertiseForm = errors.New(`it must be a scheme, http or https, a host and perhaps a port, and nothing after them: "http://10.0.0.5:8080"`)
	errAdvertisePort = errors.New("the port is not a number from 1 to 65535")
	errAdvertiseAny  = errors.New("other processes cannot connect to the address that stands for all")
)

// checkAdvertise returns an error if s is not the base URL of a process.
func checkAdvertise(s string) error {
	const hosts = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.-_:[]"
	u, err := url.Parse(s)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Hostname() == "" ||
		s != u.Scheme+"://"+u.Host || strings.Trim(u.Host, hosts) != "" {
		return errAdvertiseForm
	}
	if strings.HasSuffix(u.Host, ":") || u.Port() != "" {
		if n, err := strconv.ParseUint(u.Port(), 10, 16); err != nil || n == 0 {
			return errAdvertisePort
		}
	}
	if address, err := netip.ParseAddr(u.Hostname()); err == nil && address.IsUnspecified() {
		return errAdvertiseAny
	}
	return nil
}
