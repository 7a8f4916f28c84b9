//go:build !race

package histories_test

const (
	memoryHistories  = 100_000
	durableHistories = 2_000
)
