//go:build unix && !(linux && amd64)

package processes

import "time"

// canMoveClock says that moveClock works here.
const canMoveClock = false

// moveClock does nothing: the clocks of all processes are the machine's.
func moveClock(time.Duration) error { return nil }
