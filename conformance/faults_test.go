package conformance_test

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.yaml.in/yaml/v3"

	"github.com/lockserver/lockserver/conformance"
	"github.com/lockserver/lockserver/conformance/internal/cases"
	"github.com/lockserver/lockserver/conformance/internal/driver"
	"github.com/lockserver/lockserver/conformance/internal/place"
	"github.com/lockserver/lockserver/conformance/internal/report"
	"github.com/lockserver/lockserver/conformance/internal/suite"
)

// fault is one deliberate fault and the case that is there to catch it.
type fault struct {
	Fault string `yaml:"fault"`
	Says  string `yaml:"says"`
	Case  string `yaml:"case"`
	Fails string `yaml:"fails"` // what the failure must look like, so that no other failure passes for it
}

// impatient is how long a fault may take to show; what is right is seen long before.
const impatient = 10 * time.Second

func loadFaults(t *testing.T, file string) []fault {
	t.Helper()
	b, err := os.ReadFile(file)
	require.NoError(t, err)
	var doc struct {
		Faults []fault `yaml:"faults"`
	}
	d := yaml.NewDecoder(bytes.NewReader(b))
	d.KnownFields(true)
	require.NoError(t, d.Decode(&doc))
	require.NotEmpty(t, doc.Faults)
	return doc.Faults
}

func caseByID(t *testing.T, id string) *cases.Case {
	t.Helper()
	all, err := cases.Load(conformance.Files)
	require.NoError(t, err)
	i := slices.IndexFunc(all, func(c *cases.Case) bool { return c.ID == id })
	require.GreaterOrEqual(t, i, 0, "there is no case %s", id)
	return all[i]
}

// requireCaught demands that exactly the expected failure happened.
func requireCaught(t *testing.T, f fault, rep *report.Report) {
	t.Helper()
	require.Len(t, rep.Results, 1)
	r := rep.Results[0]
	require.Equal(t, report.Fail, r.Verdict, "%s (%s) was not caught by %s: %s", f.Fault, f.Says, f.Case, r.Reason)
	require.Regexp(t, f.Fails, r.Failure, "%s failed otherwise than expected", f.Case)
}

// requireAllCaught demands that each case passes without a fault, and catches its own. play plays cases with a fault, or with "none".
func requireAllCaught(t *testing.T, faults []fault, play func(*testing.T, string, ...*cases.Case) *report.Report) {
	t.Helper()
	t.Run("none", func(t *testing.T) {
		t.Parallel()
		var all []*cases.Case
		for _, f := range faults {
			all = append(all, caseByID(t, f.Case))
		}
		for _, r := range play(t, "none", all...).Results {
			require.Equal(t, report.Pass, r.Verdict, "%s fails without any fault: %s%s", r.Case, r.Failure, r.Reason)
		}
	})
	for _, f := range faults {
		t.Run(f.Fault, func(t *testing.T) {
			t.Parallel()
			requireCaught(t, f, play(t, f.Fault, caseByID(t, f.Case)))
		})
	}
}

// TestFaultsOfSDKsAreCaught plays the broken driver: right without a fault, and with each fault caught by the case made for it.
func TestFaultsOfSDKsAreCaught(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	t.Cleanup(cancel)
	faults := loadFaults(t, "drivers/broken/faults.yaml")
	specs := drivers(t)
	i := slices.IndexFunc(specs, func(s *driver.Spec) bool { return s.Name == "broken" })
	require.GreaterOrEqual(t, i, 0)
	stage := newStage(t, ctx, serverBinary(t, ctx))

	play := func(t *testing.T, name string, some ...*cases.Case) *report.Report {
		entry := suite.Entry{DriverSpec: place.DriverSpec{Name: "broken", Command: append(specs[i].Command(), name)}}
		rep, err := (&suite.Matrix{Stage: stage, Cases: some, Drivers: []suite.Entry{entry}, Parallel: 16}).Play(ctx)
		if name != "shows-secret" { // that one is also caught by the runner itself
			require.NoError(t, err)
		}
		return rep
	}
	requireAllCaught(t, faults, play)
}

// TestFaultsOfSessionsAreCaught plays the driver of the Go SDK, built to be wrong about its session in one way at a time.
func TestFaultsOfSessionsAreCaught(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	t.Cleanup(cancel)
	binary := filepath.Join(t.TempDir(), "driver")
	build := exec.CommandContext(ctx, "go", "build", "-tags=faults", "-o", binary, ".")
	build.Dir, build.Env = "drivers/go", append(os.Environ(), "GOWORK=off")
	out, err := build.CombinedOutput()
	require.NoError(t, err, "%s", out)
	faults := loadFaults(t, "drivers/go/faults.yaml")
	stage := newStage(t, ctx, serverBinary(t, ctx))
	play := func(t *testing.T, name string, some ...*cases.Case) *report.Report {
		entry := suite.Entry{DriverSpec: place.DriverSpec{Name: "go", Command: []string{withFault(t, binary, name)}}}
		rep, err := (&suite.Matrix{Stage: stage, Cases: some, Drivers: []suite.Entry{entry}, Parallel: 8, Transport: suite.Session}).Play(ctx)
		require.NoError(t, err)
		return rep
	}
	requireAllCaught(t, faults, play)
}

// TestKnownFailures holds the runner to its word: a listed failure lets the run pass, and one that passes does not.
func TestKnownFailures(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	f := loadFaults(t, "drivers/broken/faults.yaml")[0]
	specs := drivers(t)
	i := slices.IndexFunc(specs, func(s *driver.Spec) bool { return s.Name == "broken" })
	require.GreaterOrEqual(t, i, 0)
	stage := newStage(t, ctx, serverBinary(t, ctx))
	for name, want := range map[string]report.Verdict{f.Fault: report.KnownFailure, "none": report.UnexpectedPass} {
		entry := suite.Entry{
			DriverSpec:    place.DriverSpec{Name: "broken", Command: append(specs[i].Command(), name)},
			KnownFailures: []driver.KnownFailure{{Case: f.Case, Reason: "its fault is deliberate"}},
		}
		rep, err := (&suite.Matrix{Stage: stage, Cases: []*cases.Case{caseByID(t, f.Case)}, Drivers: []suite.Entry{entry}, Parallel: 1}).Play(ctx)
		require.NoError(t, err)
		require.Len(t, rep.Results, 1)
		require.Equal(t, want, rep.Results[0].Verdict, rep.Results[0].Failure)
		require.Equal(t, want == report.KnownFailure, rep.Results[0].Verdict.Good())
	}
}

// TestFaultsOfServersAreCaught plays a server with one fault at a time, each caught by the case made for it.
func TestFaultsOfServersAreCaught(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	t.Cleanup(cancel)
	binary := serverBinary(t, ctx, "-tags=faults")
	faults := loadFaults(t, "broken/faults.yaml")
	t.Run("none", func(t *testing.T) { // the matrix may be played where a case does not apply
		t.Parallel()
		var all []*cases.Case
		for _, f := range faults {
			all = append(all, caseByID(t, f.Case))
		}
		stage := newStage(t, ctx, binary)
		rep, err := (&suite.Matrix{Stage: stage, Cases: all, Wire: true, Parallel: 16}).Play(ctx)
		require.NoError(t, err)
		require.Len(t, rep.Results, len(all))
		for _, r := range rep.Results {
			require.Equal(t, report.Pass, r.Verdict, "%s fails without any fault: %s%s", r.Case, r.Failure, r.Reason)
		}
	})
	for _, f := range faults {
		t.Run(f.Fault, func(t *testing.T) {
			t.Parallel()
			one := caseByID(t, f.Case)
			require.True(t, one.Wire, "a server's fault is caught on the wire")
			stage := newStage(t, ctx, withFault(t, binary, f.Fault))
			rep, err := (&suite.Matrix{Stage: stage, Cases: []*cases.Case{one}, Wire: true, Parallel: 1}).Play(ctx)
			require.NoError(t, err)
			requireCaught(t, f, rep)
		})
	}
}

// withFault is a command that runs a server or driver with a fault.
func withFault(t *testing.T, binary, name string) string {
	t.Helper()
	command := filepath.Join(t.TempDir(), "lockserver")
	require.NoError(t, os.WriteFile(command, fmt.Appendf(nil, "#!/bin/sh\nFAULT=%s exec %s \"$@\"\n", name, binary), 0o700))
	return command
}
