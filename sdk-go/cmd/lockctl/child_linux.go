package main

import (
	"bytes"
	"os"
	"strconv"
	"syscall"
	"time"
)

// dieWithParent makes the system kill the command when lockctl dies without being able to.
func dieWithParent(attr *syscall.SysProcAttr) { attr.Pdeathsig = syscall.SIGKILL }

// ownBinary is the one that runs, even after it was replaced on disk.
func ownBinary() (string, error) { return "/proc/self/exe", nil }

// awaitMember waits for the end of a process of the group, and returns false if nothing of the group is left. They are orphans, of whose
// end only a pidfd tells. That one leaves the group nothing tells: after a second it looks again.
func (c *child) awaitMember() bool {
	const pidfdOpen = 434 // on every architecture
	const step = 20 * time.Millisecond
	pid, dead := c.member()
	switch {
	case pid == 0 && (dead || syscall.Kill(-c.pid, 0) == syscall.ESRCH):
		return false
	case pid == 0: // it began while we looked, or /proc hides it
		time.Sleep(step)
		return true
	}
	fd, _, errno := syscall.Syscall(pidfdOpen, uintptr(pid), syscall.O_NONBLOCK, 0)
	if errno == syscall.ESRCH {
		return true
	}
	if errno != 0 { // an old kernel, or too many files are open
		time.Sleep(step)
		return true
	}
	process := os.NewFile(fd, "pidfd")
	defer process.Close()
	if runs, _ := c.has(pid); !runs {
		return true // another has got its number
	}
	if conn, err := process.SyscallConn(); err != nil || process.SetReadDeadline(time.Now().Add(lookAgain)) != nil || conn.Read(readable()) != nil {
		time.Sleep(step) // the second is over, or the system cannot wait
	}
	return true
}

// readable returns what makes RawConn.Read wait until there is something to read, as there is from the end of a process on.
func readable() func(uintptr) bool {
	asked := false
	return func(uintptr) bool {
		defer func() { asked = true }()
		return asked
	}
}

// member returns a process of the group that runs, 0 if there is none, and whether there is a dead one whose parent does not care.
func (c *child) member() (pid int, dead bool) {
	names, err := os.ReadDir("/proc")
	if err != nil {
		return 0, false // as if it hid them all
	}
	for _, name := range names {
		pid, err := strconv.Atoi(name.Name())
		if err != nil {
			continue
		}
		runs, gone := c.has(pid)
		if runs {
			return pid, false
		}
		dead = dead || gone
	}
	return 0, dead
}

// has says whether a process of the group runs, or is dead but still listed.
func (c *child) has(pid int) (runs, dead bool) {
	stat, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	if err != nil {
		return false, false
	}
	// Behind the name, which may hold anything: state, parent, group.
	fields := bytes.Fields(stat[bytes.LastIndexByte(stat, ')')+1:])
	const state, group = 0, 2
	if len(fields) <= group || string(fields[group]) != strconv.Itoa(c.pid) {
		return false, false
	}
	dead = fields[state][0] == 'Z' || fields[state][0] == 'X'
	return !dead, dead
}
