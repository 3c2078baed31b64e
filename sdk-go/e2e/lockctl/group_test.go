package lockctl

import (
	"fmt"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// leaves starts a command that ends at once, with code 3, and leaves a process in the background that waits for a word in the file go.
func (w *world) leaves(args ...string) (j *job, left int) {
	w.t.Helper()
	require.NoError(w.t, syscall.Mkfifo(w.file("go"), 0o600))
	j = w.start(append(append([]string{"run"}, args...), "r", "--", "sh", "-c",
		`sh -c 'trap "" INT; trap "echo ended >> log; exit" TERM; echo $$ > left; read line < go; echo done >> log' & until [ -s left ]; do sleep 0.01; done; echo $$ > leader; exit 3`)...)
	leader := w.pid("leader")
	require.Eventually(w.t, func() bool { return state(leader) == 0 }, patience, tick)
	return j, w.pid("left")
}

func (w *world) goOn() { require.NoError(w.t, os.WriteFile(w.file("go"), []byte("\n"), 0o600)) }

// log is what the commands wrote there.
func (w *world) log() string {
	content, err := os.ReadFile(w.file("log"))
	require.NoError(w.t, err)
	return string(content)
}

// As the help warns, what is left in the background goes on without the lock.
func TestWithoutWaitGroupTheLockEndsWithTheCommand(t *testing.T) {
	w := newWorld(t)
	j, left := w.leaves()
	require.Equal(t, 3, j.wait(), j.stderr)
	require.False(t, w.held("r"))
	require.True(t, runs(left))
	w.goOn()
}

// With --wait-group the lock is held, and renewed, until the last of the group has ended; the exit code is the command's.
func TestWaitGroup(t *testing.T) {
	w := newWorld(t)
	j, left := w.leaves("--wait-group", "--expire", lease.String())
	for end := time.Now().Add(lease * 3 / 2); time.Now().Before(end); { // more than a lease: time has to pass
		require.True(t, w.held("r"), j.stderr)
	}
	require.True(t, runs(left))
	w.goOn()
	require.Equal(t, 3, j.wait(), j.stderr)
	require.False(t, runs(left))
	require.False(t, w.held("r"))
	require.Equal(t, "done\n", w.log())
	require.Empty(t, j.stderr.String())
}

// One that has left the group is not waited for.
func TestWaitGroupLetsDaemonsGo(t *testing.T) {
	w := newWorld(t)
	require.NoError(t, syscall.Mkfifo(w.file("go"), 0o600))
	j := w.start("run", "--wait-group", "r", "--", "sh", "-c",
		`sh -c 'echo $$ > left; read line < go; exec setsid sh -c "echo \$\$ > daemon; exec sleep 600"' & until [ -s left ]; do sleep 0.01; done; echo $$ > leader`)
	leader, left := w.pid("leader"), w.pid("left")
	require.Eventually(t, func() bool { return state(leader) == 0 }, patience, tick)
	require.True(t, w.held("r"))
	w.goOn()
	daemon := w.pid("daemon")
	defer syscall.Kill(daemon, syscall.SIGKILL)
	require.Equal(t, left, daemon, "the same process, in another session")
	require.Zero(t, j.wait(), j.stderr)
	require.True(t, runs(daemon))
	require.False(t, w.held("r"))
}

// A dead process that nobody has taken note of holds nothing up.
func TestWaitGroupAndZombies(t *testing.T) {
	w := newWorld(t)
	require.NoError(t, syscall.Mkfifo(w.file("go"), 0o600))
	j := w.start("run", "--wait-group", "r", "--", "sh", "-c",
		// The child stays in the group; its parent gets a session of its own, and does not care for it.
		`sh -c 'sh -c "read line < go" & echo $! > child; exec setsid sleep 600' & until [ -s child ]; do sleep 0.01; done; echo $! > parent`)
	child, parent := w.pid("child"), w.pid("parent")
	defer syscall.Kill(parent, syscall.SIGKILL)
	require.Eventually(t, func() bool { return strings.HasPrefix(commandLine(parent), "sleep") }, patience, tick)
	require.True(t, w.held("r"))
	w.goOn()
	require.Zero(t, j.wait(), j.stderr)
	require.Equal(t, byte('Z'), state(child))
}

// commandLine is what a process runs by now.
func commandLine(pid int) string {
	line, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
	if err != nil {
		return ""
	}
	return string(line)
}

// What is left of the group gets the signals that lockctl gets.
func TestWaitGroupForwardsSignals(t *testing.T) {
	w := newWorld(t)
	j, left := w.leaves("--wait-group")
	require.True(t, w.held("r"))
	j.signal(syscall.SIGTERM)
	require.Equal(t, 3, j.wait(), j.stderr)
	require.False(t, runs(left))
	require.Equal(t, "ended\n", w.log())
}

// What is left of the group must not work on without the lock either.
func TestWaitGroupIsGoneBeforeItsLease(t *testing.T) {
	for name, cut := range map[string]func(*world, *job){
		"server killed":  func(w *world, _ *job) { w.server.Kill() },
		"lockctl paused": func(_ *world, j *job) { j.signal(syscall.SIGSTOP) },
		"lockctl killed": func(_ *world, j *job) { j.signal(syscall.SIGKILL) },
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			j, left := w.leaves("--wait-group", "--expire", lease.String())
			cut(w, j)
			deadline := time.Now().Add(lease)
			for runs(left) {
				require.True(t, time.Now().Before(deadline), "it still runs at the deadline; %s", j.stderr)
				time.Sleep(time.Millisecond) // processes of others: nothing tells of their end
			}
			if name == "lockctl killed" {
				require.Equal(t, 128+int(syscall.SIGKILL), j.wait())
				return
			}
			j.signal(syscall.SIGCONT)
			require.Equal(t, 122, j.wait(), j.stderr)
		})
	}
}

// On a terminal, what is left is in the background, and Ctrl-C and Ctrl-Z reach it through lockctl.
func TestWaitGroupOnATerminal(t *testing.T) {
	w := newWorld(t)
	s := w.shell()
	// A shell has its children in the background ignore Ctrl-C.
	s.types(`"$LOCKCTL" run --wait-group --expire 60 r -- sh -c 'env --default-signal=INT sh -c "echo \$\$ > left; read line < never" & echo u""p'; echo co""de $?` + "\n")
	s.sees("up\r\n")
	left := w.pid("left")
	require.Eventually(t, func() bool { return s.foreground() != s.pid }, patience, tick)
	s.stops()
	require.Eventually(t, func() bool { return state(left) == 'T' }, patience, tick)
	require.True(t, w.held("r"))
	s.fg()
	require.Eventually(t, func() bool { return state(left) == 'S' }, patience, tick)
	s.types("\x03")
	s.sees("ready$ ")
	require.Eventually(t, func() bool { return !w.held("r") }, patience, tick)
}
