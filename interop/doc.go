// Package interop tests the library with the clients that people use: socket.io-client of several versions, in Node, and
// Chromium. It is a module of its own, so that nothing of it reaches a user.
//
//	npm ci && go test ./...
//
// It needs Node 20 or newer, Xvfb, /usr/bin/chromium and /usr/bin/firefox-esr. SOAK=1 runs the bulk
// tests longer.
package interop
