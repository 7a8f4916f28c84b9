//go:build race

package socketauth

// The race detector is some ten times slower.
const (
	leakRounds       = 150
	halfOpenSessions = 500
)
