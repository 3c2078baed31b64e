// Command lockconform tests a client of a lock server, by way of a driver. PROTOCOL.md says what a driver is.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/lockserver/lockserver/conformance/internal/report"
	"github.com/lockserver/lockserver/conformance/internal/suite"
)

const usage = `Lockconform tests a client of a lock server (an SDK) by way of a driver, a thin program around it.

  lockconform run [flags] -- DRIVER [ARGUMENT...]      a driver's command
  lockconform run [flags] --image IMAGE                a driver's image, in Docker
  lockconform run [flags] --drivers DIR                drivers of a directory, each with its driver.yaml
  lockconform run --list [--case PREFIX,...]           the cases

It ends with 0 if all went well, 1 if a case failed, and 2 if it could not be played.

Flags of run:
`

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	os.Exit(run(ctx, os.Args[1:], os.Stdout, os.Stderr))
}

// run is the command, and gives its exit status.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	o := suite.Usual()
	f := flag.NewFlagSet("lockconform", flag.ContinueOnError)
	f.SetOutput(stderr)
	list := f.Bool("list", false, "list the cases instead of playing them")
	dir := f.String("report", "", "write report.md, report.json and junit.xml into this `directory`")
	format := f.String("format", "text", "what standard output gets: `text`, json or junit")
	f.Func("case", "play only cases whose ids begin with one of these `prefixes`, such as expiry/,loss/renewing", into(&o.Cases))
	f.StringVar(&o.Drivers, "drivers", "", "test the drivers in this `directory`")
	f.Func("driver", "only those of these `names`; wire is the server itself", into(&o.Names))
	f.StringVar(&o.Transport, "transport", "", "only by this `transport` where a driver has two: session or http")
	f.StringVar(&o.Image, "image", "", "test the driver that is the entry point of this `image`; goes with --docker")
	f.BoolVar(&o.Docker, "docker", false, "run server and drivers as containers")
	f.StringVar(&o.Server, "server", "", "the server's `binary` (default: lockserver on the PATH)")
	f.BoolVar(&o.Cluster, "cluster", false, "each server is a cluster, which is reached through a server that stands by")
	f.StringVar(&o.Etcd, "etcd", "", "the `binary` of the clusters' etcd (default: etcd on the PATH)")
	f.IntVar(&o.Parallel, "parallel", o.Parallel, "play so many cases at once")
	f.DurationVar(&o.Tolerance, "tolerance", o.Tolerance, "by how much anything may be late")
	f.Usage = func() {
		fmt.Fprint(f.Output(), usage)
		f.PrintDefaults()
	}
	fail := func(err error) int {
		fmt.Fprintln(stderr, "lockconform:", err)
		return 2
	}
	if len(args) > 0 && args[0] == "run" {
		args = args[1:]
	} else if len(args) == 0 || !strings.HasPrefix(args[0], "-") {
		f.Usage()
		return 2
	}
	if err := f.Parse(args); errors.Is(err, flag.ErrHelp) {
		return 0
	} else if err != nil {
		return 2
	}
	if o.Transport != "" && o.Transport != suite.Session && o.Transport != suite.HTTP {
		return fail(fmt.Errorf("there is no transport %q, only session and http", o.Transport))
	}
	if *list {
		some, err := suite.Cases(o.Cases)
		if err != nil {
			return fail(err)
		}
		for _, c := range some {
			fmt.Fprintf(stdout, "%s\t%s\n", c.ID, c.Title)
		}
		return 0
	}
	render := report.Formats[*format]
	if render == nil {
		return fail(fmt.Errorf("there is no format %q, only text, json and junit", *format))
	}
	var err error
	if o.Command, err = fullPaths(f.Args()); err != nil {
		return fail(err)
	}
	if !o.Docker {
		if o.Server, err = binary(o.Server, "lockserver"); err != nil {
			return fail(fmt.Errorf("%w; --server names one, and this installs it: go install github.com/lockserver/lockserver/server/cmd/lockserver@latest", err))
		}
		if o.Cluster {
			if o.Etcd, err = binary(o.Etcd, "etcd"); err != nil {
				return fail(fmt.Errorf("%w; --etcd names one of version 3.6 or newer", err))
			}
		}
	}
	rep, err := suite.Run(ctx, o)
	if rep != nil && len(rep.Results) > 0 {
		if *dir != "" {
			err = errors.Join(err, rep.Write(*dir))
		}
		text, e := render(rep)
		_, failed := stdout.Write(text)
		err = errors.Join(err, e, failed)
	}
	if err != nil {
		return fail(err)
	}
	if rep.Good() {
		return 0
	}
	return 1
}

// binary is the full path of the one that is given, or else of the one of that name that is installed.
func binary(given, name string) (string, error) {
	if given == "" {
		given = name
	} else if !strings.Contains(given, "/") {
		given = "./" + given
	}
	path, err := exec.LookPath(given)
	if err != nil {
		return "", err
	}
	return filepath.Abs(path)
}

// into adds what is separated by commas to a list.
func into(items *[]string) func(string) error {
	return func(s string) error {
		*items = append(*items, strings.FieldsFunc(s, func(c rune) bool { return c == ',' || c == ' ' })...)
		return nil
	}
}

// fullPaths makes the paths of files in a command full ones, as a driver runs in a directory of its own.
func fullPaths(command []string) ([]string, error) {
	for i, word := range command {
		if _, err := os.Stat(word); err == nil {
			full, err := filepath.Abs(word)
			if err != nil {
				return nil, err
			}
			command[i] = full
		}
	}
	return command, nil
}
