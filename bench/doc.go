// Package bench measures the library beside others: throughput, and memory per socket. Every server is talked to by the
// same client. It is a module of its own, so that nothing of it reaches a user. README.md says how to run it.
package bench
