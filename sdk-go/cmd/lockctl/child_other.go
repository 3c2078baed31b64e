//go:build unix && !linux

package main

import (
	"os"
	"syscall"
	"time"
)

// dieWithParent does nothing where the system cannot; there the watchdog does it a moment later.
func dieWithParent(*syscall.SysProcAttr) {}

func ownBinary() (string, error) { return os.Executable() }

// awaitMember waits a moment, and returns false if nothing of the group is left. The system tells only parents of an end, and these are
// orphans: there is nothing to wait for but time.
func (c *child) awaitMember() bool {
	const step = 20 * time.Millisecond
	if syscall.Kill(-c.pid, 0) == syscall.ESRCH {
		return false
	}
	time.Sleep(step)
	return true
}
