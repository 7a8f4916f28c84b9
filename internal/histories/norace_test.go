//go:build !race

package histories_test

const (
	memoryHistories = 100_000
	realHistories   = 1_000
)
