// Command testserver is the server that the official test suites of Engine.IO 4 and Socket.IO 5
// expect.
package main

import (
	"os"

	"github.com/z-open/socketauth/internal/eio4"
	"github.com/z-open/socketauth/internal/testserver"
)

func main() { os.Exit(testserver.Run(eio4.NewRaw, eio4.New)) }
