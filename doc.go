// Package socketauth authenticates Socket.IO sockets, and HTTP requests of the same users.
//
// An app calls Infrastructure with its http.Server, its mux and an Options struct with hooks that
// look up its users. It gets login and registration routes, sockets that authenticate, tokens that
// are replaced each time they are used, a logout that ends the session for good, and an HTTP
// middleware that accepts the same tokens.
//
// # The flow
//
// A login is answered with a code, which expires soon. A client opens a socket and presents the
// code, in the event "authenticate" or in the auth object of the handshake. It receives a session
// token in the event "authenticated" and stores it. Whenever it connects again, and before the
// token expires, it presents its token and receives the next one.
//
// A client that presents its token with {confirm: true} acknowledges "authenticated" once it has
// stored the new token. The old token is valid until then, so nothing is lost if the connection
// breaks, and dead afterwards. For a client without confirm, the old token is dead as soon as the
// new one is sent.
//
// If a dead token is presented again, two parties may have had it, and one of them may be a thief.
// By default the session is then ended everywhere; see ReusePolicy. A logout ends the session of
// the socket.
//
// # Claims
//
// Tokens are JSON Web Tokens (RFC 7519). The app sets the claim "sub", which names the user, and
// claims of its own. The library sets the following ones, and the app must not, except that
// Options.Claim may give acr and amr:
//
//	iss, aud    Options.Issuer and Options.Audience
//	sid         the session: 128 random bits, the same from login to logout
//	gen         the generation of the token in its session; 0 is the code
//	jti         the token: 128 random bits
//	iat, exp    when it was issued and when it expires, in seconds with a fraction
//	dur         how long it lives, in seconds
//	auth_time   when the user proved last who they are: at the login, or by a step-up since
//	acr, amr    how they proved it then (OpenID Connect Core section 2); there only if Claim gives them
//	began       when they logged in, if that is not auth_time
//	mark        how new the app's claims are; there once RefreshUser or RefreshSession was called
//	cnf         {jkt}, the thumbprint of the key that the session is bound to; only if it is (RFC 7800, 7638)
//	token_use   "code", "session" or "step_up"
//
// # Concurrency
//
// All functions and methods may be called from several goroutines at the same time. Options must
// not be changed while New or one of the functions that call it reads them.
package socketauth
