package siotest_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/z-open/socketauth"
	"github.com/z-open/socketauth/internal/siotest"
	"github.com/z-open/socketauth/socketauthtest"
)

// overAll runs a test with a connection of each version over each transport, which has joined the
// root namespace. "upgrade" has moved to a websocket.
func overAll(t *testing.T, test func(t *testing.T, srv *socketauthtest.Server, c *siotest.Conn)) {
	for _, version := range []string{"3", "4"} {
		for _, transport := range siotest.Transports {
			t.Run(version+" "+transport, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					srv := socketauthtest.NewServer(t, socketauth.Options[any]{})
					srv.On("echo", func(_ context.Context, s *socketauth.Socket, args socketauth.Args) (any, error) {
						var text string
						var data []byte
						err := args.Decode(&text, &data)
						if err == nil {
							err = s.Emit("echoed", text, data)
						}
						return data, err
					})
					d := siotest.Dialer{Version: version, Net: srv.DialContext}
					c, err := d.Dial(t.Context(), transport)
					if err != nil {
						t.Fatal(err)
					}
					defer c.Close()
					if id, err := c.Join(""); err != nil || (id != "") != (version == "4") {
						t.Fatalf("joined as %q, %v", id, err)
					}
					if transport == "upgrade" {
						if err := c.Upgrade(t.Context()); err != nil {
							t.Fatal(err)
						}
					}
					if c.Polling() != (transport == "polling") || c.Version() != version {
						t.Errorf("version %s, polling %v", c.Version(), c.Polling())
					}
					test(t, srv, c)
				})
			})
		}
	}
}

func authenticate(srv *socketauthtest.Server) string {
	in, _ := json.Marshal(map[string]string{"token": srv.Code(jwt.MapClaims{"sub": "anna"})})
	return `420["authenticate",` + string(in) + `]`
}

func encode(t *testing.T, id string, values ...any) []string {
	t.Helper()
	packets, err := siotest.Encode(siotest.Event, id, values...)
	if err != nil {
		t.Fatal(err)
	}
	return packets
}

func TestConn(t *testing.T) {
	// Guards that text and attachments pass both ways, and that the end is noticed.
	overAll(t, func(t *testing.T, srv *socketauthtest.Server, c *siotest.Conn) {
		if err := c.Write(authenticate(srv)); err != nil {
			t.Fatal(err)
		}
		for _, want := range []string{`42["authenticated",`, "430[]"} {
			if _, err := c.Expect(want); err != nil {
				t.Fatal(err)
			}
		}
		if err := c.Write(encode(t, "1", "echo", "grüß dich 🙂", []byte{0, 255})...); err != nil {
			t.Fatal(err)
		}
		text, err := c.Expect(`451-["echoed",`)
		if err != nil || !strings.HasPrefix(unescape(text), `"grüß dich 🙂",`) {
			t.Errorf("got %s, %v", text, err)
		}
		for _, want := range []string{"bAP8=", `461-1[{"_placeholder":true,"num":0}]`, "bAP8="} {
			if rest, err := c.Expect(want); err != nil || rest != "" {
				t.Errorf("%q and %q, %v", want, rest, err)
			}
		}
		if _, err := srv.Auth().RevokeUser(t.Context(), "anna"); err != nil {
			t.Fatal(err)
		}
		if _, err := c.Expect(`42["unauthorized",`); err != nil {
			t.Error(err)
		}
		if err := c.UntilEnd(); err != nil {
			t.Error(err)
		}
	})
}

func TestClient(t *testing.T) {
	// Guards that a Client reads while it writes, keeps up the heartbeat, and notices the end.
	overAll(t, func(t *testing.T, srv *socketauthtest.Server, conn *siotest.Conn) {
		c, err := conn.Start(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		var d siotest.Decoder
		next := func() string {
			for packet := range c.Packets() {
				m, complete, err := d.Decode(packet)
				if err != nil {
					return err.Error()
				}
				if complete {
					return fmt.Sprintf("%c %s %s %q", m.Kind, m.ID, bytes.Join(raw(m), []byte(",")), m.Args.Attachments)
				}
			}
			return "the end"
		}
		for _, packets := range [][]string{{authenticate(srv)}, encode(t, "1", "echo", "text", []byte("data"))} {
			if err := c.Write(packets...); err != nil {
				t.Fatal(err)
			}
		}
		if got := next(); !strings.HasPrefix(got, `2  "authenticated","ey`) {
			t.Errorf("got %s", got)
		}
		for _, want := range []string{
			`3 0  []`,
			`2  "echoed","text",{"_placeholder":true,"num":0} ["data"]`,
			`3 1 {"_placeholder":true,"num":0} ["data"]`,
		} {
			if got := next(); got != want {
				t.Errorf("got %s, want %s", got, want)
			}
		}
		time.Sleep(10 * time.Minute) // without a heartbeat the server would close the connection
		if err := srv.Emit("still there"); err != nil {
			t.Error(err)
		}
		if got := next(); got != `2  "still there" []` {
			t.Errorf("got %s", got)
		}
		if err := srv.Shutdown(t.Context()); err != nil {
			t.Error(err)
		}
		if got := next(); got != "the end" {
			t.Errorf("got %s", got)
		}
	})
}

// unescape undoes the escapes of JSON in a list without its first bracket. The engine for version 3
// escapes what it sends by polling.
func unescape(list string) string {
	var values []any
	_ = json.Unmarshal([]byte("["+list), &values)
	b, _ := json.Marshal(values)
	return strings.TrimPrefix(string(b), "[")
}

func raw(m siotest.Message) (values [][]byte) {
	for _, v := range m.Args.Values {
		values = append(values, v)
	}
	return values
}

func TestMalformed(t *testing.T) {
	// Guards that malformed packets are errors.
	for _, packets := range [][]string{{""}, {"4"}, {"2"}, {"42"}, {"42[1"}, {"45[1]"}, {"45x-[1]"}, {"bAA=="}, {"451-[1]", "42[1]"}, {"451-[1]", "b!"}} {
		var d siotest.Decoder
		var err error
		for _, packet := range packets {
			_, _, err = d.Decode(packet)
		}
		if err == nil {
			t.Errorf("%q is taken", packets)
		}
	}
}
