package e2e

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	lockserver "github.com/lockserver/lockserver/sdk-go"
	"github.com/lockserver/lockserver/sdk-go/internal/servertest"
)

// childRole in the environment makes this test binary a holder in a process of its own, which can be killed and stopped.
const (
	childRole = "LOCKSERVER_E2E_CHILD"
	childLock = "LOCKSERVER_E2E_RESOURCE"
)

// child holds a scope. It says "held", then answers every line on its input with the state of its lock, and ends with its input.
func child() int {
	client, err := lockserver.New(lockserver.WithoutDotEnv())
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer client.Close()
	err = client.WithLock(context.Background(), os.Getenv(childLock), func(ctx context.Context) error {
		lock := lockserver.FromContext(ctx)
		fmt.Println("held")
		for lines := bufio.NewScanner(os.Stdin); lines.Scan(); {
			fmt.Println(lock.Err() != nil, ctx.Err() != nil)
		}
		return nil
	}, lockserver.Expire(2*time.Second))
	if errors.Is(err, lockserver.ErrLockLost) {
		return 3
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}

type holder struct {
	cmd *exec.Cmd
	in  io.WriteCloser
	out *bufio.Scanner
}

func startHolder(t *testing.T, resource string) *holder {
	t.Helper()
	self, err := os.Executable()
	require.NoError(t, err)
	h := &holder{cmd: exec.Command(self)}
	h.cmd.Env = append(os.Environ(), childRole+"=holder", childLock+"="+resource,
		"LOCKSERVER_ADDR="+shared.server.Addr(), "LOCKSERVER_SECRET="+servertest.Secret, "LOCKSERVER_OWNER=")
	h.cmd.Stderr = os.Stderr
	h.in, err = h.cmd.StdinPipe()
	require.NoError(t, err)
	out, err := h.cmd.StdoutPipe()
	require.NoError(t, err)
	h.out = bufio.NewScanner(out)
	require.NoError(t, h.cmd.Start())
	t.Cleanup(func() {
		_ = h.cmd.Process.Kill()
		_ = h.cmd.Wait() // most tests have done both
	})
	require.Equal(t, "held", h.line(t))
	return h
}

func (h *holder) line(t *testing.T) string {
	t.Helper()
	require.True(t, h.out.Scan(), "the holder said nothing: %v", h.out.Err())
	return h.out.Text()
}

func (h *holder) ask(t *testing.T) string {
	t.Helper()
	_, err := fmt.Fprintln(h.in, "?")
	require.NoError(t, err)
	return h.line(t)
}

// A holder that is killed keeps its scope's lock for one lease and no longer.
func TestKilledHolder(t *testing.T) {
	t.Parallel()
	name, ctx := servertest.UniqueName(), within(t, soon)
	client := newClient(t, shared.server.Addr(), quick)
	h := startHolder(t, name)
	require.NoError(t, h.cmd.Process.Kill())
	_ = h.cmd.Wait() // killed
	start := time.Now()
	_, err := client.TryAcquire(ctx, name)
	require.ErrorIs(t, err, lockserver.ErrLocked)
	lock, err := client.Acquire(ctx, name)
	require.NoError(t, err)
	require.Less(t, time.Since(start), 10*time.Second)
	_, err = lock.Release(ctx)
	require.NoError(t, err)
}

// A holder that was stopped for longer than its lease knows, by the first look, that the lock is gone.
func TestStoppedHolder(t *testing.T) {
	t.Parallel()
	name, ctx := servertest.UniqueName(), within(t, soon)
	client := newClient(t, shared.server.Addr(), quick)
	h := startHolder(t, name)
	require.Equal(t, "false false", h.ask(t))
	require.NoError(t, h.cmd.Process.Signal(syscall.SIGSTOP))
	lock, err := client.Acquire(ctx, name)
	require.NoError(t, err)
	_, err = fmt.Fprintln(h.in, "?") // waits for it, so that it is read before any timer has run
	require.NoError(t, err)
	require.NoError(t, h.cmd.Process.Signal(syscall.SIGCONT))
	require.Regexp(t, "^true ", h.line(t))
	require.NoError(t, lock.Renew(ctx, 0))
	require.NoError(t, h.in.Close())
	require.Error(t, h.cmd.Wait())
	require.Equal(t, 3, h.cmd.ProcessState.ExitCode(), "its scope ends with ErrLockLost")
	released, err := lock.Release(ctx)
	require.NoError(t, err)
	require.True(t, released, "and frees nobody else's lock")
}

// Waiters outlive a restart and a crash of the server, and so do the locks on its disk; nobody gets in twice.
func TestRestartAndKillUnderWaiters(t *testing.T) {
	t.Parallel()
	for name, end := range map[string]func(*servertest.Server) error{
		"SIGTERM": (*servertest.Server).Stop,
		"SIGKILL": func(s *servertest.Server) error { s.Kill(); return nil },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			start := onOneStore(t)
			server := start()
			net := newNetwork(t, server.Addr())
			client := newClient(t, net.addr(), quick)
			name, ctx := servertest.UniqueName(), within(t, 2*soon)
			lock, err := client.Acquire(ctx, name)
			require.NoError(t, err)
			leased, err := client.Acquire(ctx, name+"-leased", lockserver.Expire(10*time.Second), lockserver.Renewed())
			require.NoError(t, err)

			const n = 20
			var inside, done atomic.Int64
			last := lock.Token()
			var group sync.WaitGroup
			for range n {
				group.Go(func() {
					err := client.WithLock(ctx, name, func(ctx context.Context) error {
						if inside.Add(1) != 1 {
							t.Error("two at once")
						}
						defer inside.Add(-1)
						if token := lockserver.FromContext(ctx).Token(); token <= last {
							t.Errorf("token %d after %d", token, last)
						} else {
							last = token
						}
						done.Add(1)
						return nil
					})
					if err != nil {
						t.Error(err)
					}
				})
			}
			eventually(t, "the waiters", func() bool { return waiters(t, client, name) == n })
			require.NoError(t, end(server))
			server = start()
			net.leadTo(server.Addr())
			eventually(t, "the waiters again", func() bool { return waiters(t, client, name) == n })
			require.Zero(t, done.Load(), "the lock outlived the server")
			require.NoError(t, lock.Err())
			require.NoError(t, leased.Renew(ctx, 0))

			released, err := lock.Release(ctx)
			require.NoError(t, err)
			require.True(t, released)
			group.Wait()
			require.EqualValues(t, n, done.Load())
			released, err = leased.Release(ctx)
			require.NoError(t, err)
			require.True(t, released)
			requireFree(t, client, name)
		})
	}
}

// A server that is stopped for a while, without being gone, costs time and nothing else.
func TestFrozenServer(t *testing.T) {
	t.Parallel()
	server, err := servertest.Start(shared.binary, t.TempDir(), "--store", "memory")
	require.NoError(t, err)
	t.Cleanup(server.Kill)
	bounds := quick
	bounds.Grace = 50 * time.Millisecond
	client, name, ctx := newClient(t, server.Addr(), bounds), servertest.UniqueName(), within(t, soon)
	lock, err := client.Acquire(ctx, name, lockserver.Expire(15*time.Second), lockserver.Renewed())
	require.NoError(t, err)
	require.NoError(t, server.Freeze())
	other := servertest.UniqueName()
	_, err = client.Acquire(within(t, 200*time.Millisecond), other)
	require.ErrorIs(t, err, context.DeadlineExceeded)
	require.NoError(t, lock.Err())
	require.NoError(t, server.Thaw())
	eventually(t, "what the frozen server got to hear is given back", func() bool {
		_, err := client.Show(ctx, other)
		return errors.Is(err, lockserver.ErrNotFound)
	})
	require.NoError(t, lock.Renew(ctx, 0))
	released, err := lock.Release(ctx)
	require.NoError(t, err)
	require.True(t, released)
}

// Many goroutines on one client, over a network that breaks all the time, before a server that is killed twice: never two at once,
// tokens only rise, everybody gets through, and nothing stays behind.
func TestExclusionThroughTrouble(t *testing.T) {
	t.Parallel()
	start := onOneStore(t)
	server := start()
	net := newNetwork(t, server.Addr())
	bounds := quick
	bounds.Cleanup = soon // a release waits for the next server, however long its start takes
	client, name, ctx := newClient(t, net.addr(), bounds), servertest.UniqueName(), within(t, 3*soon)

	const goroutines = 16
	stop := make(chan struct{})
	var inside, rounds, gaveUp atomic.Int64
	last := int64(0)
	var group sync.WaitGroup
	for i := range goroutines {
		group.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				own, cancel := ctx, context.CancelFunc(func() {})
				if i%4 == 0 { // some are impatient
					own, cancel = context.WithTimeout(ctx, 30*time.Millisecond)
				}
				lock, err := client.Acquire(own, name)
				cancel()
				if errors.Is(err, context.DeadlineExceeded) && ctx.Err() == nil {
					gaveUp.Add(1)
					continue
				}
				if err != nil {
					t.Error(err)
					return
				}
				if inside.Add(1) != 1 {
					t.Error("two at once")
				}
				if lock.Token() <= last {
					t.Errorf("token %d after %d", lock.Token(), last)
				}
				last = lock.Token()
				rounds.Add(1)
				inside.Add(-1)
				if released, err := lock.Release(ctx); err != nil || !released {
					t.Errorf("released %v: %v", released, err)
				}
			}
		})
	}
	for i := range 6 {
		cure := net.poison("limit_data", "downstream", map[string]any{"bytes": 60 * i})
		time.Sleep(100 * time.Millisecond)
		cure()
		net.poison("reset_peer", "downstream", map[string]any{"timeout": 10})()
		time.Sleep(100 * time.Millisecond)
		if i%3 == 2 {
			server.Kill()
			server = start()
			net.leadTo(server.Addr())
		}
	}
	close(stop)
	group.Wait()
	t.Logf("%d rounds, %d gave up", rounds.Load(), gaveUp.Load())
	require.Greater(t, rounds.Load(), int64(20))
	require.NoError(t, client.Close()) // whatever still had to be cancelled is
	requireFree(t, newClient(t, server.Addr(), quick), name)
}
