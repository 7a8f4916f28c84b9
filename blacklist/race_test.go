//go:build race

package blacklist

const raceDetector = true
