package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"testing"

	"github.com/gorilla/websocket"
)

// A server that pings is answered; one that has fallen silent is given up.
func TestHeartbeat(t *testing.T) {
	t.Parallel()
	pongs, silent := make(chan string, 1), make(chan struct{})
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		ws, err := new(websocket.Upgrader).Upgrade(w, r, nil)
		if err != nil {
			return
		}
		defer func() { _ = ws.Close() }()
		for _, packet := range []string{`0{"pingInterval":50,"pingTimeout":50}`, "2"} {
			_ = ws.WriteMessage(websocket.TextMessage, []byte(packet))
		}
		for {
			_, packet, err := ws.ReadMessage()
			if err != nil {
				close(silent)
				return
			}
			if packet[0] == '3' {
				pongs <- string(packet)
			}
		}
	}))
	defer server.Close()
	u, err := url.Parse(server.URL)
	if err != nil {
		t.Fatal(err)
	}
	file, err := openTokenFile(newFile(t))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = file.Close() }()
	if err := file.Store("a token"); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), openTimeout/2)
	defer cancel()
	key, err := openKey(file.path + ".key")
	if err != nil {
		t.Fatal(err)
	}
	err = newSession(u, file, key, slog.New(slog.DiscardHandler)).connect(ctx)
	if timeout, ok := errors.AsType[net.Error](err); !ok || !timeout.Timeout() || ctx.Err() != nil {
		t.Errorf("ended with %v", err)
	}
	if pong := await(t, "the pong", pongs); pong != "3" {
		t.Errorf("pong %q", pong)
	}
	await(t, "the end at the server", silent)
}

func TestParse(t *testing.T) {
	for frame, want := range map[string]string{
		`0{"sid":"x"}`: `0||{"sid":"x"}`, "2": "2||", "40": "40||", "4": "4||", "": "||",
		`42["chat","1"]`: `42||["chat","1"]`, `4217["chat"]`: `42|17|["chat"]`, "430[]": "43|0|[]",
	} {
		p := parse(frame)
		if got := fmt.Sprintf("%s|%s|%s", p.kind, p.id, p.data); got != want {
			t.Errorf("%s is %s", frame, got)
		}
	}
}
