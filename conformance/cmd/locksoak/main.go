// Command locksoak puts a steady load of clients that come and go on a lock server, and tells whether anything grows.
package main

import (
	"context"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/lockserver/lockserver/conformance/internal/prove"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	os.Exit(run(ctx))
}

// run is the command, and gives its exit status: 1 if something grows, 2 if that could not be found out.
func run(ctx context.Context) int {
	length := flag.Duration("for", time.Hour, "how `long`")
	fault := flag.String("fault", "", "deliberate `fault` of the server, of broken/prove.yaml")
	out := flag.String("out", "report/soak", "`directory` for the samples and the plot")
	server := flag.String("server", "../server", "`directory` of the server's sources")
	faults := flag.String("faults", "broken/prove.yaml", "`file` of the deliberate faults")
	flag.Parse()
	fail := func(err error) int {
		fmt.Fprintln(os.Stderr, "locksoak:", err)
		return 2
	}
	built, err := os.MkdirTemp("", "locksoak-")
	if err != nil {
		return fail(err)
	}
	defer os.RemoveAll(built)
	o := prove.UsualSoak(*length)
	o.Fault, o.Out, o.Log, o.Seed = *fault, *out, os.Stdout, rand.Uint64() //nolint:gosec // no secret
	if o.Server, err = prove.BuildWith(ctx, *server, built, *faults, *fault); err != nil {
		return fail(err)
	}
	rep, err := prove.Soak(ctx, o)
	if rep != nil && len(rep.Levels) > 0 {
		fmt.Print(rep)
	}
	switch {
	case err != nil:
		return fail(err)
	case len(rep.Wrong()) > 0:
		return 1
	}
	return 0
}
