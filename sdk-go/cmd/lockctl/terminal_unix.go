//go:build unix

package main

import (
	"os"
	"os/signal"
	"syscall"
	"unsafe"
)

// terminal is the one that lockctl was started on; nil if there is none. Its foreground group is who Ctrl-C and Ctrl-Z go to, and who
// may read.
type terminal struct {
	file *os.File
	own  int  // lockctl's process group
	lent bool // the foreground is the command's
}

// openTerminal opens the terminal that controls lockctl, wherever stdin and stdout go.
func openTerminal() *terminal {
	file, err := os.OpenFile("/dev/tty", os.O_RDWR, 0)
	if err != nil {
		return nil
	}
	return &terminal{file: file, own: syscall.Getpgrp()}
}

func (t *terminal) close() {
	if t != nil {
		_ = t.file.Close()
	}
}

// lend says whether lockctl has the terminal, and not somebody else while it runs in the background, and notes that the command is about
// to get it.
func (t *terminal) lend() bool {
	if t == nil {
		return false
	}
	group, err := foreground(t.file)
	t.lent = err == nil && group == t.own
	return t.lent
}

// hand gives the terminal to the command's group if it is lockctl's to give, and says whether it was.
func (t *terminal) hand(group int) bool {
	if !t.lend() {
		return false
	}
	t.setForeground(group)
	return true
}

// reclaim takes it back.
func (t *terminal) reclaim() {
	if t.isLent() {
		t.lent = false
		t.setForeground(t.own)
	}
}

func (t *terminal) isLent() bool { return t != nil && t.lent }

func (t *terminal) setForeground(group int) {
	// Whoever does this from the background is stopped, unless it ignores SIGTTOU.
	signal.Ignore(syscall.SIGTTOU)
	defer signal.Reset(syscall.SIGTTOU)
	g := int32(group)
	// It fails when the terminal is gone, and then there is nobody to have it.
	_ = control(t.file, syscall.TIOCSPGRP, &g)
}

// foreground returns the group that has the terminal which the file is. It fails where the file is none, or not lockctl's.
func foreground(f *os.File) (int, error) {
	var group int32
	err := control(f, syscall.TIOCGPGRP, &group)
	return int(group), err
}

func control(f *os.File, request uintptr, value *int32) error {
	if _, _, errno := syscall.Syscall(syscall.SYS_IOCTL, f.Fd(), request, uintptr(unsafe.Pointer(value))); errno != 0 {
		return errno
	}
	return nil
}

// session is lockctl's own, named by its leader.
func session() int {
	id, _, _ := syscall.Syscall(syscall.SYS_GETSID, 0, 0, 0) // it cannot fail for oneself
	return int(id)
}

// isTerminal says whether a person looks at the file.
func isTerminal(f *os.File) bool {
	_, err := foreground(f)
	return err == nil
}

// inForeground says whether what is written there disturbs nobody.
func inForeground(f *os.File) bool {
	group, err := foreground(f)
	return err == nil && group == syscall.Getpgrp()
}
