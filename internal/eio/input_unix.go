//go:build unix

package eio

import (
	"io"
	"net"
	"os"
	"syscall"
)

// rawConn returns the raw connection if conn is one of the operating system and nothing else, so
// that to read from it directly is the same as its Read.
func rawConn(conn net.Conn) syscall.RawConn {
	var raw syscall.RawConn
	switch conn := conn.(type) {
	case *net.TCPConn:
		raw, _ = conn.SyscallConn()
	case *net.UnixConn:
		raw, _ = conn.SyscallConn()
	}
	return raw
}

// readNow reads what is there. Its error is errNothing if nothing is, and io.EOF at the end.
func readNow(fd uintptr, b []byte) (int, error) {
	for {
		switch n, err := syscall.Read(int(fd), b); {
		case err == syscall.EINTR:
		case err == syscall.EAGAIN:
			return 0, errNothing
		case err != nil:
			return 0, err
		case n == 0:
			return 0, io.EOF
		default:
			return n, nil
		}
	}
}

// writeNow writes what the connection takes without waiting. If that is not all, the error is not
// nil, and errWait if the rest can be written later.
func writeNow(fd uintptr, b []byte) (n int, err error) {
	for n < len(b) {
		m, err := syscall.Write(int(fd), b[n:])
		switch {
		case err == syscall.EINTR:
		case err == syscall.EAGAIN:
			return n, errWait
		case err != nil:
			return n, os.NewSyscallError("write", err)
		default:
			n += m
		}
	}
	return n, nil
}
