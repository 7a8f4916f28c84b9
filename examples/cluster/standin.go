package main

import "github.com/alicebob/miniredis/v2"

// startStandIn starts a server that understands as much of Redis as this example needs. It keeps
// all in memory. An app runs Redis or Valkey.
func startStandIn() (*miniredis.Miniredis, error) {
	server := miniredis.NewMiniRedis()
	server.ClockTTL(true) // keys expire when their time has come
	if err := server.Start(); err != nil {
		return nil, err
	}
	return server, nil
}
