//go:build unix && !linux

package redistest

import "os/exec"

func launch(process *exec.Cmd) error { return process.Start() }

// stopped reports true: SIGSTOP takes effect at once, as far as a test can tell.
func stopped(int) bool { return true }
