package main

import (
	"context"
	"errors"

	lockserver "github.com/lockserver/lockserver/sdk-go"
)

// exitCode is what lockctl ends with. The codes are part of its interface: they stand in the help, and do not change.
type exitCode int

const (
	exitOK            exitCode = 0
	exitNo            exitCode = 1   // show, force-release: nobody holds it; or the person said no
	exitHeld          exitCode = 120 // run --no-wait: held by another
	exitTimeout       exitCode = 121 // run --timeout: gave up waiting
	exitLost          exitCode = 122 // run: the lock was lost, and the command was ended
	exitServer        exitCode = 123 // the server cannot be reached, or refuses; the secret or a setting is wrong
	exitUsage         exitCode = 125 // lockctl was called wrongly
	exitNotExecutable exitCode = 126 // run: the command cannot be started
	exitNotFound      exitCode = 127 // run: there is no such command
	exitSignal        exitCode = 128 // plus the number of the signal that ended the command, or lockctl while it waited; after Ctrl-C it ends by SIGINT itself
)

// codeOf is the exit code for an error of the client.
func codeOf(err error) exitCode {
	var declined *noError
	switch {
	case err == nil:
		return exitOK
	case errors.Is(err, lockserver.ErrNotFound), errors.As(err, &declined):
		return exitNo
	case errors.Is(err, lockserver.ErrLocked):
		return exitHeld
	case errors.Is(err, lockserver.ErrLockTimeout), errors.Is(err, context.DeadlineExceeded):
		return exitTimeout
	case errors.Is(err, lockserver.ErrLockLost):
		return exitLost
	case errors.Is(err, lockserver.ErrInvalidRequest):
		return exitUsage
	default:
		return exitServer
	}
}

// noError says that what was asked for was not done, and that nothing went wrong.
type noError struct{ text string }

func (e *noError) Error() string { return e.text }
