// Command lockprove checks the promises of a lock server under bad luck, with clients of every kind at once.
package main

import (
	"context"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"os/signal"
	"syscall"

	"github.com/lockserver/lockserver/conformance/internal/prove"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	os.Exit(run(ctx))
}

// run is the command, and gives its exit status: 1 if a promise was broken, 2 if it could not be checked.
func run(ctx context.Context) int {
	o := prove.Usual()
	flag.DurationVar(&o.For, "for", o.For, "how `long`")
	flag.DurationVar(&o.Round, "round", o.Round, "how `long` until all comes to rest and is checked")
	flag.Uint64Var(&o.Seed, "seed", rand.Uint64()>>33, "of the faults; the same has the same schedule") //nolint:gosec // no secret
	flag.StringVar(&o.Fault, "fault", "", "deliberate `fault` of the server, of broken/prove.yaml")
	flag.StringVar(&o.Out, "out", o.Out, "`directory` for the history and the pictures of what is wrong")
	server := flag.String("server", "../server", "`directory` of the server's sources")
	drivers := flag.String("drivers", "drivers", "`directory` of the drivers of the SDKs")
	faults := flag.String("faults", "broken/prove.yaml", "`file` of the deliberate faults")
	cluster := flag.Bool("cluster", false, "three servers on three members of etcd, in place of one server on its disk")
	flag.Parse()
	o.Log = os.Stdout
	fail := func(err error) int {
		fmt.Fprintln(os.Stderr, "lockprove:", err)
		return 2
	}
	built, err := os.MkdirTemp("", "lockprove-")
	if err != nil {
		return fail(err)
	}
	defer os.RemoveAll(built)
	if o.Server, err = prove.BuildWith(ctx, *server, built, *faults, o.Fault); err != nil {
		return fail(err)
	}
	if *cluster {
		if o.Etcd, err = prove.BuildEtcd(ctx, *server, built); err != nil {
			return fail(err)
		}
	}
	specs, unlock, err := prove.Drivers(ctx, *drivers)
	if err != nil {
		return fail(err)
	}
	defer func() { _ = unlock() }() // the process ends
	o.Drivers = specs
	rep, err := prove.Run(ctx, o)
	if rep != nil {
		fmt.Print(rep)
	}
	switch {
	case err != nil:
		return fail(err)
	case len(rep.Wrong) > 0:
		return 1
	}
	return 0
}
