//go:build race

package histories_test

// The race detector makes histories ten times slower. CI also runs the tests without it.
const (
	memoryHistories = 5_000
	realHistories   = 300
)
