//go:build !(darwin || dragonfly || freebsd || linux || netbsd || openbsd)

package main

import "os"

// lockFile does nothing on this system. Users must not start two processes with the same token
// file.
func lockFile(*os.File) error { return nil }

// syncFolder does nothing, because not all of these systems can sync folders.
func syncFolder(string) error { return nil }
