// Lockctl takes locks for shells, cron and people: it runs a command under a lock, and shows and frees locks.
package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"runtime/debug"
)

// version is set by the linker; `go install` leaves it to the module's.
var version = ""

func main() { os.Exit(int(run(os.Args[1:], os.Stdin, os.Stdout, os.Stderr))) }

// tool is what every command works with.
type tool struct {
	stdin          *os.File
	stdout, stderr *os.File
}

func run(args []string, stdin, stdout, stderr *os.File) exitCode {
	t := &tool{stdin: stdin, stdout: stdout, stderr: stderr}
	if len(args) == 0 {
		return t.usage(errors.New("a command is missing"))
	}
	switch name, args := args[0], args[1:]; name {
	case "run":
		return t.run(args)
	case "ls":
		return t.end(t.ls(args))
	case "show":
		return t.end(t.show(args))
	case "why":
		return t.end(t.why(args))
	case "history":
		return t.end(t.history(args))
	case "top":
		return t.end(t.top(args))
	case "watch":
		return t.end(t.watch(args))
	case "yield":
		return t.end(t.yield(args))
	case "force-release":
		return t.end(t.forceRelease(args))
	case "watchdog": // what run starts beside its command
		return t.watchdog()
	case "version", "--version", "-version":
		fmt.Fprintln(stdout, "lockctl", versionText())
		return exitOK
	case "help", "--help", "-help", "-h":
		fmt.Fprint(stdout, help)
		return exitOK
	default:
		return t.usage(fmt.Errorf("command %q is not allowed; allowed: run, ls, show, why, history, top, watch, yield, force-release, version, help", name))
	}
}

func versionText() string {
	if version != "" {
		return version
	}
	if info, ok := debug.ReadBuildInfo(); ok && info.Main.Version != "" {
		return info.Main.Version
	}
	return "dev"
}

// usage says what is wrong with the arguments.
func (t *tool) usage(err error) exitCode {
	if errors.Is(err, flag.ErrHelp) {
		fmt.Fprint(t.stdout, help)
		return exitOK
	}
	t.say("%v", err)
	fmt.Fprintln(t.stderr, "lockctl --help tells more.")
	return exitUsage
}

// say tells a person something.
func (t *tool) say(format string, args ...any) {
	fmt.Fprintf(t.stderr, "lockctl: "+format+"\n", args...)
}

// end tells a person what ended lockctl, and returns its exit code.
func (t *tool) end(err error) exitCode {
	var bad *usageError
	var known *ending
	switch {
	case err == nil:
		return exitOK
	case errors.As(err, &bad):
		return t.usage(bad.err)
	case errors.As(err, &known):
		t.say("%s", known.text)
		return known.code
	}
	t.say("%v", err)
	return exitServer
}

// usageError is an error in the arguments.
type usageError struct{ err error }

func (e *usageError) Error() string { return e.err.Error() }

// parse reads the flags of a command.
func parse(flags *flag.FlagSet, args []string) error {
	flags.SetOutput(io.Discard)
	flags.Usage = func() {}
	if err := flags.Parse(args); err != nil {
		return &usageError{err}
	}
	return nil
}
