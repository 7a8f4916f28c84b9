package servers

import (
	"context"
	"encoding/json"
	"net/http"

	"github.com/centrifugal/centrifuge"
	"github.com/golang-jwt/jwt/v5"
)

// serveCentrifuge serves centrifuge, which demands a JWT of each connection and verifies it with
// golang-jwt. It hands out no new token.
func serveCentrifuge(mux *http.ServeMux, secret []byte) (app, error) {
	node, err := centrifuge.New(centrifuge.Config{})
	if err != nil {
		return app{}, err
	}
	parser := jwt.NewParser(jwt.WithValidMethods([]string{"HS256"}), jwt.WithExpirationRequired())
	node.OnConnecting(func(_ context.Context, e centrifuge.ConnectEvent) (centrifuge.ConnectReply, error) {
		var claims jwt.RegisteredClaims
		if _, err := parser.ParseWithClaims(e.Token, &claims, func(*jwt.Token) (any, error) { return secret, nil }); err != nil {
			return centrifuge.ConnectReply{}, centrifuge.DisconnectInvalidToken
		}
		return centrifuge.ConnectReply{
			Credentials:   &centrifuge.Credentials{UserID: claims.Subject, ExpireAt: claims.ExpiresAt.Unix()},
			Subscriptions: map[string]centrifuge.SubscribeOptions{"news": {}},
		}, nil
	})
	node.OnConnect(func(c *centrifuge.Client) {
		c.OnRPC(func(e centrifuge.RPCEvent, reply centrifuge.RPCCallback) {
			reply(centrifuge.RPCReply{Data: e.Data}, nil)
		})
	})
	if err := node.Run(); err != nil {
		return app{}, err
	}
	mux.Handle("/connection/websocket", centrifuge.NewWebsocketHandler(node, centrifuge.WebsocketConfig{}))
	return app{broadcast: func(text string) error {
		data, err := json.Marshal(text)
		if err != nil {
			return err
		}
		_, err = node.Publish("news", data)
		return err
	}}, nil
}
