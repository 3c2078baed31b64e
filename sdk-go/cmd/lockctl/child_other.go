//go:build unix && !linux

package main

import (
	"os"
	"syscall"
)

// dieWithParent does nothing where the system cannot; there the watchdog does it a moment later.
func dieWithParent(*syscall.SysProcAttr) {}

func ownBinary() (string, error) { return os.Executable() }
