// Command testserver is the server that the official test suites of Engine.IO 3 and Socket.IO 4
// expect.
package main

import (
	"os"

	"github.com/z-open/socketauth/internal/eio3"
	"github.com/z-open/socketauth/internal/testserver"
)

func main() { os.Exit(testserver.Run(eio3.NewRaw, eio3.New)) }
