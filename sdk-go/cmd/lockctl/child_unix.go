//go:build unix

package main

import (
	"os"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// child is the command, the leader of a process group of its own.
type child struct {
	pid     int
	changes chan syscall.WaitStatus // its stops, and its end
}

func startChild(t *tool, o *runOptions, path string, token int64, terminal *terminal) (*child, error) {
	attr := &os.ProcAttr{
		Env:   childEnv(o.resource, token),
		Files: []*os.File{t.stdin, t.stdout, t.stderr},
		Sys:   &syscall.SysProcAttr{Setpgid: true},
	}
	dieWithParent(attr.Sys)
	// In a pipeline the others may need the terminal, say a pager: there the command gets it once it asks.
	if isTerminal(t.stdin) && isTerminal(t.stdout) && terminal.lend() {
		attr.Sys.Foreground, attr.Sys.Ctty = true, int(terminal.file.Fd())
	}
	process, err := os.StartProcess(path, o.command, attr)
	if err != nil {
		terminal.reclaim()
		return nil, err
	}
	c := &child{pid: process.Pid, changes: make(chan syscall.WaitStatus, 1)}
	// Wait4 instead of process.Wait, which tells nothing of stops.
	if err := process.Release(); err != nil {
		return nil, err
	}
	go c.wait()
	return c, nil
}

// childEnv is lockctl's own environment, and the lock. That of a lockctl around this one is replaced.
func childEnv(resource string, token int64) []string {
	env := slices.DeleteFunc(os.Environ(), func(entry string) bool {
		return strings.HasPrefix(entry, envResource+"=") || strings.HasPrefix(entry, envToken+"=")
	})
	return append(env, envResource+"="+resource, envToken+"="+strconv.FormatInt(token, 10))
}

func (c *child) wait() {
	for {
		var status syscall.WaitStatus
		_, err := syscall.Wait4(c.pid, &status, syscall.WUNTRACED, nil)
		switch {
		case err == syscall.EINTR:
			continue
		case err != nil:
			panic("the only one who waits for a child lost it: " + err.Error())
		}
		c.changes <- status
		if !status.Stopped() {
			return
		}
	}
}

// terminate asks the command's process group to end.
func (c *child) terminate() {
	c.signal(syscall.SIGTERM)
	c.signal(syscall.SIGCONT) // one that is stopped hears nothing else
}

// signal sends a signal to the command's process group. That the group may be gone is no matter.
func (c *child) signal(s syscall.Signal) { _ = syscall.Kill(-c.pid, s) }

// killGroup kills what is left of the group, and returns when nothing of it runs any more, after a second at most.
func (c *child) killGroup() {
	const patience = time.Second
	c.signal(syscall.SIGKILL)
	select {
	case <-c.groupEnd():
	case <-time.After(patience):
	}
}

// groupEnd returns a channel that is closed once nothing of the group runs any more, after its leader has ended.
func (c *child) groupEnd() <-chan struct{} {
	end := make(chan struct{})
	go func() {
		defer close(end)
		for c.awaitMember() {
		}
	}()
	return end
}
