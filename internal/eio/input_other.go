//go:build !unix

package eio

import (
	"net"
	"syscall"
)

// rawConn returns nil: a raw connection cannot be read without waiting here.
func rawConn(net.Conn) syscall.RawConn { return nil }

func readNow(uintptr, []byte) (int, error) { return 0, errNothing }

func writeNow(uintptr, []byte) (int, error) { return 0, errWait }
