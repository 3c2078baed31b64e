package prove_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/lockserver/lockserver/conformance/internal/driver"
	"github.com/lockserver/lockserver/conformance/internal/prove"
)

// setting is a length of time from the environment.
func setting(t *testing.T, name string, usual time.Duration) time.Duration {
	t.Helper()
	text := os.Getenv(name)
	if text == "" {
		return usual
	}
	length, err := time.ParseDuration(text)
	require.NoError(t, err, name)
	return length
}

// seed is another one each time, if SEED does not say which.
func seed(t *testing.T) uint64 {
	t.Helper()
	text := os.Getenv("SEED")
	if text == "" {
		return uint64(time.Now().UnixNano()) >> 16
	}
	n, err := strconv.ParseUint(text, 10, 64)
	require.NoError(t, err)
	return n
}

// progress is the log of a run, of which the test shows the last lines.
type progress struct{ t *testing.T }

func (p progress) Write(b []byte) (int, error) {
	p.t.Log(string(b[:len(b)-1]))
	return len(b), nil
}

func options(t *testing.T) prove.Options {
	t.Helper()
	o := prove.Usual()
	o.Out, o.Log, o.Seed = t.ArtifactDir(), progress{t}, seed(t)
	return o
}

// sdks are the drivers, built once for all tests; nobody else builds them again until the tests have ended.
var sdks = sync.OnceValues(func() (specs []*driver.Spec, err error) {
	specs, unlock, err := prove.Drivers(context.Background(), "../../drivers")
	if err == nil {
		atEnd = append(atEnd, unlock)
	}
	return specs, err
})

// atEnd is what is left to do when all tests have ended.
var atEnd []func() error

func TestMain(m *testing.M) {
	code := m.Run()
	for _, do := range atEnd {
		if err := do(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			code = 1
		}
	}
	os.Exit(code)
}

func requireKept(t *testing.T, o prove.Options) {
	t.Helper()
	o.For = setting(t, "PROVE_FOR", 6*time.Second)
	var err error
	o.Drivers, err = sdks()
	require.NoError(t, err)
	o.Server, err = prove.Build(t.Context(), server, t.TempDir())
	require.NoError(t, err)
	rep, err := prove.Run(t.Context(), o)
	require.NoError(t, err)
	t.Log(rep)
	require.Empty(t, rep.Wrong)
	require.Positive(t, rep.Checked.Order)
}

const server = "../../../server"

// A server on its disk keeps the promises under bad luck. PROVE_FOR makes it longer.
func TestServerKeepsPromises(t *testing.T) {
	t.Parallel()
	requireKept(t, options(t))
}

// So do servers that share etcd.
func TestClusterKeepsPromises(t *testing.T) {
	t.Parallel()
	o := options(t)
	o.Etcd = etcd(t)
	requireKept(t, o)
}

func etcd(t *testing.T) string {
	t.Helper()
	binary, err := prove.BuildEtcd(t.Context(), server, t.TempDir())
	require.NoError(t, err)
	return binary
}

// allBroken is a server with every fault of the file, one of which can be chosen, built once for all tests.
var allBroken = sync.OnceValues(func() (build, error) {
	dir, err := os.MkdirTemp("", "broken-")
	if err != nil {
		return build{}, err
	}
	var b build
	if b.faults, err = prove.ReadBroken("../../broken/prove.yaml"); err == nil {
		b.binary, err = prove.Build(context.Background(), server, dir, b.faults...)
	}
	atEnd = append(atEnd, func() error { return os.RemoveAll(dir) })
	return b, err
})

type build struct {
	binary string
	faults []prove.Broken
}

func broken(t *testing.T) (binary string, all []prove.Broken) {
	t.Helper()
	b, err := allBroken()
	require.NoError(t, err)
	require.GreaterOrEqual(t, len(b.faults), 12)
	return b.binary, b.faults
}

// few are the faults that are tried each time; PROVE_BROKEN=all tries all.
var few = []string{"one-permit-more", "early-expiry"}

// Each fault of the server is caught, by a promise that it breaks.
func TestBrokenServersAreCaught(t *testing.T) {
	t.Parallel()
	binary, all := broken(t)
	tried := os.Getenv("PROVE_BROKEN") == "all"
	for _, b := range all {
		if b.Soak || !tried && !slices.Contains(few, b.Fault) {
			continue
		}
		t.Run(b.Fault, func(t *testing.T) {
			t.Parallel()
			ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
			defer cancel()
			o := options(t)
			o.Server, o.Fault, o.For, o.Round, o.Drain = binary, b.Fault, 4*time.Minute, 4*time.Second, 15*time.Second
			o.Out = filepath.Join(o.Out, b.Fault)
			if b.Cluster {
				o.Etcd, o.Round = etcd(t), 6*time.Second
			}
			rep, err := prove.Run(ctx, o)
			require.NotNil(t, rep, "%v", err)
			require.NotEmpty(t, rep.Wrong, "%s: %s (%v)", b.Says, rep, err)
			require.True(t, slices.ContainsFunc(rep.Wrong, func(v prove.Violation) bool {
				return regexp.MustCompile(b.Promise).MatchString(v.Promise)
			}), "%s is caught otherwise than expected: %s", b.Fault, rep)
			t.Logf("caught after %d operations: %s", rep.Checked.Ops, rep.Wrong[0])
		})
	}
}
