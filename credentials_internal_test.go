package socketauth

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"

	"golang.org/x/crypto/bcrypt"

	"github.com/z-open/socketauth/internal/throttle"
)

// cheapPasswords returns Passwords of the lowest cost.
func cheapPasswords() *Passwords { return &Passwords{Cost: bcrypt.MinCost} }

// TestPasswordsCost checks that hashes, the dummy one included, have the configured cost, and that
// costs out of range are errors.
func TestPasswordsCost(t *testing.T) {
	for cost, want := range map[int]int{0: bcrypt.DefaultCost, 5: 5} {
		p := &Passwords{Cost: cost}
		hash, err := p.Hash(t.Context(), "secret")
		if err != nil {
			t.Fatal(err)
		}
		for _, h := range []string{hash, string(p.dummy)} {
			if got, err := bcrypt.Cost([]byte(h)); err != nil || got != want {
				t.Errorf("cost %d, %v, want %d", got, err, want)
			}
		}
	}
	for _, cost := range []int{-1, 3, 32} {
		if _, err := (&Passwords{Cost: cost}).Hash(t.Context(), "secret"); err == nil {
			t.Errorf("cost %d was taken", cost)
		}
	}
}

// TestUnknownUserComparison checks that an unknown user is compared with a real hash of the same
// cost, and so takes as long as a wrong password.
func TestUnknownUserComparison(t *testing.T) {
	p := cheapPasswords()
	login := PasswordLogin(p, func(context.Context, string) (string, string, error) { return "", "", ErrInvalidCredentials })
	if _, err := login(t.Context(), Credentials{"username": "otto", "password": "guess"}); !errors.Is(err, ErrInvalidCredentials) {
		t.Fatal(err)
	}
	if err := bcrypt.CompareHashAndPassword(p.dummy, []byte("guess")); !errors.Is(err, bcrypt.ErrMismatchedHashAndPassword) {
		t.Errorf("the dummy hash is none: %v", err)
	}
}

// TestUnknownUserCostliestHash checks that where stored hashes cost more than Cost, an unknown user
// costs as much as those.
func TestUnknownUserCostliestHash(t *testing.T) {
	p := cheapPasswords()
	stored, err := (&Passwords{Cost: 6}).Hash(t.Context(), "secret")
	if err != nil {
		t.Fatal(err)
	}
	if err := p.Compare(t.Context(), stored, "guess"); !errors.Is(err, ErrInvalidCredentials) {
		t.Fatal(err)
	}
	dummy := p.dummyHash(int(p.highest.Load()))
	if cost, err := bcrypt.Cost(dummy); err != nil || cost != 6 {
		t.Errorf("the dummy hash costs %d, %v", cost, err)
	}
	if err := bcrypt.CompareHashAndPassword(dummy, []byte("guess")); !errors.Is(err, bcrypt.ErrMismatchedHashAndPassword) {
		t.Errorf("the dummy hash is none: %v", err)
	}
}

// counted makes p count the work of its comparisons. A comparison of cost n counts as 2^n.
func counted(p *Passwords) *atomic.Int64 {
	work := new(atomic.Int64)
	p.compare = func(hash, password []byte) error {
		cost, err := bcrypt.Cost(hash)
		if err != nil {
			return err
		}
		work.Add(1 << cost)
		return bcrypt.CompareHashAndPassword(hash, password)
	}
	return work
}

// TestFailedLoginWork checks that a failed login takes the same work whatever the name, the
// password and the cost of the stored hash.
func TestFailedLoginWork(t *testing.T) {
	const costNow = 7
	hashes := map[string]string{"unknown": "", "without a password": ""}
	for cost := bcrypt.MinCost; cost <= costNow; cost++ {
		hash, err := (&Passwords{Cost: cost}).Hash(t.Context(), strings.Repeat("x", 72))
		if err != nil {
			t.Fatal(err)
		}
		hashes[fmt.Sprint("cost ", cost)] = hash
	}
	for _, now := range []int{costNow, bcrypt.MinCost} { // also where a stored hash costs more than new ones
		p := &Passwords{Cost: now}
		work := counted(p)
		if err := p.Compare(t.Context(), hashes[fmt.Sprint("cost ", costNow)], "seen"); !errors.Is(err, ErrInvalidCredentials) {
			t.Fatal(err)
		}
		login := PasswordLogin(p, func(_ context.Context, name string) (string, string, error) {
			if name == "unknown" {
				return "", "", ErrInvalidCredentials
			}
			return name, hashes[name], nil
		})
		for name := range hashes {
			for _, password := range []string{"wrong", "", strings.Repeat("x", 73)} {
				work.Store(0)
				if _, err := login(t.Context(), Credentials{"username": name, "password": password}); !errors.Is(err, ErrInvalidCredentials) {
					t.Fatal(err)
				}
				if got := work.Load(); got != 1<<costNow {
					t.Errorf("Cost %d: %s, a password of %d bytes: work %d, want %d", now, name, len(password), got, 1<<costNow)
				}
			}
		}
	}
}

// TestPasswordQueueOfIPv6Network checks that all of one IPv6 /48 share a line of the queue of
// passwords, which they would fill otherwise.
func TestPasswordQueueOfIPv6Network(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, err := New(Options[any]{Secret: testSecret, Logger: slog.New(slog.DiscardHandler)})
		if err != nil {
			t.Fatal(err)
		}
		p := &Passwords{Cost: bcrypt.MinCost, Concurrent: 1, Queue: 3}
		if err := p.start(); err != nil {
			t.Fatal(err)
		}
		if err := p.turns.Acquire(t.Context(), "", ""); err != nil { // takes the one turn
			t.Fatal(err)
		}
		answered := make(chan string, 4)
		compare := func(address string) {
			attempt, _, turn := a.begin(httptest.NewRequest("POST", "/login", nil), throttle.Network(address), []string{address}, accountsHash{})
			defer attempt.Void()
			ctx := context.WithValue(t.Context(), turnKey{}, turn)
			go func() { answered <- fmt.Sprint(address, " ", errors.Is(p.Compare(ctx, "", "x"), ErrUnavailable)) }()
			synctest.Wait()
		}
		for n := range 3 {
			compare(fmt.Sprintf("2001:db8:7:%d::1", n))
		}
		compare("2001:db8:8::1")
		if got := <-answered; got != "2001:db8:7:2::1 true" {
			t.Errorf("refused: %s", got)
		}
		p.turns.Release()
		for range 3 {
			if got := <-answered; !strings.HasSuffix(got, " false") {
				t.Errorf("refused: %s", got)
			}
		}
	})
}
