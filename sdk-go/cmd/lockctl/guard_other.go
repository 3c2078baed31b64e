//go:build !unix

package main

import (
	"os"
	"os/signal"

	lockserver "github.com/lockserver/lockserver/sdk-go"
)

func catchSignals(signals chan os.Signal) { signal.Notify(signals, os.Interrupt) }

func ends(os.Signal) bool { return true }

func (*farewell) pass() {}

func (t *tool) watchdog() exitCode { return exitNotExecutable }

// guard needs process groups, to be sure that a command is gone before its lock is.
func (t *tool) guard(*server, *lockserver.Lock, *runOptions, string, chan os.Signal) (exitCode, *farewell) {
	t.say("lockctl run works on Linux, macOS and other Unix systems only")
	return exitNotExecutable, nil
}

func isTerminal(f *os.File) bool {
	info, err := f.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0
}

func inForeground(*os.File) bool { return true }
