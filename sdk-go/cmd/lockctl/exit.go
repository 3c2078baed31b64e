package main

import (
	"errors"
	"fmt"
	"os"
	"strconv"

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

// ending is an error that ends lockctl: its exit code, and what a person is told.
type ending struct {
	code exitCode
	text string
}

func (e *ending) Error() string { return e.text }

// ended makes an ending of an error of the client.
func (s *server) ended(resource string, err error) error {
	var already *ending
	var locked *lockserver.LockedError
	var failure *lockserver.Error
	switch {
	case err == nil, errors.As(err, &already):
		return err
	case errors.As(err, &locked):
		return &ending{exitHeld, quote(resource) + " is " + heldBy(locked.Holders, locked.HoldersTotal) + ourselves(resource, locked.Holders)}
	case errors.Is(err, lockserver.ErrLockLost):
		return &ending{exitLost, "lock lost: " + loss(err)}
	case !errors.As(err, &failure):
		return &ending{exitServer, err.Error()}
	}
	text := clean(failure.Message)
	switch failure.Code {
	case lockserver.ErrLockTimeout:
		if timeout, ok := errors.AsType[*lockserver.LockTimeoutError](err); ok {
			return &ending{exitTimeout, "gave up: " + text + ourselves(resource, timeout.Holders)}
		}
		return &ending{exitServer, "gave up: " + text}
	case lockserver.ErrInvalidRequest:
		if failure.Field != "" {
			return &ending{exitUsage, text}
		}
	case lockserver.ErrNotFound:
		return &ending{exitNo, "nobody holds " + quote(resource)}
	case lockserver.ErrUnauthorized:
		return &ending{exitServer, s.host() + " refuses the secret: LOCKSERVER_SECRET must be the server's"}
	case lockserver.ErrLimitMismatch:
		return &ending{exitServer, quote(resource) + " is held or awaited as another kind of lock: all must give the same --limit, or none"}
	case lockserver.ErrConnectionFailed:
		if failure.Status == 0 {
			return &ending{exitServer, "cannot reach " + s.host() + ": " + s.trouble(err)}
		}
	}
	return &ending{exitServer, text}
}

// What a command finds in its environment.
const (
	envResource = "LOCKSERVER_RESOURCE"
	envToken    = "LOCKSERVER_TOKEN"
)

// heldBy says who holds a lock, and since when.
func heldBy(holders []lockserver.Holder, total int) string {
	if len(holders) == 0 {
		return "held"
	}
	h := holders[0]
	text := fmt.Sprintf("held by %s for %s", clean(h.Owner), short(h.HeldFor))
	if h.Note != "" {
		text += fmt.Sprintf(" (%s)", clean(h.Note))
	}
	if more := total - 1; more > 0 {
		text += fmt.Sprintf(" and %d more", more)
	}
	return text
}

// ourselves warns a command that waits for what the lockctl around it holds.
func ourselves(resource string, holders []lockserver.Holder) string {
	for _, h := range holders {
		if os.Getenv(envResource) == resource && os.Getenv(envToken) == strconv.FormatInt(h.Token, 10) {
			return ", and this command runs under that very lock"
		}
	}
	return ""
}

// loss says why a lock was lost.
func loss(err error) string {
	if lost, ok := errors.AsType[*lockserver.LockLostError](err); ok {
		switch lost.Reason {
		case lockserver.ReasonExpired:
			return "its lease ran out"
		case lockserver.ReasonEvicted:
			return "somebody released it by force"
		case lockserver.ReasonOtherHolder:
			return "somebody else holds it"
		}
	}
	return "the server does not know it any more"
}
