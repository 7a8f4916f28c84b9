// Package processes tests apps that run as several processes and share a Redis server. It has
// nothing but tests.
//
// Each process of an app is the test binary, started again. Clients are sockets of the package's
// own, so that a test can have many of them and see each packet.
package processes
