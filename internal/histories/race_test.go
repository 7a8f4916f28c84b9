//go:build race

package histories_test

// The race detector makes histories ten times as slow. CI runs the tests without it too.
const (
	memoryHistories = 5_000
	realHistories   = 300
)
