package blacklist

import (
	"syscall"
	"time"
	"unsafe"
)

// threadTime returns the processor time of the calling thread, in the kernel too.
func threadTime() time.Duration {
	const clockThreadCPUTimeID = 3
	var t syscall.Timespec
	_, _, err := syscall.RawSyscall(syscall.SYS_CLOCK_GETTIME, clockThreadCPUTimeID, uintptr(unsafe.Pointer(&t)), 0)
	if err != 0 {
		panic(err)
	}
	return time.Duration(t.Nano())
}
