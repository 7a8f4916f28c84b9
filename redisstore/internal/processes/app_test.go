//go:build unix

package processes

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/z-open/socketauth"
)

// This file holds the app whose processes the tests start.

// appEnv holds the config of a process of the app, as JSON.
const appEnv = "SOCKETAUTH_APP"

// config is how a process of the app is to be started.
type config struct {
	Redis []string // the addresses of the servers; none: all is in the process's memory

	Timeout        time.Duration
	MaxStale       time.Duration
	ReceiptTimeout time.Duration

	Ahead time.Duration // how far the process's clock is ahead of the machine's, in whole seconds
	Roles string        // the file with the role that a user has at least; none: users have no roles
}

func TestMain(m *testing.M) {
	if text := os.Getenv(appEnv); text != "" {
		fmt.Fprintln(os.Stderr, runApp(text))
		os.Exit(1)
	}
	os.Exit(m.Run())
}

// app is one process of the app.
type app struct {
	*socketauth.Server
	ticking sync.Once
	roles   *roles // nil for none
}

// runApp runs a process of the app until it is killed, or until the process of the test has ended.
func runApp(text string) error {
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin) // until the test has ended
		os.Exit(0)
	}()
	var c config
	if err := json.Unmarshal([]byte(text), &c); err != nil {
		return err
	}
	if err := moveClock(c.Ahead); err != nil {
		return err
	}
	options := socketauth.Options[string]{
		Secret: []byte("a secret that is used for tests alone"),
		FindUserByCredentials: func(_ context.Context, c socketauth.Credentials) (string, error) {
			if c.Get("password") != "secret" {
				return "", socketauth.ErrInvalidCredentials
			}
			return c.Get("username"), nil
		},
		Claim:   func(user string) (jwt.MapClaims, error) { return jwt.MapClaims{"sub": user}, nil },
		Timeout: c.Timeout,
		// A test may issue many codes at once, and use them on a machine that is busy.
		CodeLifetime: 10 * time.Minute,
		Limits:       socketauth.Limits{SocketsPerUser: 1000},
		Logger:       slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelInfo})),
	}
	if len(c.Redis) > 0 {
		if err := share(&options, c); err != nil {
			return err
		}
	}
	a := new(app)
	if c.Roles != "" {
		var err error
		if a.roles, err = newRoles(c); err != nil {
			return err
		}
		options.UpdateClaims = a.roles.updateClaims
	}
	mux := http.NewServeMux()
	server := &http.Server{Handler: mux, ReadHeaderTimeout: 10 * time.Second}
	srv, err := socketauth.Infrastructure(server, mux, options)
	if err != nil {
		return err
	}
	a.Server = srv
	a.handle()
	if a.roles != nil {
		a.roles.handle(a)
	}
	mux.HandleFunc("POST /admin/{do}", a.admin)
	mux.Handle("GET /me", srv.Auth().Middleware(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		claims, _ := socketauth.ClaimsFromContext(r.Context())
		fmt.Fprint(w, claims["sub"])
	})))
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	fmt.Println("http://" + l.Addr().String())
	return server.Serve(l)
}

// handle sets the handlers of the app's events.
func (a *app) handle() {
	a.On("join", func(_ context.Context, s *socketauth.Socket, args socketauth.Args) (any, error) {
		var room string
		err := args.Decode(&room)
		s.Join(room)
		return nil, err
	})
	a.On("echo", func(_ context.Context, _ *socketauth.Socket, args socketauth.Args) (any, error) {
		var text string
		err := args.Decode(&text)
		return text, err
	})
}

// order is what a test asks a process to do, beside what the path says.
type order struct {
	User, Session, Room string
	All                 bool
	N                   int
	Event               string
	Data                string
}

// answer is what a process says it has done.
type answer struct {
	Error    string
	Took     time.Duration
	Receipt  socketauth.Receipt
	Codes    []string
	Sessions []socketauth.Session
	Stats    socketauth.Stats
	Peers    []socketauth.Peer
	Role     int64
	Faults   []string
	Clock    time.Time
}

// admin does what a test asks for.
func (a *app) admin(w http.ResponseWriter, r *http.Request) {
	var o order
	if err := json.NewDecoder(r.Body).Decode(&o); err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	var result answer
	began := time.Now()
	err := a.do(r.Context(), r.PathValue("do"), o, &result)
	result.Took = cmp.Or(result.Took, time.Since(began))
	if err != nil {
		result.Error = err.Error()
	}
	_ = json.NewEncoder(w).Encode(result)
}

func (a *app) do(ctx context.Context, what string, o order, result *answer) (err error) {
	auth := a.Auth()
	switch what {
	case "codes": // N codes for the user, or with All for N users whose names begin like it
		for n := range o.N {
			user := o.User
			if o.All {
				user += strconv.Itoa(n)
			}
			code, err := auth.IssueCode(ctx, jwt.MapClaims{"sub": user})
			if err != nil {
				return err
			}
			result.Codes = append(result.Codes, code)
		}
	case "revoke-user":
		result.Receipt, err = auth.RevokeUser(ctx, o.User)
	case "revoke-session":
		result.Receipt, err = auth.RevokeSession(ctx, o.User, o.Session)
	case "revoke-others":
		result.Receipt, err = auth.RevokeOthers(ctx, o.User, o.Session)
	case "revoke-all":
		result.Receipt, err = auth.RevokeAll(ctx)
	case "demote":
		err = a.roles.demote(ctx, o.User, result)
	case "faults":
		result.Faults = a.roles.found()
	case "clock":
		result.Clock = time.Now()
	case "sessions":
		result.Sessions, err = auth.Sessions(ctx, o.User)
	case "stats":
		result.Stats = auth.Stats()
	case "tick": // begins to emit the event to the room, to sockets of this process
		a.ticking.Do(func() {
			go func() {
				for n := 0; ; n++ {
					_ = a.To(o.Room).Emit(o.Event, n)
					time.Sleep(2 * time.Millisecond)
				}
			}()
		})
	case "sockets":
		result.Peers, err = a.target(o).Sockets(ctx)
	case "emit": // emits the event N times, with Data and a number that rises
		for n := range max(1, o.N) {
			if err := a.target(o).Emit(o.Event, o.Data, n); err != nil {
				return err
			}
		}
	default:
		return fmt.Errorf("no such order: %s", what)
	}
	return err
}

// target returns the sockets that an order is about.
func (a *app) target(o order) socketauth.Target {
	switch {
	case o.All:
		return a.All()
	case o.Room != "":
		return a.To(o.Room)
	case o.Session != "":
		return a.ToSession(o.Session)
	}
	return a.ToUser(o.User)
}
