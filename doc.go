// Package socketauth lets Socket.IO sockets, and HTTP requests beside them, prove who they are.
//
// An app calls Infrastructure with its mux and an Options struct that knows how to look up its users, and has: login
// and registration routes, sockets that authenticate, tokens that are replaced each time they are used, a logout that
// ends the session for good, and a middleware that trusts the same tokens.
//
// # The flow
//
// A login answers a short-lived code. A socket presents the code (event "authenticate", or the handshake's auth object)
// and gets a session token (event "authenticated"), which its client stores. Whenever it connects again, and before the
// token expires, it presents the token and gets the next. A client that says {confirm: true} acknowledges
// "authenticated" once it has stored the token; the one before is dead from then on, and until then it may be presented
// again. For one that does not, it is dead at once. A dead token that comes back means that two parties hold one
// session: by default the session is ended everywhere. Logout ends it for good.
//
// # Claims
//
// Tokens are JWTs (RFC 7519). The app chooses "sub", which names the user, and claims of its own. The library sets, and
// nobody else may:
//
//	iss, aud    Options.Issuer and Options.Audience
//	sid         the session: 128 random bits, the same from login to logout
//	gen         the token's generation in the session; 0 is the code
//	jti         the token: 128 random bits
//	iat, exp    issued and expires, in seconds with a fraction
//	dur         the token's life in seconds
//	auth_time   when the user proved who they are; the same from login to logout
//	token_use   "code" or "session"
//
// # What is safe for concurrent use
//
// Everything here may be used from many goroutines at once, except Options while New reads it.
package socketauth
