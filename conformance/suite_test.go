// Package conformance proves that every SDK handles locks the same way. README.md says how to run it.
package conformance

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/lockserver/lockserver/conformance/internal/cases"
	"github.com/lockserver/lockserver/conformance/internal/contract"
	"github.com/lockserver/lockserver/conformance/internal/driver"
	"github.com/lockserver/lockserver/conformance/internal/matrix"
	"github.com/lockserver/lockserver/conformance/internal/place"
	"github.com/lockserver/lockserver/conformance/internal/place/docker"
	"github.com/lockserver/lockserver/conformance/internal/place/local"
	"github.com/lockserver/lockserver/conformance/internal/play"
	"github.com/lockserver/lockserver/conformance/internal/report"
)

// Settings of a run, from the environment so that make and CI can give them.
const (
	envPlace     = "CONFORMANCE_PLACE"        // local (processes of this machine; the default) or docker (containers)
	envServer    = "LOCKSERVER_BIN"           // a server binary; without it, it is built from ../server (docker has the image instead)
	envDriver    = "CONFORMANCE_DRIVER"       // a command line: only this driver is tested
	envImage     = "CONFORMANCE_DRIVER_IMAGE" // the same in docker: an image whose entry point is a driver
	envNames     = "CONFORMANCE_NAMES"        // only these drivers of the repository, separated by commas
	envCases     = "CONFORMANCE_CASES"        // only cases whose ids begin with one of these, separated by commas
	envParallel  = "CONFORMANCE_PARALLEL"     // so many cases at once
	envTolerance = "CONFORMANCE_TOLERANCE"    // by how much anything may be late, such as 2s
	envReport    = "CONFORMANCE_REPORT"       // directory of the report; "report" without it
)

func TestMatrix(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 9*time.Minute)
	defer cancel()
	all := chosenCases(t)
	entries, wire := chosenDrivers(t, ctx)
	home := chosenPlace(t)
	run := &matrix.Run{Stage: newStage(t, ctx, home), Cases: all, Drivers: entries, Wire: wire, Parallel: parallel(t)}
	rep, err := run.Play(ctx)
	dir := os.Getenv(envReport)
	if dir == "" {
		dir = "report"
	}
	require.NoError(t, rep.Write(dir))
	require.NoError(t, err)
	for _, r := range rep.Results {
		t.Run(r.Driver+"/"+r.Case, func(t *testing.T) {
			switch {
			case r.Verdict == report.NotApplicable:
				t.Skip("not applicable: " + r.Reason)
			case !r.Verdict.Good():
				require.Failf(t, string(r.Verdict), "%s%s\n%s\n%s", r.Failure, r.Reason, strings.Join(r.Trace, "\n"), r.Stderr)
			}
		})
	}
	fmt.Printf("\n%s\n%d cases, %d drivers, %.1f s; the report is in %s\n", rep.Summary(), len(all), len(rep.Drivers), rep.Seconds, dir)
}

// chosenCases are all cases, or those that the environment names.
func chosenCases(t *testing.T) []*cases.Case {
	t.Helper()
	all, err := cases.Load("cases", "case.schema.json")
	require.NoError(t, err)
	prefixes := split(os.Getenv(envCases))
	if len(prefixes) == 0 {
		return all
	}
	var some []*cases.Case
	for _, c := range all {
		for _, p := range prefixes {
			if strings.HasPrefix(c.ID, p) {
				some = append(some, c)
				break
			}
		}
	}
	require.NotEmpty(t, some, "no case's id begins with %s", os.Getenv(envCases))
	return some
}

// chosenPlace is where the matrix is played.
func chosenPlace(t *testing.T) place.Place {
	t.Helper()
	if !inDocker(t) {
		return openPlace(t, serverBinary(t, t.Context()))
	}
	home, err := docker.New()
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, home.Close()) })
	return home
}

func inDocker(t *testing.T) bool {
	t.Helper()
	given := os.Getenv(envPlace)
	require.Contains(t, []string{"", "local", "docker"}, given, envPlace)
	return given == "docker"
}

// chosenDrivers are all drivers of the repository, those that the environment names, or the one whose command it gives.
func chosenDrivers(t *testing.T, ctx context.Context) (entries []matrix.Entry, wire bool) {
	t.Helper()
	if image := os.Getenv(envImage); image != "" {
		require.True(t, inDocker(t), "%s wants %s=docker", envImage, envPlace)
		return []matrix.Entry{{DriverSpec: place.DriverSpec{Name: "driver", Image: image}}}, false
	}
	if command := os.Getenv(envDriver); command != "" {
		require.False(t, inDocker(t), "%s is a command line; %s=docker wants %s", envDriver, envPlace, envImage)
		return []matrix.Entry{{DriverSpec: place.DriverSpec{Name: "driver", Command: []string{"sh", "-c", "exec " + command}}}}, false
	}
	var chosen []*driver.Spec
	names := split(os.Getenv(envNames))
	found := map[string]bool{matrix.Wire: true}
	for _, s := range drivers(t) {
		found[s.Name] = true
		if s.Hidden || (len(names) > 0 && !contains(names, s.Name)) {
			continue
		}
		chosen = append(chosen, s)
	}
	for _, n := range names {
		require.True(t, found[n], "there is no driver %s", n)
	}
	if !inDocker(t) {
		unlock, err := driver.Lock(ctx, ".build")
		require.NoError(t, err)
		t.Cleanup(func() { require.NoError(t, unlock()) })
		built, err := driver.Lock(ctx, driver.SDKs(".build"))
		require.NoError(t, err)
		require.NoError(t, errors.Join(driver.Build(ctx, chosen), built()))
	}
	for _, s := range chosen {
		entries = append(entries, matrix.Entry{DriverSpec: place.DriverSpec{Name: s.Name, Command: s.Command()}, KnownFailures: s.KnownFailures})
	}
	return entries, len(names) == 0 || contains(names, matrix.Wire)
}

func drivers(t *testing.T) []*driver.Spec {
	t.Helper()
	here, err := filepath.Abs(".")
	require.NoError(t, err)
	specs, err := driver.Discover(filepath.Join(here, "drivers"), filepath.Join(here, ".build"))
	require.NoError(t, err)
	return specs
}

// serverBinary is the server under test.
func serverBinary(t *testing.T, ctx context.Context) string {
	t.Helper()
	if given := os.Getenv(envServer); given != "" {
		require.FileExists(t, given, envServer)
		return given
	}
	binary := filepath.Join(t.TempDir(), "lockserver")
	build(t, ctx, "-o", binary)
	return binary
}

// build builds the server in the checkout beside the suite.
func build(t *testing.T, ctx context.Context, flags ...string) {
	t.Helper()
	cmd := exec.CommandContext(ctx, "go", append(append([]string{"build"}, flags...), "./cmd/lockserver")...)
	cmd.Dir = filepath.Join("..", "server")
	out, err := cmd.CombinedOutput()
	require.NoError(t, err, "%s", out)
}

// openPlace is where the suite runs what it tests.
func openPlace(t *testing.T, binary string) place.Place {
	t.Helper()
	home, err := local.New(binary)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, home.Close()) })
	return home
}

// newStage starts the shared server.
func newStage(t *testing.T, ctx context.Context, home place.Place) *play.Stage {
	t.Helper()
	schema, err := driver.LoadSchema("protocol.schema.json")
	require.NoError(t, err)
	table, err := contract.Load("contract.json")
	require.NoError(t, err)
	secret := play.NewSecret()
	server, err := home.Server(ctx, place.ServerSpec{Name: "shared", Secret: secret})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, server.Close()) })
	stage := &play.Stage{Place: home, Schema: schema, Contract: table, Tolerance: tolerance(t), Patience: 20 * time.Second, Shared: server, SharedSecret: secret}
	go stage.Stalls.Watch(t.Context())
	return stage
}

func parallel(t *testing.T) int {
	t.Helper()
	given := os.Getenv(envParallel)
	if given == "" {
		return 16
	}
	n, err := strconv.Atoi(given)
	require.NoError(t, err, envParallel)
	require.Positive(t, n, envParallel)
	return n
}

func tolerance(t *testing.T) time.Duration {
	t.Helper()
	given := os.Getenv(envTolerance)
	if given == "" {
		return 2 * time.Second
	}
	d, err := time.ParseDuration(given)
	require.NoError(t, err, envTolerance)
	return d
}

func split(list string) []string {
	var items []string
	for item := range strings.SplitSeq(list, ",") {
		if item = strings.TrimSpace(item); item != "" {
			items = append(items, item)
		}
	}
	return items
}

func contains(list []string, item string) bool {
	for _, x := range list {
		if x == item {
			return true
		}
	}
	return false
}
