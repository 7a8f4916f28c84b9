package servers

import (
	"context"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/jellydator/ttlcache/v3"
	"github.com/maypok86/otter/v2"

	"github.com/z-open/socketauth/blacklist"
)

// The environment of a process that measures a store.
const (
	StoreEnv    = "SOCKETAUTH_BENCH_STORE"    // which one
	SessionsEnv = "SOCKETAUTH_BENCH_SESSIONS" // how many sessions it holds
)

// StoreFigures is what such a process writes, as JSON.
type StoreFigures struct {
	Sessions      int
	HeapBytes     float64 // of one session, live: after collection
	RSSBytes      float64 // of one session, as the process has it before any forced collection
	MicrosPerStep float64
	LongestMillis float64 // the longest step
	RevokeMicros  float64 // to end all sessions; 0 if it cannot
	GCMillis      float64 // a collection of everything, on all processors
}

const lifetime = 24 * time.Hour

// sessionStore begins sessions and replaces their tokens. Its methods prepare a step, which is then
// measured.
type sessionStore interface {
	begin(i int) func() error
	renew(i int) func() error // fails if the session is not known as begin left it
}

// id returns an ID of 128 bits as a store gets it: a string of its own.
func id(kind, i int) string {
	var b [16]byte
	binary.LittleEndian.PutUint64(b[:], uint64(i)*0x9e3779b97f4a7c15) // spread, as random IDs are
	binary.LittleEndian.PutUint64(b[8:], uint64(kind)<<56|uint64(i))
	return base64.RawURLEncoding.EncodeToString(b[:])
}

func user(i int) string { return "user" + strconv.Itoa(i) }

// StoreMain measures the store that the environment names. It reports false if there is none.
func StoreMain() bool {
	name := os.Getenv(StoreEnv)
	if name == "" {
		return false
	}
	f, err := measureStore(name, os.Getenv(SessionsEnv))
	if err == nil {
		err = json.NewEncoder(os.Stdout).Encode(f)
	}
	if err != nil {
		fmt.Fprintf(os.Stderr, "%s: %v\n", name, err)
		os.Exit(1)
	}
	return true
}

func measureStore(name, sessions string) (StoreFigures, error) {
	n, err := strconv.Atoi(sessions)
	if err != nil {
		return StoreFigures{}, err
	}
	s, err := newStore(name)
	if err != nil {
		return StoreFigures{}, err
	}
	f := StoreFigures{Sessions: n}
	_, rss, err := memory(false)
	if err != nil {
		return f, err
	}
	heap, _, err := memory(true)
	if err != nil {
		return f, err
	}
	var longest, all time.Duration
	for _, prepare := range []func(int) func() error{s.begin, s.renew} {
		for i := range n {
			step := prepare(i)
			from := time.Now()
			if err := step(); err != nil {
				return f, fmt.Errorf("session %d: %w", i, err)
			}
			took := time.Since(from)
			longest, all = max(longest, took), all+took
		}
	}
	f.MicrosPerStep = float64(all.Nanoseconds()) / 1000 / float64(2*n)
	f.LongestMillis = float64(longest.Nanoseconds()) / 1e6
	_, rssAfter, err := memory(false)
	if err != nil {
		return f, err
	}
	f.RSSBytes = (rssAfter - rss) / float64(n)
	heapAfter, _, err := memory(true)
	if err != nil {
		return f, err
	}
	f.HeapBytes = (heapAfter - heap) / float64(n)
	from := time.Now()
	runtime.GC()
	f.GCMillis = float64(time.Since(from).Nanoseconds()) / 1e6
	if library, ok := s.(*libraryStore); ok {
		from := time.Now()
		change, err := library.Revoke(context.Background(), blacklist.Revocation{All: true, Why: blacklist.Revoked, Keep: lifetime})
		if err != nil || change.Sessions != n {
			return f, fmt.Errorf("%d sessions were ended: %v", change.Sessions, err)
		}
		f.RevokeMicros = float64(time.Since(from).Nanoseconds()) / 1000
	}
	runtime.KeepAlive(s)
	return f, nil
}

// memory returns the bytes of the heap, after collection if asked, and the resident ones.
func memory(collect bool) (heap, rss float64, err error) {
	if collect {
		runtime.GC() // two collections empty the pools
		runtime.GC()
	}
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return 0, 0, err
	}
	_, line, _ := strings.Cut(string(status), "VmRSS:")
	_, err = fmt.Sscanf(line, "%f kB", &rss)
	return float64(m.HeapAlloc), rss * 1024, err
}

func newStore(name string) (sessionStore, error) {
	switch name {
	case "socketauth":
		return &libraryStore{blacklist.NewMemory(), time.Now()}, nil
	case "map":
		return &mapStore{records: make(map[string]record)}, nil
	case "ttlcache":
		return ttlcacheStore{ttlcache.New(ttlcache.WithTTL[string, record](lifetime))}, nil
	case "otter":
		c, err := otter.New(&otter.Options[string, record]{ExpiryCalculator: otter.ExpiryWriting[string, record](lifetime)})
		return otterStore{c}, err
	}
	return nil, errors.New("no such store")
}

// libraryStore is the library's own. It also keeps address and device.
type libraryStore struct {
	blacklist.Store
	began time.Time
}

func (s *libraryStore) begin(i int) func() error { return s.present(i, 0) }
func (s *libraryStore) renew(i int) func() error { return s.present(i, 1) }

func (s *libraryStore) present(i, generation int) func() error {
	now := time.Now()
	kind := 1 // the code
	if generation > 0 {
		kind = 2
	}
	p := blacklist.Presentation{
		Token: blacklist.TokenRef{
			SessionID: id(0, i), TokenID: id(kind, i), UserID: user(i), Generation: uint64(generation),
			IssuedAt: now, ExpiresAt: now.Add(lifetime), AuthTime: now,
		},
		SuccessorID: id(kind+1, i), SuccessorExpiresAt: now.Add(lifetime), EndOnReuse: true,
		Address:   fmt.Sprintf("10.%d.%d.%d", i>>16&255, i>>8&255, i&255),
		UserAgent: "Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0",
	}
	return func() error {
		result, err := s.Present(context.Background(), p)
		if err == nil && result.Verdict != blacklist.Accepted {
			err = fmt.Errorf("verdict %v", result.Verdict)
		}
		return err
	}
}

// record is the least that a store has to know of a session.
type record struct {
	user       string
	holder     string
	generation uint64
	expires    int64
}

var errMissing = errors.New("not in the store")

func first(i int) record { return record{user(i), id(1, i), 0, time.Now().Add(lifetime).Unix()} }

// second returns the record that replaces that of first, which it has to be.
func second(i int) func(record, bool) (record, error) {
	was, next := first(i), id(2, i)
	return func(r record, ok bool) (record, error) {
		if !ok || r.user != was.user || r.holder != was.holder || r.generation != 0 {
			return r, errMissing
		}
		r.holder, r.generation, r.expires = next, 1, was.expires
		return r, nil
	}
}

type mapStore struct {
	mu      sync.Mutex
	records map[string]record
}

func (s *mapStore) begin(i int) func() error {
	key, r := id(0, i), first(i)
	return func() error {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.records[key] = r
		return nil
	}
}

func (s *mapStore) renew(i int) func() error {
	key, next := id(0, i), second(i)
	return func() error {
		s.mu.Lock()
		defer s.mu.Unlock()
		r, ok := s.records[key]
		r, err := next(r, ok)
		s.records[key] = r
		return err
	}
}

type ttlcacheStore struct {
	c *ttlcache.Cache[string, record]
}

func (s ttlcacheStore) begin(i int) func() error {
	key, r := id(0, i), first(i)
	return func() error {
		s.c.Set(key, r, ttlcache.DefaultTTL)
		return nil
	}
}

func (s ttlcacheStore) renew(i int) func() error {
	key, next := id(0, i), second(i)
	return func() error {
		item := s.c.Get(key)
		if item == nil {
			return errMissing
		}
		r, err := next(item.Value(), true)
		s.c.Set(key, r, ttlcache.DefaultTTL)
		return err
	}
}

type otterStore struct{ c *otter.Cache[string, record] }

func (s otterStore) begin(i int) func() error {
	key, r := id(0, i), first(i)
	return func() error {
		s.c.Set(key, r)
		return nil
	}
}

func (s otterStore) renew(i int) func() error {
	key, next := id(0, i), second(i)
	return func() error {
		r, err := next(s.c.GetIfPresent(key))
		s.c.Set(key, r)
		return err
	}
}
