//go:build race

package boltstore_test

// The race detector makes histories ten times slower.
const (
	histories       = 500
	serverHistories = 60
)
