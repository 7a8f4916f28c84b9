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

// maxPassword is how many bytes of a password bcrypt looks at.
const maxPassword = 72

// Passwords hashes and compares passwords with bcrypt, a limited number at a time, so that many
// logins at once leave processor time for everything else. Its methods must be called with the
// context of the login's hook: the clients of different addresses then take turns, so that one of
// them cannot keep the others waiting. The zero value is ready to use. A Passwords must not be
// copied after its first use, and is safe for concurrent use.
type Passwords struct {
	// Cost is the cost of new hashes, from 4 to 31; each step doubles the time. The first use
	// returns an error if it is out of range. The default is 10. It can be raised at any time:
	// older hashes remain valid, and Outdated reports which ones to replace. A login that fails
	// takes as long as a hash of the highest cost in use, for all users and for names that do not
	// exist.
	Cost int

	// Concurrent is how many passwords are hashed at the same time. The default is half of
	// GOMAXPROCS, and at least 1.
	Concurrent int

	// Queue is how many calls may wait. If there is one more, a call of the address with the most
	// calls waiting fails with ErrUnavailable. The default is 128 for each of Concurrent.
	Queue int

	once    sync.Once
	turns   *fairqueue.Queue
	dummy   []byte       // the hash of no password, to compare with if there is no user
	highest atomic.Int32 // the highest cost of Cost and of all hashes seen
	compare func(hash, password []byte) error
	err     error
}

// start does what has to be done before the first use, once. It returns the same error each time.
func (p *Passwords) start() error {
	p.once.Do(func() {
		if p.compare == nil { // a test may have set it
			p.compare = bcrypt.CompareHashAndPassword
		}
		cost := cmp.Or(p.Cost, bcrypt.DefaultCost)
		concurrent := cmp.Or(max(p.Concurrent, 0), max(1, runtime.GOMAXPROCS(0)/2))
		p.turns = fairqueue.New(concurrent, cmp.Or(max(p.Queue, 0), 128*concurrent))
		random := make([]byte, 32)
		_, _ = rand.Read(random)
		if cost < bcrypt.MinCost { // bcrypt would silently use its default
			p.err = fmt.Errorf("socketauth: Passwords.Cost %d is below %d", cost, bcrypt.MinCost)
			return
		}
		p.dummy, p.err = bcrypt.GenerateFromPassword(random, cost)
		p.highest.Store(int32(cost))
	})
	return p.err
}

// dummyHash returns a hash with the given cost that matches no password.
func (p *Passwords) dummyHash(cost int) []byte {
	const costAt = len("$2a$") // where two digits of cost begin
	hash := bytes.Clone(p.dummy)
	copy(hash[costAt:], fmt.Sprintf("%02d", cost))
	return hash
}

// sawCost raises p.highest to the cost of a stored hash.
func (p *Passwords) sawCost(cost int) {
	for {
		highest := p.highest.Load()
		if int32(cost) <= highest || p.highest.CompareAndSwap(highest, int32(cost)) {
			return
		}
	}
}

// check compares a password with a stored hash, or with a dummy if that is "". If the password is
// wrong, it always takes as long as the highest cost does. Otherwise a quick answer would show that
// a user does not exist, or has an old hash.
func (p *Passwords) check(hash string, password []byte) error {
	begin := password[:min(len(password), maxPassword)] // bcrypt ignores the rest
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
		// Each step of cost doubles the time, so the compared hash and one dummy of each cost from
		// its own up to the highest take as long together as one hash of the highest cost.
		for highest := int(p.highest.Load()); cost < highest; cost++ {
			_ = p.compare(p.dummyHash(cost), begin)
		}
	}
	return err
}

// turn is with whom a login takes turns, as group and name of package fairqueue. The group is an
// address or the account of a known device. For all other logins it is empty, and the name is what
// the proxy says of the client, which the client may have made up.
type turn struct{ group, name string }

// turnKey is the key of a turn in the context of a login's hooks.
type turnKey struct{}

// work waits for its turn and calls f.
func (p *Passwords) work(ctx context.Context, f func() error) error {
	if err := p.start(); err != nil {
		return err
	}
	turn, _ := ctx.Value(turnKey{}).(turn)
	if err := p.turns.Acquire(ctx, turn.group, turn.name); errors.Is(err, fairqueue.ErrFull) {
		return fmt.Errorf("%w: too many passwords are waiting to be hashed", ErrUnavailable)
	} else if err != nil {
		return err
	}
	defer p.turns.Release()
	return f()
}

// Hash returns the hash of a password, to be stored. It returns ErrPasswordTooLong if the password
// has more than 72 bytes, an error that wraps ErrUnavailable if too many calls wait, and ctx.Err()
// if ctx ends while it waits. A Register hook may return these errors as they are.
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

// Compare returns nil if the hash is that of the password, and ErrInvalidCredentials if it is not;
// that takes as long as a hash of the highest cost in use. No password matches an empty hash. It
// returns an error that wraps ErrUnavailable if too many calls wait, ctx.Err() if ctx ends while it
// waits, and another error if hash is not a bcrypt hash.
func (p *Passwords) Compare(ctx context.Context, hash, password string) error {
	return p.work(ctx, func() error {
		err := p.check(hash, []byte(password))
		if errors.Is(err, bcrypt.ErrMismatchedHashAndPassword) || err == nil && hash == "" {
			return ErrInvalidCredentials
		}
		return err
	})
}

// Outdated reports whether a hash has a lower cost than those that Hash returns. After a successful
// login, when the password is known, such a hash can be replaced. It returns false if hash is not a
// bcrypt hash.
func (p *Passwords) Outdated(hash string) bool {
	cost, err := bcrypt.Cost([]byte(hash))
	return err == nil && cost < cmp.Or(p.Cost, bcrypt.DefaultCost)
}

// PasswordLogin returns a function for Options.FindUserByCredentials. It reads the credentials
// "username" and "password". lookup returns the user of a name and the stored hash of the user's
// password, or ErrInvalidCredentials, which may be wrapped, if the name does not exist: the login
// then takes as long and has the same answer as with a wrong password. If p is nil, a new Passwords
// is used.
func PasswordLogin[U any](
	p *Passwords, lookup func(ctx context.Context, name string) (user U, hash string, err error),
) func(context.Context, Credentials) (U, error) {
	if p == nil {
		p = new(Passwords)
	}
	return func(ctx context.Context, c Credentials) (U, error) {
		var none U
		user, hash, err := lookup(ctx, c.Get("username"))
		if errors.Is(err, ErrInvalidCredentials) {
			hash = "" // Compare takes its time all the same
		} else if err != nil {
			return none, err
		}
		err = p.Compare(ctx, hash, c.Get("password"))
		for _, name := range [...]string{"username", "password"} {
			if errors.Is(err, ErrInvalidCredentials) && c.Get(name) == "" { // for the log
				return none, fmt.Errorf(`%w: the field %q has no text; PasswordLogin reads "username" and "password"`, err, name)
			}
		}
		if err != nil {
			return none, err
		}
		return user, nil
	}
}

// Credentials are the fields of a login or registration: a JSON object, or a form, whose values are
// strings. Printed, logged or marshaled, they are the placeholder "[redacted]".
type Credentials map[string]any

const redacted = "[redacted]"

// Get returns a field, or "" if there is none of the name or it is not a string.
func (c Credentials) Get(name string) string {
	s, _ := c[name].(string)
	return s
}

// LogValue keeps passwords out of logs.
func (c Credentials) LogValue() slog.Value { return slog.StringValue(redacted) }

// Format keeps passwords out of the output of package fmt.
func (c Credentials) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, redacted) }

// MarshalJSON keeps passwords out of logs in JSON. To marshal the fields, convert them first:
// map[string]any(c).
func (c Credentials) MarshalJSON() ([]byte, error) { return []byte(`"` + redacted + `"`), nil }
