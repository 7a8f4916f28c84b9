//go:build !linux

package blacklist

import "time"

var processBegan = time.Now()

// threadTime returns the time, for want of a clock of the thread.
func threadTime() time.Duration { return time.Since(processBegan) }
