// Package e2e proves the SDK against real server processes, through a network that fails, beside processes that are killed.
package e2e

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
)

// soon is enough for anything that should take milliseconds, on a machine that is busy with other things.
const soon = 20 * time.Second

var quick = settings.Bounds{BackoffFirst: 5 * time.Millisecond, BackoffMost: 50 * time.Millisecond}

// fixture is what the tests share.
type fixture struct {
	binary string
	server *servertest.Server
}

var shared fixture // set once by TestMain, which has no other way to hand things to tests

func TestMain(m *testing.M) {
	if os.Getenv(childRole) != "" {
		os.Exit(child())
	}
	code, err := run(m)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	os.Exit(code)
}

func run(m *testing.M) (code int, err error) {
	dir, err := os.MkdirTemp("", "lockserver-sdk-go-e2e-")
	if err != nil {
		return 1, err
	}
	defer os.RemoveAll(dir)
	if shared.binary, err = servertest.Build(dir); err != nil {
		return 1, err
	}
	if shared.server, err = servertest.Start(shared.binary, dir, "--store", "memory"); err != nil {
		return 1, err
	}
	defer func() {
		if stopped := shared.server.Stop(); err == nil {
			err = stopped
		}
	}()
	return m.Run(), nil
}

func newClient(t testing.TB, addr string, bounds settings.Bounds, opts ...lockserver.Option) *lockserver.Client {
	t.Helper()
	client, err := lockserver.New(append([]lockserver.Option{
		lockserver.WithAddr(addr), lockserver.WithSecret(servertest.Secret), lockserver.WithoutDotEnv(), func(s *settings.Settings) { s.Bounds = bounds },
	}, opts...)...)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, client.Close()) })
	return client
}

func within(t testing.TB, d time.Duration) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), d)
	t.Cleanup(cancel)
	return ctx
}

func requireFree(t testing.TB, client *lockserver.Client, resource string) {
	t.Helper()
	info, err := client.Show(within(t, soon), resource)
	require.ErrorIs(t, err, lockserver.ErrNotFound, "%+v", info)
}

// onOneStore returns what starts a server, each on the data that the one before it has left.
func onOneStore(t testing.TB) (start func() *servertest.Server) {
	dir := t.TempDir()
	return func() *servertest.Server {
		server, err := servertest.Start(shared.binary, dir, "--store", "disk:data")
		require.NoError(t, err)
		t.Cleanup(server.Kill)
		return server
	}
}

func eventually(t testing.TB, what string, f func() bool) {
	t.Helper()
	require.Eventually(t, f, soon, 5*time.Millisecond, what)
}

func waiters(t testing.TB, client *lockserver.Client, resource string) int {
	t.Helper()
	info, err := client.Show(within(t, soon), resource)
	if err != nil {
		require.ErrorIs(t, err, lockserver.ErrNotFound)
		return 0
	}
	return info.Waiters
}
