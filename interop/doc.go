// Package interop tests the library with real clients: several versions of socket.io-client, in
// Node and in browsers. It is a separate module, so that users of the library do not get its
// dependencies.
//
//	npm ci && npm ci --prefix frameworks && go test ./...
//
// It needs Node 20 or newer, Xvfb, /usr/bin/chromium and /usr/bin/firefox-esr. SOAK=1 runs the bulk
// tests for longer.
package interop
