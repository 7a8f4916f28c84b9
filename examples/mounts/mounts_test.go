package mounts

import (
	"bytes"
	"context"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gin-gonic/gin"
	"github.com/golang-jwt/jwt/v5"
	"github.com/labstack/echo/v4"

	"github.com/z-open/socketauth"
	"github.com/z-open/socketauth/examples/internal/wire"
)

func TestMain(m *testing.M) {
	gin.SetMode(gin.TestMode) // silent
	os.Exit(m.Run())
}

// serverTimeout is short: a long poll and a websocket have to outlive it on every router.
const serverTimeout = time.Second

const frontend = "https://front.example" // of another origin than the server

// options know one user.
func options() socketauth.Options[string] {
	return socketauth.Options[string]{
		Secret: bytes.Repeat([]byte("k"), 32),
		FindUserByCredentials: func(_ context.Context, c socketauth.Credentials) (string, error) {
			if c.Get("username") != "ada" || c.Get("password") != "open sesame" {
				return "", socketauth.ErrInvalidCredentials
			}
			return "ada", nil
		},
		Claim:          func(name string) (jwt.MapClaims, error) { return jwt.MapClaims{"sub": name}, nil },
		AllowedOrigins: []string{frontend},
		Logger:         slog.New(slog.DiscardHandler),
	}
}

// mounted is an app with socketauth on it.
type mounted func(log *slog.Logger) (http.Handler, *socketauth.Server, error)

// routers are each an app with socketauth mounted, and the error of mounting it where POST /login
// is the app's.
var routers = map[string]struct {
	mount    mounted
	conflict func(log *slog.Logger) error
}{
	"servemux": {
		mount: func(log *slog.Logger) (http.Handler, *socketauth.Server, error) {
			mux, app := ServeMuxApp(log)
			srv, err := OnServeMux(nil, mux, options())
			return app, srv, err
		},
		conflict: func(log *slog.Logger) error {
			mux, _ := ServeMuxApp(log)
			mux.HandleFunc("POST /login", text("the app's"))
			_, err := OnServeMux(nil, mux, options())
			return err
		},
	},
	"chi": {
		mount: func(log *slog.Logger) (http.Handler, *socketauth.Server, error) {
			app := ChiApp(log)
			srv, err := OnChi(nil, app, options())
			return app, srv, err
		},
		conflict: func(log *slog.Logger) error {
			app := ChiApp(log)
			app.Post("/login", text("the app's"))
			_, err := socketauth.Infrastructure(nil, CarefulChi(app), options())
			return err
		},
	},
	"gin": {
		mount: func(log *slog.Logger) (http.Handler, *socketauth.Server, error) {
			app := GinApp(log)
			srv, err := OnGin(nil, app, options())
			return app, srv, err
		},
		conflict: func(log *slog.Logger) error {
			app := GinApp(log)
			app.POST("/login", gin.WrapF(text("the app's")))
			_, err := OnGin(nil, app, options())
			return err
		},
	},
	"echo": {
		mount: func(log *slog.Logger) (http.Handler, *socketauth.Server, error) {
			app := EchoApp(log)
			srv, err := OnEcho(nil, app, options())
			return app, srv, err
		},
		conflict: func(log *slog.Logger) error {
			app := EchoApp(log)
			app.POST("/login", echo.WrapHandler(text("the app's")))
			_, err := socketauth.Infrastructure(nil, CarefulEcho(app), options())
			return err
		},
	},
}

// careful are those that hear of a conflict only by an adapter, mounted by it.
var careful = map[string]mounted{
	"chi": func(log *slog.Logger) (http.Handler, *socketauth.Server, error) {
		app := ChiApp(log)
		srv, err := socketauth.Infrastructure(nil, CarefulChi(app), options())
		return app, srv, err
	},
	"echo": func(log *slog.Logger) (http.Handler, *socketauth.Server, error) {
		app := EchoApp(log)
		srv, err := socketauth.Infrastructure(nil, CarefulEcho(app), options())
		return app, srv, err
	},
}

// onEach runs a test against each router with socketauth on it.
func onEach(t *testing.T, test func(t *testing.T, url string, log *logBuffer)) {
	mounts := make(map[string]mounted)
	for name, router := range routers {
		mounts[name] = router.mount
	}
	onEachOf(t, mounts, test)
}

func onEachOf(t *testing.T, mounts map[string]mounted, test func(t *testing.T, url string, log *logBuffer)) {
	for name, mount := range mounts {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			log := new(logBuffer)
			app, srv, err := mount(slog.New(slog.NewTextHandler(log, nil)))
			if err != nil {
				t.Fatal(err)
			}
			srv.On("whoami", func(_ context.Context, s *socketauth.Socket, _ socketauth.Args) (any, error) {
				return s.UserID(), nil
			})
			srv.On("slowly", func(ctx context.Context, _ *socketauth.Socket, _ socketauth.Args) (any, error) {
				select {
				case <-time.After(serverTimeout + serverTimeout/4):
				case <-ctx.Done():
				}
				return "done", ctx.Err()
			})
			server := httptest.NewUnstartedServer(app)
			server.Config.ReadTimeout, server.Config.WriteTimeout = serverTimeout, serverTimeout
			server.Start()
			t.Cleanup(func() {
				ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
				defer cancel()
				if err := srv.Shutdown(ctx); err != nil {
					t.Errorf("shutdown: %v", err)
				}
				server.Close()
			})
			test(t, server.URL, log)
		})
	}
}

func TestAppKeepsItsPages(t *testing.T) {
	onEach(t, func(t *testing.T, url string, log *logBuffer) {
		for path, want := range map[string]string{"/": homePage, "/login": loginPage} {
			if response, body := wire.Do(t, http.MethodGet, url+path, ""); response.StatusCode != http.StatusOK || body != want {
				t.Errorf("GET %s: %s %q", path, response.Status, body)
			}
		}
	})
}

func TestLogin(t *testing.T) {
	onEach(t, func(t *testing.T, url string, log *logBuffer) {
		wire.Code(t, url+"/login", "ada", "open sesame")
		if got := wire.Post(t, url+"/login", "ada", "open barley"); got.Status != http.StatusUnauthorized || got.Code != "USER_INVALID" {
			t.Errorf("wrong password: %+v", got)
		}
		for _, want := range []string{"method=POST path=/login status=200", "method=POST path=/login status=401"} {
			if !log.Contains(want) {
				t.Errorf("the app's middleware has not logged %q", want)
			}
		}
	})
}

func TestSockets(t *testing.T) {
	transports := map[string]func(testing.TB, string, any) *wire.Client{"websocket": wire.WebSocket, "polling": wire.Polling}
	for name, connect := range transports {
		t.Run(name, func(t *testing.T) {
			onEach(t, func(t *testing.T, url string, _ *logBuffer) {
				c := connect(t, url, wire.Auth(wire.Code(t, url+"/login", "ada", "open sesame")))
				token := c.AwaitToken()
				var who string
				if c.Call(&who, "whoami"); who != "ada" {
					t.Errorf("served as %q", who)
				}
				var slowly string
				if c.Call(&slowly, "slowly"); slowly != "done" {
					t.Errorf("after the server's timeouts: %q", slowly)
				}
				c.Emit("authenticate", wire.Auth(token))
				c.AwaitToken()
				c.Emit("logout")
				c.Await("logged_out")
				c.AwaitDisconnect()

				unauthenticated := connect(t, url, nil)
				unauthenticated.Emit("authenticate", wire.Auth("none"))
				if code := unauthenticated.AwaitRefusal(); code != "invalid_token" {
					t.Errorf("unauthenticated: %q", code)
				}
			})
		})
	}
}

func TestPreflight(t *testing.T) {
	onEach(t, func(t *testing.T, url string, _ *logBuffer) {
		for _, path := range []string{"/login", "/socket.io/?EIO=4&transport=polling"} {
			preflight := func(origin string) *http.Response {
				response, _ := wire.Do(t, http.MethodOptions, url+path, "", "Origin", origin,
					"Access-Control-Request-Method", http.MethodPost, "Access-Control-Request-Headers", "content-type")
				return response
			}
			r := preflight(frontend)
			if r.StatusCode/100 != 2 || r.Header.Get("Access-Control-Allow-Origin") != frontend ||
				!strings.Contains(r.Header.Get("Access-Control-Allow-Methods"), http.MethodPost) ||
				!strings.Contains(r.Header.Get("Access-Control-Allow-Headers"), "content-type") {
				t.Errorf("OPTIONS %s: %s %v", path, r.Status, r.Header)
			}
			if r := preflight("https://evil.example"); r.StatusCode != http.StatusForbidden || r.Header.Get("Access-Control-Allow-Origin") != "" {
				t.Errorf("OPTIONS %s of another origin: %s %v", path, r.Status, r.Header)
			}
		}
	})
}

func TestCarefulMounts(t *testing.T) {
	onEachOf(t, careful, func(t *testing.T, url string, _ *logBuffer) {
		c := wire.WebSocket(t, url, wire.Auth(wire.Code(t, url+"/login", "ada", "open sesame")))
		c.AwaitToken()
	})
}

func TestConflictIsAnError(t *testing.T) {
	for name, router := range routers {
		t.Run(name, func(t *testing.T) {
			err := router.conflict(slog.New(slog.DiscardHandler))
			if err == nil {
				t.Fatal("no error")
			}
			// Once by socketauth, of its own route, and once by the router, of the app's.
			if text := err.Error(); !strings.Contains(text, `"POST /login"`) || strings.Count(text, "/login") < 2 {
				t.Errorf("does not name both: %v", err)
			}
		})
	}
}

// logBuffer is a log to look into while it is written.
type logBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (b *logBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

func (b *logBuffer) Contains(s string) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return strings.Contains(b.buf.String(), s)
}
