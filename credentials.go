package socketauth

import (
	"bytes"
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"runtime"
	"sync"
	"sync/atomic"

	"golang.org/x/crypto/bcrypt"

	"github.com/z-open/socketauth/internal/fairqueue"
)

const maxPassword = 72

// Passwords hashes and compares passwords by bcrypt, a bounded number at a time so that a rush of logins leaves
// processor time for everything else. In the hooks of a login, whose context it has to be given, addresses take turns, so
// that a rush from one of them leaves time for the others. The zero value is ready; it must not be copied after its first use, and its
// methods are safe for concurrent use.
type Passwords struct {
	// Cost is bcrypt's cost for new hashes, 4 to 31; each step doubles the time. Another one is an error of the first
	// use. 0: 10. When it is raised, hashes of before go on to work, and a login that fails takes as long for all users,
	// known or not; Outdated reports which hashes to make anew.
	Cost int

	// Concurrent is how many hashes are worked on at a time. 0: half of GOMAXPROCS, and one at least.
	Concurrent int

	// Queue is how many more may wait for their turn; past it, ErrUnavailable, which hits those of the address first
	// that has most of them. 0: 128 for each of Concurrent.
	Queue int

	once    sync.Once
	turns   *fairqueue.Queue
	dummy   []byte       // a hash that no password has, to be compared with where there is no user
	highest atomic.Int32 // cost of Cost and of all hashes seen: what every comparison that fails takes
	compare func(hash, password []byte) error
	err     error
}

func (p *Passwords) start() error {
	p.once.Do(func() {
		if p.compare == nil { // a test counts
			p.compare = bcrypt.CompareHashAndPassword
		}
		cost := cmp.Or(p.Cost, bcrypt.DefaultCost)
		concurrent := cmp.Or(max(p.Concurrent, 0), max(1, runtime.GOMAXPROCS(0)/2))
		p.turns = fairqueue.New(concurrent, cmp.Or(max(p.Queue, 0), 128*concurrent))
		nobody := make([]byte, 32)
		_, _ = rand.Read(nobody)
		if cost < bcrypt.MinCost { // bcrypt would quietly take another
			p.err = fmt.Errorf("socketauth: Passwords.Cost %d is below %d", cost, bcrypt.MinCost)
			return
		}
		p.dummy, p.err = bcrypt.GenerateFromPassword(nobody, cost)
		p.highest.Store(int32(cost))
	})
	return p.err
}

// dummyHash returns a hash of that cost that no password has.
func (p *Passwords) dummyHash(cost int) []byte {
	const costAt = len("$2a$")
	hash := bytes.Clone(p.dummy)
	copy(hash[costAt:], fmt.Sprintf("%02d", cost))
	return hash
}

// sawCost notes the cost of a stored hash.
func (p *Passwords) sawCost(cost int) {
	for {
		highest := p.highest.Load()
		if int32(cost) <= highest || p.highest.CompareAndSwap(highest, int32(cost)) {
			return
		}
	}
}

// check compares a password with a stored hash, "" where there is none. One that is wrong takes the work of the highest
// cost, whatever the hash's own: of a quicker answer could be told which users exist, and whose password is old.
func (p *Passwords) check(hash string, password []byte) error {
	begin := password[:min(len(password), maxPassword)] // all that bcrypt looks at
	if hash == "" {
		return p.compare(p.dummyHash(int(p.highest.Load())), begin)
	}
	cost, err := bcrypt.Cost([]byte(hash))
	if err != nil {
		return err
	}
	p.sawCost(cost)
	err = p.compare([]byte(hash), begin)
	if err == nil && len(password) > maxPassword {
		err = bcrypt.ErrMismatchedHashAndPassword
	}
	if errors.Is(err, bcrypt.ErrMismatchedHashAndPassword) {
		for highest := int(p.highest.Load()); cost < highest; cost++ { // each doubles, so together they are what is missing
			_ = p.compare(p.dummyHash(cost), begin)
		}
	}
	return err
}

// turn is whom a login takes its turns with: the crowd of an address, of a known device's account, or, where that is
// empty, of all others, among whom the name is one that may be made up.
type turn struct{ crowd, name string }

// turnKey finds in the context of a login's hooks its turn.
type turnKey struct{}

// work runs f when it is its turn.
func (p *Passwords) work(ctx context.Context, f func() error) error {
	if err := p.start(); err != nil {
		return err
	}
	turn, _ := ctx.Value(turnKey{}).(turn)
	if err := p.turns.Begin(ctx, turn.crowd, turn.name); errors.Is(err, fairqueue.ErrFull) {
		return fmt.Errorf("%w: too many passwords wait to be hashed", ErrUnavailable)
	} else if err != nil {
		return err
	}
	defer p.turns.End()
	return f()
}

// Hash makes the hash to store for a password. Errors: ErrPasswordTooLong, which a Register hook may return as it is
// (the client is told PASSWORD_TOO_LONG), ErrUnavailable, the context's, a Cost that bcrypt does not have.
func (p *Passwords) Hash(ctx context.Context, password string) (hash string, err error) {
	if len(password) > maxPassword {
		return "", ErrPasswordTooLong
	}
	err = p.work(ctx, func() error {
		h, err := bcrypt.GenerateFromPassword([]byte(password), cmp.Or(p.Cost, bcrypt.DefaultCost))
		hash = string(h)
		return err
	})
	return hash, err
}

// Compare says ErrInvalidCredentials where the password is not the one of the hash, after the time that a hash of the
// highest cost in use takes; an empty hash is one that no password has. Other errors: ErrUnavailable, the context's, a
// hash that is none.
func (p *Passwords) Compare(ctx context.Context, hash, password string) error {
	return p.work(ctx, func() error {
		err := p.check(hash, []byte(password))
		if errors.Is(err, bcrypt.ErrMismatchedHashAndPassword) || err == nil && hash == "" {
			return ErrInvalidCredentials
		}
		return err
	})
}

// Outdated reports whether a hash was made at a lower cost than Hash makes them now. A login that succeeded is the time to
// store a new one, since the password is at hand. It is false for what is no bcrypt hash.
func (p *Passwords) Outdated(hash string) bool {
	cost, err := bcrypt.Cost([]byte(hash))
	return err == nil && cost < cmp.Or(p.Cost, bcrypt.DefaultCost)
}

// PasswordLogin makes a FindUserByCredentials from a look-up of a user and their stored hash by name. It reads the
// credentials "username" and "password". lookup says ErrInvalidCredentials, bare or wrapped, for a name it does not
// know; the login then takes as long, and says the same, as with a wrong password. p may be nil.
func PasswordLogin[U any](p *Passwords, lookup func(ctx context.Context, name string) (user U, hash string, err error)) func(context.Context, Credentials) (U, error) {
	if p == nil {
		p = new(Passwords)
	}
	return func(ctx context.Context, c Credentials) (U, error) {
		var nobody U
		user, hash, err := lookup(ctx, c.Get("username"))
		if errors.Is(err, ErrInvalidCredentials) {
			hash = "" // compared all the same, for its time
		} else if err != nil {
			return nobody, err
		}
		if err := p.Compare(ctx, hash, c.Get("password")); err != nil {
			return nobody, err
		}
		return user, nil
	}
}

// Credentials are the fields of a login or registration. They print and log as a placeholder; the app reads them by
// Get or as the map they are.
type Credentials map[string]any

const redacted = "[redacted]"

// Get is a field as a string: empty where there is none, or where it is not a string.
func (c Credentials) Get(name string) string {
	s, _ := c[name].(string)
	return s
}

// LogValue keeps passwords out of logs.
func (c Credentials) LogValue() slog.Value { return slog.StringValue(redacted) }

// Format keeps passwords out of whatever fmt prints.
func (c Credentials) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, redacted) }

// MarshalJSON keeps passwords out of logs that marshal. To pass the fields on, convert: map[string]any(c).
func (c Credentials) MarshalJSON() ([]byte, error) { return []byte(`"` + redacted + `"`), nil }
