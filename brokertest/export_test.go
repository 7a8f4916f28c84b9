package brokertest

import (
	"os"
	"time"
)

// A broker that has a fault is given up sooner, since many of them wait for what never comes.
func init() {
	if os.Getenv("BROKERTEST_FAULT") != "" {
		patience = 2 * time.Second
	}
}
