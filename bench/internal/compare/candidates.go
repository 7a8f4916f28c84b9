package compare

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/z-open/socketauth/bench/internal/load"
	"github.com/z-open/socketauth/bench/internal/servers"
)

// A candidate is one of the servers that are compared, with the clients that it has.
type candidate struct {
	name    string
	server  string   // the Go server; of a store, its kind
	node    []string // the file below bench/node and its arguments, if it is not in Go
	dialect load.Dialect
	login   bool // its clients get their first token from /login
	polling bool // it has polling
}

// secret is the key of all tokens. It guards nothing.
const secret = "only for benchmarks: no secret at all"

var (
	ours     = candidate{name: "socketauth", server: "socketauth", dialect: load.EIO4Token, login: true, polling: true}
	oursEIO3 = candidate{name: "socketauth-eio3", server: "socketauth", dialect: load.EIO3Token, login: true, polling: true}
	gws      = candidate{name: "gws", server: "gws", dialect: load.Raw}

	// socketCandidates is everything that serves sockets. The first is the one that ratios refer to.
	socketCandidates = []candidate{
		ours,
		{name: "node-socket.io", node: []string{"socketio4.mjs"}, dialect: load.EIO4, polling: true},
		{name: "node-thream", node: []string{"socketio4.mjs", "thream"}, dialect: load.EIO4Bearer, polling: true},
		{name: "zishang", server: "zishang", dialect: load.EIO4, polling: true},
		{name: "centrifuge", server: "centrifuge", dialect: load.Centrifuge},
		gws,
		oursEIO3,
		{name: "go-socket.io", server: "go-socket.io", dialect: load.EIO3, polling: true},
		{name: "node-socketio-jwt", node: []string{"socketio2.mjs"}, dialect: load.EIO3Event, polling: true},
	}

	// bareCandidates adds the websocket libraries to the socket candidates.
	bareCandidates = append(slices.Clone(socketCandidates),
		candidate{name: "gorilla", server: "gorilla", dialect: load.Raw},
		candidate{name: "gobwas", server: "gobwas", dialect: load.Raw},
	)

	httpCandidates = []candidate{
		{name: "socketauth", server: "socketauth", dialect: load.EIO4Token},
		{name: "gin-jwt", server: "gin-jwt"},
		{name: "net/http", server: "net/http"},
	}

	// floodCandidates compare passwords with bcrypt. That of Node does so in its threads for that.
	floodCandidates = []candidate{
		{name: "socketauth", server: "socketauth-bcrypt", dialect: load.EIO4Token, login: true},
		{name: "node-thream", node: []string{"socketio4.mjs", "thream"}, dialect: load.EIO4Bearer},
	}

	storeCandidates = []candidate{
		{name: "socketauth", server: "socketauth"},
		{name: "ttlcache", server: "ttlcache"},
		{name: "otter", server: "otter"},
		{name: "map", server: "map"},
	}
)

func pollingCandidates() []candidate {
	var with []candidate
	for _, c := range socketCandidates {
		if c.polling {
			with = append(with, c)
		}
	}
	return with
}

// token returns what client i presents first: a code of the server, or a token signed here as
// another service of the app would.
func (c candidate) token(ctx context.Context, h *http.Client, base string, i int) (string, error) {
	user := fmt.Sprintf("user%d", i)
	switch {
	case c.login:
		return load.Login(ctx, h, base, user, servers.Password)
	case c.dialect == load.Raw || c.dialect == load.EIO4 || c.dialect == load.EIO3:
		return "", nil
	}
	now := time.Now()
	return jwt.NewWithClaims(jwt.SigningMethodHS256, jwt.MapClaims{
		"sub": user, "iat": now.Unix(), "exp": now.Add(24 * time.Hour).Unix(),
	}).SignedString([]byte(secret))
}
