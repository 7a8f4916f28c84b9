//go:build unix

package processes

import (
	"bufio"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/z-open/socketauth/redisstore/internal/redistest"
)

// TestSecretsStayAway guards tokens and passwords: who sees all that Redis is sent, by MONITOR,
// while users log in, rotate their tokens, are emitted to, guess, log out and are revoked, sees
// none of them.
func TestSecretsStayAway(t *testing.T) {
	redis := redistest.Start(t)
	conn, err := net.Dial("tcp", redis.Addr)
	if err != nil {
		t.Fatal(err)
	}
	lines := make(chan []string, 1)
	go func() {
		var all []string
		s := bufio.NewScanner(conn)
		s.Buffer(nil, 1<<24)
		for s.Scan() {
			if all = append(all, s.Text()); strings.Contains(s.Text(), "the end of it") {
				break
			}
		}
		lines <- all
	}()
	defer conn.Close()
	if _, err := conn.Write([]byte("MONITOR\r\n")); err != nil {
		t.Fatal(err)
	}

	all := startAll(t, 3, config{Redis: []string{redis.Addr}})
	nodeNames(t, all)
	post := func(p *process, body string) (token string) {
		t.Helper()
		r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, p.url+"/login", strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Content-Type", "application/json")
		response, err := client.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		defer response.Body.Close()
		var answer struct{ Token string }
		_ = json.NewDecoder(response.Body).Decode(&answer) // a refusal has none
		return answer.Token
	}
	var secrets []string
	for n, p := range all {
		user := fmt.Sprint("user", n)
		code := post(p, `{"username":"`+user+`","password":"secret"}`)
		if code == "" {
			t.Fatal("a login has no token")
		}
		post(all[(n+1)%3], `{"username":"`+user+`","password":"Wr0ng!pass"}`)
		post(all[(n+1)%3], `{"username":"Hunter2!asName","password":"x"}`)
		one := p.enter(code)
		secrets = append(secrets, code)
		for m := range 3 {
			secrets = append(secrets, one.stored())
			one = all[(n+m)%3].enter(one.stored())
		}
		secrets = append(secrets, one.stored())
		if p.me(one.stored()) != http.StatusOK {
			t.Error("a token is not accepted")
		}
		p.must("emit", order{User: user, Event: "news", Data: "hello"})
		p.must("sessions", order{User: user})
		if _, err := enter(t.Context(), p.url, code); err == nil { // which is reuse, and ends the session
			t.Error("a code is accepted twice")
		}
		if _, err := dial(t.Context(), p.url, map[string]any{"token": "Inval1d.token.text"}); err != nil {
			t.Error(err)
		}
	}
	if err := all[0].login("user0").emit("logout"); err != nil {
		t.Fatal(err)
	}
	all[0].must("revoke-user", order{User: "user0"})
	all[1].must("revoke-all", order{})
	pause(2 * time.Second) // until failures have been told
	redis.Do("ECHO", "the end of it")

	for _, token := range secrets[:len(secrets):len(secrets)] {
		parts := strings.Split(token, ".")
		secrets = append(secrets, parts[len(parts)-1], parts[1][:min(40, len(parts[1]))])
	}
	secrets = append(secrets, "Wr0ng!pass", "Hunter2", "Inval1d", "a secret that is used")
	monitored := <-lines
	seen := strings.Join(monitored, "\n")
	if !strings.Contains(seen, "PUBLISH") && !strings.Contains(seen, "publish") || len(monitored) < 100 {
		t.Fatalf("%d commands were seen: the test tests nothing", len(monitored))
	}
	for _, secret := range secrets {
		if i := strings.Index(seen, secret); i >= 0 {
			t.Errorf("Redis was sent %q: %q", secret, seen[max(0, i-200):min(len(seen), i+200)])
		}
	}
	t.Logf("%d commands, %d bytes, and none of %d secrets", len(monitored), len(seen), len(secrets))
}
