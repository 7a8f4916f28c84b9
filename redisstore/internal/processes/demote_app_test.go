//go:build unix

package processes

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
	"unsafe"

	"github.com/golang-jwt/jwt/v5"
	"github.com/redis/go-redis/v9"

	"github.com/z-open/socketauth"
)

// This file holds the part of the app that TestDemotions is about: a user's role changes again and
// again.

// A role is a number that only rises. With an odd one the user is an administrator, and each of
// their sockets is in the room "admins"; otherwise it is in "plain".
func roomOf(role int64) string {
	if role%2 == 1 {
		return "admins"
	}
	return "plain"
}

// roles is what a process knows of the user's role.
type roles struct {
	a     *app
	redis *redis.Client // the app's database
	least *least

	mu     sync.Mutex
	faults []string
}

// least is the role that the user has at least, as all processes know: when a call of RefreshUser
// has returned, it is raised to the role that was stored before the call. It is memory that all of
// them share.
type least struct{ role *atomic.Int64 }

func openLeast(path string) (*least, error) {
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	memory, err := syscall.Mmap(int(f.Fd()), 0, 8, syscall.PROT_READ|syscall.PROT_WRITE, syscall.MAP_SHARED)
	if err != nil {
		return nil, err
	}
	return &least{(*atomic.Int64)(unsafe.Pointer(&memory[0]))}, nil
}

func (l *least) load() int64 { return l.role.Load() }

func (l *least) raise(role int64) {
	for {
		old := l.role.Load()
		if old >= role || l.role.CompareAndSwap(old, role) {
			return
		}
	}
}

const roleKey = "the role of " // with the user's name

func newRoles(c config) (*roles, error) {
	l, err := openLeast(c.Roles)
	if err != nil {
		return nil, err
	}
	return &roles{redis: redis.NewClient(&redis.Options{Addr: c.Redis[0]}), least: l}, nil
}

// updateClaims is Options.UpdateClaims.
func (r *roles) updateClaims(ctx context.Context, old jwt.MapClaims) (jwt.MapClaims, error) {
	user, _ := old["sub"].(string)
	role, err := r.redis.Get(ctx, roleKey+user).Int64()
	if err != nil && !errors.Is(err, redis.Nil) {
		return nil, err
	}
	return jwt.MapClaims{"sub": user, "role": role}, nil
}

func (r *roles) fault(format string, args ...any) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.faults) < 20 {
		r.faults = append(r.faults, fmt.Sprintf(format, args...))
	}
}

// found returns what was found to be wrong.
func (r *roles) found() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.faults)
}

func roleIn(claims jwt.MapClaims) int64 {
	role, _ := claims["role"].(float64)
	return int64(role)
}

// handle sets the app's handlers, and begins to emit to both rooms, with the role that the user has
// at least then.
func (r *roles) handle(a *app) {
	r.a = a
	a.OnAuthenticated(func(ctx context.Context, s *socketauth.Socket) error {
		claims, _ := socketauth.ClaimsFromContext(ctx)
		role := roleIn(claims)
		s.Set("acted", role)
		s.Join(roomOf(role))
		return nil
	})
	a.OnClaimsChanged(func(ctx context.Context, s *socketauth.Socket, old jwt.MapClaims) error {
		claims, _ := socketauth.ClaimsFromContext(ctx)
		before, now := roleIn(old), roleIn(claims)
		if acted, _ := s.Value("acted").(int64); acted != before || now <= before {
			r.fault("OnClaimsChanged from role %d to %d, where the app acts by %d", before, now, acted)
		}
		s.Leave(roomOf(before))
		s.Join(roomOf(now))
		s.Set("acted", now)
		return nil
	})
	a.On("act", func(ctx context.Context, s *socketauth.Socket, _ socketauth.Args) (any, error) {
		claims, _ := socketauth.ClaimsFromContext(ctx)
		role := roleIn(claims)
		r.began(s, role)
		s.Set("least", r.least.load()) // the next handler of the socket begins after this
		return role, nil
	})
	a.On("demote", func(ctx context.Context, s *socketauth.Socket, _ socketauth.Args) (any, error) {
		claims, _ := socketauth.ClaimsFromContext(ctx)
		r.began(s, roleIn(claims))
		var result answer
		err := r.demote(ctx, s.UserID(), &result)
		s.Set("least", r.least.load())
		return result, err
	})
	go func() {
		for {
			role := r.least.load()
			_ = a.To("admins").Emit("news", "admins", role)
			_ = a.To("plain").Emit("news", "plain", role)
			time.Sleep(20 * time.Millisecond)
		}
	}()
}

// began checks that a handler may begin with a role, and that the app has acted on that role
// before.
func (r *roles) began(s *socketauth.Socket, role int64) {
	if least, _ := s.Value("least").(int64); role < least {
		r.fault("a handler began with role %d, after a call for role %d had returned", role, least)
	}
	acted, _ := s.Value("acted").(int64)
	// The claims may change meanwhile, because handlers are not waited for.
	if now := roleIn(s.Claims()); now == role && acted != role || acted < role {
		r.fault("a handler began with role %d, where the app acts by %d", role, acted)
	}
}

// demote gives the user the next role, and has it take effect everywhere.
func (r *roles) demote(ctx context.Context, user string, result *answer) error {
	role, err := r.redis.Incr(ctx, roleKey+user).Result()
	if err != nil {
		return err
	}
	began := time.Now()
	receipt, err := r.a.Auth().RefreshUser(ctx, user)
	if err != nil {
		return err
	}
	if len(receipt.Unheard) == 0 {
		r.least.raise(role)
	}
	result.Receipt, result.Role, result.Took = receipt, role, time.Since(began)
	return nil
}
