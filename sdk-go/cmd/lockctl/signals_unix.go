//go:build unix

package main

import (
	"os"
	"os/signal"
	"syscall"
	"time"
)

// catchSignals catches what goes on to the command. What is ignored, as SIGHUP is under nohup, stays so, for the command too.
func catchSignals(signals chan os.Signal) {
	for _, s := range []syscall.Signal{
		syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP, syscall.SIGQUIT, syscall.SIGUSR1, syscall.SIGUSR2, syscall.SIGWINCH,
		syscall.SIGCONT,
	} {
		if !signal.Ignored(s) {
			signal.Notify(signals, s)
		}
	}
}

// catchStop catches Ctrl-Z. Before there is a command it simply stops lockctl.
func catchStop(signals chan os.Signal) {
	if !signal.Ignored(syscall.SIGTSTP) {
		signal.Notify(signals, syscall.SIGTSTP)
	}
}

// ends tells the signals that make lockctl give up waiting.
func ends(s os.Signal) bool {
	switch s {
	case syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP, syscall.SIGQUIT:
		return true
	}
	return false
}

// pass sends the signal on, and so ends lockctl.
func (f *farewell) pass() {
	const patience = time.Second // it may reach another thread first; where it is ignored nothing happens
	to := os.Getpid()
	if f.group {
		to = 0
	}
	signal.Reset(f.signal)
	if syscall.Kill(to, f.signal.(syscall.Signal)) == nil {
		time.Sleep(patience)
	}
}
