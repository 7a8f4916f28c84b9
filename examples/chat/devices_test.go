package main

import (
	"encoding/json"
	"net/http"
	"testing"
	"time"

	"github.com/z-open/socketauth/examples/internal/wire"
)

type refused struct{ Error struct{ Code string } }

// logIn is another device of a user.
func (a *app) logIn(username string) *wire.Client {
	a.tb.Helper()
	c := wire.WebSocket(a.tb, a.url, wire.Auth(wire.Code(a.tb, a.url+"/login", username, password)))
	c.AwaitToken()
	return c
}

// devicesOf are as many as there should be, the one that asks first.
func devicesOf(t *testing.T, c *wire.Client, count int) []device {
	t.Helper()
	var devices []device
	c.Call(&devices, "devices")
	for n, d := range devices {
		if d.Here {
			devices[0], devices[n] = devices[n], devices[0]
		}
	}
	if len(devices) != count || !devices[0].Here {
		t.Fatalf("%d devices, %d should be: %+v", len(devices), count, devices)
	}
	return devices
}

func TestDevices(t *testing.T) {
	a := startNew(t)
	ada, _ := a.signUp("Ada")
	phone := a.logIn("Ada")
	a.signUp("Bob")

	mine := devicesOf(t, ada, 2)
	for _, d := range mine {
		if d.Name != "Go-http-client" || d.Phone || d.Address != "127.0.0.1" || d.Tabs != 1 || d.Since.IsZero() || d.LastSeen.Before(d.Since) {
			t.Errorf("%+v", d)
		}
	}
	if mine[1].Here {
		t.Error("both are this one")
	}

	reply := "none"
	if ada.Call(&reply, "end device", mine[1].ID); reply != "none" {
		t.Errorf("reply %q", reply)
	}
	if code := phone.AwaitRefusal(); code != "session_revoked" {
		t.Errorf("the other device is told %q", code)
	}
	ada.Await("devices changed")
	devicesOf(t, ada, 1)
}

// TestDeviceThatIsAway: it can be ended too, its user's pages hear of that, and it was seen when its page was
// closed. Guards: it was seen when its token was presented, which may have been a day before.
func TestDeviceThatIsAway(t *testing.T) {
	a := startNew(t)
	_, token := a.signUp("Ada")
	phone := wire.WebSocket(t, a.url, wire.Auth(wire.Code(t, a.url+"/login", "Ada", password)))
	dead := phone.AwaitToken()
	devicesOf(t, phone, 2)
	closed := time.Now().Truncate(time.Millisecond)
	a.shutdown()
	a = start(t, a.data)
	ada := wire.WebSocket(t, a.url, wire.Auth(token))
	ada.AwaitToken()
	mine := devicesOf(t, ada, 2)
	if mine[1].Tabs != 0 || mine[1].LastSeen.Before(closed) {
		t.Errorf("%+v", mine[1])
	}
	var reply any
	ada.Call(&reply, "end device", mine[1].ID)
	ada.Await("devices changed")
	devicesOf(t, ada, 1)
	if code := wire.WebSocket(t, a.url, wire.Auth(dead)).AwaitRefusal(); code != "session_revoked" {
		t.Errorf("told %q", code)
	}
}

// TestForeignDevice: nobody ends another's session, and nobody learns whether there is one of that name.
func TestForeignDevice(t *testing.T) {
	a := startNew(t)
	ada, _ := a.signUp("Ada")
	bob, _ := a.signUp("Bob")
	for name, tt := range map[string]struct {
		argument any
		code     string
	}{
		"Bob's":     {devicesOf(t, bob, 1)[0].ID, "NOT_YOURS"},
		"nobody's":  {"AAAAAAAAAAAAAAAAAAAAAA", "NOT_YOURS"},
		"empty":     {"", "NOT_YOURS"},
		"no string": {map[string]any{"id": 1}, "bad_arguments"},
	} {
		t.Run(name, func(t *testing.T) {
			var reply refused
			if ada.Call(&reply, "end device", tt.argument); reply.Error.Code != tt.code {
				t.Errorf("code %q, want %q", reply.Error.Code, tt.code)
			}
		})
	}
	devicesOf(t, bob, 1) // still there
}

func TestEndOthers(t *testing.T) {
	a := startNew(t)
	ada, _ := a.signUp("Ada")
	others := []*wire.Client{a.logIn("Ada"), a.logIn("Ada")}
	bob, _ := a.signUp("Bob")
	var count int
	if ada.Call(&count, "end others"); count != 2 {
		t.Errorf("%d were ended", count)
	}
	for _, c := range others {
		if code := c.AwaitRefusal(); code != "session_revoked" {
			t.Errorf("told %q", code)
		}
	}
	devicesOf(t, ada, 1)
	devicesOf(t, bob, 1)
}

func TestDescribe(t *testing.T) {
	for userAgent, want := range map[string]device{
		"Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/141.0.0.0 Safari/537.36":                                      {Name: "Chrome on Linux"},
		"Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/141.0.0.0 Safari/537.36 Edg/141.0.0.0":              {Name: "Edge on Windows"},
		"Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/18.0 Safari/605.1.15":                      {Name: "Safari on macOS"},
		"Mozilla/5.0 (iPhone; CPU iPhone OS 18_0 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) CriOS/141.0.0.0 Mobile/15E148 Safari/604.1": {Name: "Chrome on iPhone", Phone: true},
		"Mozilla/5.0 (Android 15; Mobile; rv:140.0) Gecko/140.0 Firefox/140.0":                                                                       {Name: "Firefox on Android", Phone: true},
		"Mozilla/5.0 (Linux; Android 15; SM-S931B) AppleWebKit/537.36 (KHTML, like Gecko) SamsungBrowser/27.0 Chrome/125.0.0.0 Mobile Safari/537.36": {Name: "Samsung Internet on Android", Phone: true},
		"curl/8.5.0": {Name: "curl"},
		"":           {Name: "Unknown browser"},
	} {
		if name, phone := describe(userAgent); name != want.Name || phone != want.Phone {
			t.Errorf("%q, %v for %q", name, phone, userAgent)
		}
	}
}

// TestPasswordIsAskedAgain: who gave the password too long ago ends no device, and does once they have given
// it again. Guards: who found a page open could log its user out everywhere else.
func TestPasswordIsAskedAgain(t *testing.T) {
	const recent = 2 * time.Second
	a := startWith(t, config{Data: t.TempDir(), Recent: recent})
	ada, token := a.signUp("Ada")
	phone := a.logIn("Ada")
	mine := devicesOf(t, ada, 2)
	codeOf := func(event string, args ...any) string {
		var reply json.RawMessage
		ada.Call(&reply, event, args...)
		var r refused
		_ = json.Unmarshal(reply, &r) // a reply that is no object has no code
		return r.Error.Code
	}
	began := time.Now()
	for code := "NOT_YOURS"; code != "reauthentication_required"; code = codeOf("end device", "AAAAAAAAAAAAAAAAAAAAAA") {
		if code != "NOT_YOURS" || time.Since(began) > 10*recent {
			t.Fatalf("told %q", code)
		}
	}
	for _, code := range []string{codeOf("end device", mine[1].ID), codeOf("end others")} {
		if code != "reauthentication_required" {
			t.Errorf("told %q", code)
		}
	}
	devicesOf(t, ada, 2)
	for {
		began := time.Now()
		body, err := json.Marshal(map[string]any{"username": "Ada", "password": password, "step_up": true})
		if err != nil {
			t.Fatal(err)
		}
		_, answer := wire.Do(t, http.MethodPost, a.url+"/login", string(body), "Content-Type", "application/json", "Authorization", "Bearer "+token)
		var stepUp wire.Answer
		if err := json.Unmarshal([]byte(answer), &stepUp); err != nil {
			t.Fatal(err)
		}
		ada.Emit("authenticate", map[string]string{"token": token, "step_up": stepUp.Token})
		token = ada.AwaitToken()
		code := codeOf("end others")
		if code == "" {
			break
		}
		if code != "reauthentication_required" || time.Since(began) < recent { // else this machine was too slow
			t.Fatal(code)
		}
	}
	if code := phone.AwaitRefusal(); code != "session_revoked" {
		t.Errorf("the other device is told %q", code)
	}
	devicesOf(t, ada, 1)
}
