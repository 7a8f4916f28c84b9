package socketauth

import (
	"log/slog"
	"testing"
	"time"
)

// TestOptionDefaults checks the defaults that are documented.
func TestOptionDefaults(t *testing.T) {
	c, err := Options[any]{Secret: testSecret}.config()
	if err != nil {
		t.Fatal(err)
	}
	for name, is := range map[string]bool{
		"Timeout":         c.timeout == 5*time.Second,
		"CodeLifetime":    c.tokens.codeLifetime == 30*time.Second,
		"TokenLifetime":   c.tokens.tokenLifetime == 24*time.Hour,
		"SessionLifetime": c.tokens.sessionLifetime == 30*24*time.Hour,
		"ReusePolicy":     c.reusePolicy == EndSession,
		"Binding":         c.binding == BindOptional && BindOptional == 0,
		"paths":           c.loginPath == "/login" && c.registerPath == "/register" && c.socketPath == "/socket.io/",
		"Blacklist":       c.blacklist != nil,
		"Logger":          c.log == slog.Default(),
	} {
		if !is {
			t.Errorf("%s has another default", name)
		}
	}
}
