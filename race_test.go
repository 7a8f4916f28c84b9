//go:build race

package socketauth_test

// The race detector is some ten times slower.
const (
	leakRounds       = 150
	halfOpenSessions = 500
)
