package conformance_test

import (
	"context"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/lockserver/lockserver/conformance/internal/driver"
	"github.com/lockserver/lockserver/conformance/internal/place/local"
	"github.com/lockserver/lockserver/conformance/internal/play"
	"github.com/lockserver/lockserver/conformance/internal/prove"
	"github.com/lockserver/lockserver/conformance/internal/report"
	"github.com/lockserver/lockserver/conformance/internal/suite"
)

// inDocker says where the tests run; those with the build tag docker run there.
var inDocker bool

// TestMatrix is `lockconform run` with the drivers of this repository.
func TestMatrix(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 14*time.Minute)
	defer cancel()
	o := suite.Usual()
	o.Drivers, o.Docker = "drivers", inDocker
	if !inDocker {
		o.Server = serverBinary(t, ctx)
	}
	matrix(t, ctx, o, "report")
}

// matrix plays, and fails with every case that does.
func matrix(t *testing.T, ctx context.Context, o suite.Options, into string) *report.Report {
	t.Helper()
	rep, err := suite.Run(ctx, o)
	if rep != nil {
		require.NoError(t, rep.Write(into))
	}
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
	t.Logf("\n%s\n%.1f s; the report is in %s", rep.Summary(), rep.Seconds, into)
	return rep
}

// clusterCases are played against clusters in every run: some of each kind, that do not last. `make cluster` plays all.
var clusterCases = []string{
	"durability/held", "durability/drain", "durability/second-signal", "events/kinds", "fairness/undeliverable", "session/operations", "session/connections", "session/draining", "wire/",
	"blocking/waits-until-released", "loss/evicted", "scoped/runs-and-releases", "session/used", "tokens/rise",
}

// TestCluster is `lockconform run --cluster`.
func TestCluster(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	o := suite.Usual()
	o.Drivers, o.Cases, o.Docker, o.Cluster = "drivers", clusterCases, inDocker, true
	if !inDocker {
		o.Server = serverBinary(t, ctx)
		var err error
		o.Etcd, err = prove.BuildEtcd(ctx, "../server", t.TempDir())
		require.NoError(t, err)
	}
	rep := matrix(t, ctx, o, filepath.Join("report", "cluster"))
	all, err := suite.Cases(clusterCases)
	require.NoError(t, err)
	alone := map[string]string{}
	for _, c := range all {
		if c.Alone != "" {
			alone[c.ID] = report.Alone + c.Alone
		}
	}
	require.NotEmpty(t, alone)
	for _, r := range rep.Results {
		if want, is := alone[r.Case]; is {
			require.Equal(t, report.NotApplicable, r.Verdict)
			require.Equal(t, want, r.Reason)
		}
	}
}

func drivers(t *testing.T) []*driver.Spec {
	t.Helper()
	all, _, err := suite.Drivers("drivers")
	require.NoError(t, err)
	return all
}

// serverBinary builds the server in the checkout beside the suite.
func serverBinary(t *testing.T, ctx context.Context, flags ...string) string {
	t.Helper()
	binary := filepath.Join(t.TempDir(), "lockserver")
	out, err := exec.CommandContext(ctx, "go", slices.Concat([]string{"build", "-C", "../server", "-o", binary}, flags, []string{"./cmd/lockserver"})...).CombinedOutput()
	require.NoError(t, err, "%s", out)
	return binary
}

// newStage is a stage for processes of this machine, on which what is wrong shows soon.
func newStage(t *testing.T, ctx context.Context, binary string) *play.Stage {
	t.Helper()
	home, err := local.New(binary)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, home.Close()) })
	stage, err := suite.NewStage(ctx, home)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, stage.Shared.Close()) })
	stage.Patience = impatient
	return stage
}
