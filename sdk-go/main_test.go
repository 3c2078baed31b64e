package lockserver_test

import (
	"context"
	"fmt"
	"os"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	lockserver "github.com/lockserver/lockserver/sdk-go"
	"github.com/lockserver/lockserver/sdk-go/internal/servertest"
	"github.com/lockserver/lockserver/sdk-go/internal/settings"
	"github.com/lockserver/lockserver/sdk-go/internal/testclock"
)

// The tests and the examples share one real server; LOCKSERVER_ADDR and LOCKSERVER_SECRET lead to it.
func TestMain(m *testing.M) {
	code, err := run(m)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	os.Exit(code)
}

func run(m *testing.M) (code int, err error) {
	dir, err := os.MkdirTemp("", "lockserver-sdk-go-")
	if err != nil {
		return 1, err
	}
	defer os.RemoveAll(dir)
	binary, err := servertest.Build(dir)
	if err != nil {
		return 1, err
	}
	server, err := servertest.Start(binary, dir, "--store", "memory")
	if err != nil {
		return 1, err
	}
	defer func() {
		if stopped := server.Stop(); err == nil {
			err = stopped
		}
	}()
	for name, value := range map[string]string{
		"LOCKSERVER_ADDR": server.Addr(), "LOCKSERVER_SECRET": servertest.Secret, "LOCKSERVER_OWNER": "",
	} {
		if err := os.Setenv(name, value); err != nil {
			return 1, err
		}
	}
	return m.Run(), nil
}

// newClient returns a client of the real server, or of another that the options name.
func newClient(t testing.TB, opts ...lockserver.Option) *lockserver.Client {
	t.Helper()
	client, err := lockserver.New(opts...)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, client.Close()) })
	return client
}

func withBounds(b settings.Bounds) lockserver.Option {
	return func(s *settings.Settings) { s.Bounds = b }
}

func withClock(c *testclock.Clock) lockserver.Option {
	return func(s *settings.Settings) { s.Clock = c.Now }
}

// within is a context for what must not take long.
func within(t testing.TB, d time.Duration) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), d)
	t.Cleanup(cancel)
	return ctx
}

// soon is enough for anything that should take milliseconds, on a machine that is busy with other things.
const soon = 20 * time.Second

// requireFree fails if anybody holds or awaits the resource.
func requireFree(t testing.TB, client *lockserver.Client, resource string) {
	t.Helper()
	info, err := client.Show(within(t, soon), resource)
	require.ErrorIs(t, err, lockserver.ErrNotFound, "%+v", info)
}

// eventually waits for what another process does.
func eventually(t testing.TB, what string, f func() bool) {
	t.Helper()
	require.Eventually(t, f, soon, 5*time.Millisecond, what)
}

// waiters returns how many wait for the resource.
func waiters(t testing.TB, client *lockserver.Client, resource string) int {
	t.Helper()
	info, err := client.Show(within(t, soon), resource)
	if err != nil {
		require.ErrorIs(t, err, lockserver.ErrNotFound)
		return 0
	}
	return info.Waiters
}
