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

// passOn sends lockctl's own process group, and so lockctl, a signal that so far only the command got.
func passOn(s os.Signal) {
	const patience = time.Second // it may reach another thread first; where it is ignored nothing happens
	signal.Reset(s)
	if syscall.Kill(0, s.(syscall.Signal)) == nil {
		time.Sleep(patience)
	}
}
