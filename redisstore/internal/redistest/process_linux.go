package redistest

import (
	"bytes"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"sync"
	"syscall"
)

// launches are the processes to start. They are started by one thread that lives as long as the
// test, since the kernel kills them with the thread that has started them.
var launches = sync.OnceValue(func() chan<- func() {
	starts := make(chan func())
	go func() {
		runtime.LockOSThread()
		for start := range starts {
			start()
		}
	}()
	return starts
})

// launch starts a process that is killed when this one ends, however it ends.
func launch(process *exec.Cmd) error {
	process.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	started := make(chan error)
	launches() <- func() { started <- process.Start() }
	return <-started
}

// stopped reports whether a process has stopped after SIGSTOP.
func stopped(pid int) bool {
	stat, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	if err != nil {
		return false
	}
	_, state, found := bytes.Cut(stat, []byte(") ")) // after the name of the program
	return found && state[0] == 'T'
}
