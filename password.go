package socketauth

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"runtime"
	"sync"
	"sync/atomic"

	"golang.org/x/crypto/bcrypt"

	"github.com/z-open/socketauth/internal/throttle"
	"github.com/z-open/socketauth/internal/turns"
)

// ErrPasswordTooLong is the error of hashing a password of more than 72 bytes, past which bcrypt looks at nothing.
var ErrPasswordTooLong = errors.New("socketauth: password is longer than 72 bytes")

const maxPassword = 72

// Passwords hashes and compares passwords by bcrypt, a bounded number at a time so that a rush of logins leaves
// processor time for everything else. In the hooks of a login, whose context it has to be given, addresses take turns, so
// that a rush from one of them leaves time for the others. The zero value is ready; it must not be copied after its first use, and its
// methods are safe for concurrent use.
type Passwords struct {
	// Cost is bcrypt's cost for new hashes, 4 to 31; each step doubles the time. Another one is an error of the first
	// use. 0: 10.
	Cost int

	// Concurrent is how many hashes are worked on at a time. 0: half of GOMAXPROCS, and one at least.
	Concurrent int

	// Queue is how many more may wait for their turn; past it, ErrUnavailable, which hits those of the address first
	// that has most of them. 0: 128 for each of Concurrent.
	Queue int

	once    sync.Once
	turns   *turns.Turns
	dummy   []byte       // a hash that no password has, to be compared with where there is no user
	highest atomic.Int32 // cost of the hashes seen, which is the dummy's, so that it takes as long
	err     error
}

func (p *Passwords) start() error {
	p.once.Do(func() {
		cost := or(p.Cost, bcrypt.DefaultCost)
		concurrent := or(max(p.Concurrent, 0), max(1, runtime.GOMAXPROCS(0)/2))
		p.turns = turns.New(concurrent, or(max(p.Queue, 0), 128*concurrent))
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

// stored is the hash to compare with: the one given, or one that takes as long.
func (p *Passwords) stored(hash string) []byte {
	if hash == "" {
		const costAt = len("$2a$")
		dummy := bytes.Clone(p.dummy)
		copy(dummy[costAt:], fmt.Sprintf("%02d", p.highest.Load()))
		return dummy
	}
	if cost, err := bcrypt.Cost([]byte(hash)); err == nil && int32(cost) > p.highest.Load() {
		p.highest.Store(int32(cost)) // of two at a time the lower may win, until the next
	}
	return []byte(hash)
}

// networkKey finds in the context of a login's hooks where it comes from.
type networkKey struct{}

// work runs f when it is its turn.
func (p *Passwords) work(ctx context.Context, f func() error) error {
	if err := p.start(); err != nil {
		return err
	}
	network, _ := ctx.Value(networkKey{}).(string)
	if err := p.turns.Begin(ctx, throttle.Wide(network)); errors.Is(err, turns.ErrFull) {
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
		h, err := bcrypt.GenerateFromPassword([]byte(password), or(p.Cost, bcrypt.DefaultCost))
		hash = string(h)
		return err
	})
	return hash, err
}

// Compare says ErrInvalidCredentials where the password is not the one of the hash, after the time that a comparison
// takes; an empty hash is one that no password has. Other errors: ErrUnavailable, the context's, a hash that is none.
func (p *Passwords) Compare(ctx context.Context, hash, password string) error {
	return p.work(ctx, func() error {
		// bcrypt compares the first 72 bytes alone: a longer password must not pass for its beginning.
		err := bcrypt.CompareHashAndPassword(p.stored(hash), []byte(password[:min(len(password), maxPassword)]))
		if errors.Is(err, bcrypt.ErrMismatchedHashAndPassword) || err == nil && (len(password) > maxPassword || hash == "") {
			return ErrInvalidCredentials
		}
		return err
	})
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
