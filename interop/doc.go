// Package interop tests the library with real clients: several versions of socket.io-client, in
// Node and in browsers. It is a separate module, so that users of the library do not get its
// dependencies.
//
//	npm ci && npm ci --prefix frameworks && go test ./...
//
// It needs Node 20 or newer, Xvfb, and the browsers of Debian's packages chromium, firefox-esr and
// webkit2gtk-driver. SOAK=1 runs the bulk tests for longer.
package interop
