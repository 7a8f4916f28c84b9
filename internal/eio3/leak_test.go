package eio3

import (
	"bytes"
	"context"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"os"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gorilla/websocket"

	"github.com/z-open/socketauth/internal/eio"
	"github.com/z-open/socketauth/internal/engine"
	"github.com/z-open/socketauth/internal/engine/enginetest"
)

// cycle makes one connection that sends an event and ends, in one of several ways.
func cycle(t *testing.T, client *http.Client, url string, n int) {
	text := func(ws *websocket.Conn, texts ...string) {
		for _, s := range texts {
			_ = ws.WriteMessage(websocket.TextMessage, []byte(s))
		}
	}
	request := func(method, query, body string) string {
		r, _ := http.NewRequest(method, url+"?EIO=3&transport=polling"+query, strings.NewReader(body))
		res, err := client.Do(r)
		if err != nil {
			t.Error(err)
			return ""
		}
		defer res.Body.Close()
		answer, _ := io.ReadAll(res.Body)
		return string(answer)
	}
	dial := func(query string) *websocket.Conn {
		ws, _, err := websocket.DefaultDialer.Dial("ws"+strings.TrimPrefix(url, "http")+"?EIO=3&transport=websocket"+query, nil)
		if err != nil {
			t.Error(err)
			return nil
		}
		return ws
	}
	if n%3 == 0 {
		if ws := dial(""); ws != nil {
			text(ws, `42["x"]`)
			for range 3 {
				_, _, _ = ws.ReadMessage()
			}
			if n%2 == 0 {
				text(ws, "41", "1")
			}
			ws.Close()
		}
		return
	}
	_, open, _ := strings.Cut(request(http.MethodGet, "", ""), `"sid":"`)
	sid, _, _ := strings.Cut(open, `"`)
	sid = "&sid=" + sid
	request(http.MethodPost, sid, `7:42["x"]`)
	request(http.MethodGet, sid, "")
	if n%3 == 1 {
		request(http.MethodPost, sid, "2:411:1")
		return
	}
	if ws := dial(sid); ws != nil {
		text(ws, "2probe")
		_, _, _ = ws.ReadMessage()
		if n%2 == 0 {
			text(ws, "5", `42["x"]`)
			_, _, _ = ws.ReadMessage()
		} else {
			request(http.MethodPost, sid, "1:1")
		}
		ws.Close()
	}
}

// Guards that connections leave no sessions, goroutines or memory behind, here or in the library.
// With SOAK=1 there are 10,000.
func TestNothingIsLeft(t *testing.T) {
	cycles := 1500
	if os.Getenv("SOAK") != "" {
		cycles = 10_000
	}
	o := engine.Options{Namespaces: map[string]engine.Accept{"/": enginetest.Echo}}
	e := New(o)
	server := httptest.NewServer(e)
	client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 16}}
	run := func(cycles int) {
		var wg sync.WaitGroup
		for worker := range 8 {
			wg.Go(func() {
				for n := worker; n < cycles; n += 8 {
					cycle(t, client, server.URL, n)
				}
			})
		}
		wg.Wait()
		client.CloseIdleConnections()
		settle(t, e)
	}
	var logged bytes.Buffer // by the library, under a lock of its own
	log.SetOutput(&logged)
	defer log.SetOutput(os.Stderr)
	run(200) // what is kept in pools is there from now on
	goroutines, before := runtime.NumGoroutine()-e.IdleWorkers(), heapInUse()
	run(cycles)
	if n := runtime.NumGoroutine() - e.IdleWorkers(); n > goroutines+4 { // those that wait end at Shutdown
		t.Errorf("%d goroutines are left, of %d", n, goroutines)
	}
	if after := heapInUse(); after > before+512<<10 {
		t.Errorf("the heap grew from %d to %d bytes", before, after)
	}
	if err := e.Shutdown(context.Background()); err != nil {
		t.Error(err)
	}
	server.Close()
	if logged.Len() > 0 {
		t.Errorf("the library logged %d bytes, such as %.300s", logged.Len(), &logged)
	}
}

// settle waits until the engine has nothing left.
func settle(t *testing.T, e *eio.Engine) {
	t.Helper()
	for wait := time.Millisecond; ; wait *= 2 {
		sessions, tasks := e.Left()
		if sessions+tasks == 0 {
			return
		}
		if wait > 10*time.Second {
			t.Fatalf("left: %d sessions, %d tasks", sessions, tasks)
		}
		<-time.After(wait) // there is no event for the end of a goroutine
	}
}

func heapInUse() uint64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}
