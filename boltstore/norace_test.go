//go:build !race

package boltstore_test

const (
	histories       = 2_000
	serverHistories = 200
)
