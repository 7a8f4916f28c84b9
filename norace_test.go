//go:build !race

package socketauth_test

const (
	leakRounds       = 1000 // clean ends, and as many abrupt ones, of each engine and transport
	halfOpenSessions = 5000
)
