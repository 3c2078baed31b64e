package lockctl

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestRunGivesTheCommandItsLockAndReleasesIt(t *testing.T) {
	w := newWorld(t)
	j := w.run("run", "--note", "why", "r/1", "--", "sh", "-c", `echo "$LOCKSERVER_RESOURCE $LOCKSERVER_TOKEN"; "$LOCKCTL" show --json "$LOCKSERVER_RESOURCE"; exit 7`)
	require.Equal(t, 7, j.code, j.stderr)
	resource, rest, _ := strings.Cut(j.stdout.String(), " ")
	token, shown, _ := strings.Cut(rest, "\n")
	require.Equal(t, "r/1", resource)
	require.Contains(t, shown, `"token": `+token+",")
	require.Contains(t, shown, `"note": "why"`)
	require.False(t, w.held("r/1"))
}

func TestExitCodes(t *testing.T) {
	w := newWorld(t)
	holder := w.start("run", "held", "--", "sh", "-c", "echo up; exec sleep 600")
	holder.says("up")
	require.NoError(t, os.WriteFile(w.file("plain"), nil, 0o600))
	for want, args := range map[int][][]string{
		0:   {{"run", "free", "--", "true"}, {"ls"}, {"show", "held"}, {"version"}, {"--help"}, {"run", "--help"}},
		1:   {{"run", "free", "--", "false"}, {"show", "free"}, {"force-release", "--yes", "free"}},
		120: {{"run", "--no-wait", "held", "--", "true"}},
		121: {{"run", "--timeout", "50ms", "held", "--", "true"}, {"run", "--timeout", "0", "held", "--", "true"}},
		125: {
			{},
			{"dance"},
			{"run"},
			{"run", "r"},
			{"run", "r", "--"},
			{"run", "r", "true"},
			{"run", "--expire", "10ms", "r", "--", "true"},
			{"run", "--expire", "soon", "r", "--", "true"},
			{"run", "--timeout", "-1", "r", "--", "true"},
			{"run", "--no-wait", "--timeout", "1", "r", "--", "true"},
			{"run", "--shared", "--limit", "2", "r", "--", "true"},
			{"run", "--limit", "0", "r", "--", "true"},
			{"show"},
			{"show", "a", "b"},
			{"ls", "x"},
			{"force-release", "held"},
			{"run", "a\nb", "--", "true"},
		},
		126: {{"run", "free", "--", "./plain"}, {"run", "free", "--", "/"}},
		127: {{"run", "free", "--", "no-such-command"}, {"run", "free", "--", "./no-such-file"}},
		143: {{"run", "free", "--", "sh", "-c", "kill -TERM $$"}},
	} {
		for _, a := range args {
			j := w.run(a...)
			require.Equal(t, want, j.code, "%q: %s", a, j.stderr)
			if want >= 120 && want < 128 {
				require.Contains(t, j.stderr.String(), "lockctl: ", "%q", a)
			}
		}
	}
	for _, env := range []string{"LOCKSERVER_SECRET=wrong", "LOCKSERVER_SECRET=", "LOCKSERVER_ADDR=a,,b"} {
		bad := *w
		bad.env = append(append([]string{}, w.env...), env)
		require.Equal(t, 123, bad.run("run", "free", "--", "true").code, env)
		require.Equal(t, 123, bad.run("ls").code, env)
	}
}

// A lease too short to end a command in is a slip in the call, and is told before any setting is looked at or a server asked.
func TestExpireTooShort(t *testing.T) {
	w := newWorld(t)
	w.env = append(w.env, "LOCKSERVER_SECRET=", "LOCKSERVER_ADDR=a,,b")
	for _, lease := range []string{"0", "2ms", "0.999", "999ms"} {
		j := w.run("run", "--expire", lease, "r", "--", "true")
		require.Equal(t, 125, j.code, j.stderr)
		require.Contains(t, j.stderr.String(), `lockctl: invalid value "`+lease+`" for flag -expire: allowed: 1s or more`)
		require.Empty(t, j.stdout.String())
	}
	require.Equal(t, 123, w.run("run", "--expire", "1", "r", "--", "true").code, "the settings are next")
}

func TestRunWaitsForItsTurn(t *testing.T) {
	w := newWorld(t)
	require.NoError(t, syscall.Mkfifo(w.file("go"), 0o600))
	first := w.start("run", "r", "--", "sh", "-c", "echo up; read line < go; echo first done >> log")
	first.says("up")
	second := w.start("run", "--timeout", "50s", "r", "--", "sh", "-c", "echo second >> log")
	require.Eventually(t, func() bool { l, _ := w.show("r"); return len(l.Queue) == 1 }, patience, 5*time.Millisecond)
	require.NoError(t, os.WriteFile(w.file("go"), []byte("\n"), 0o600))
	require.Zero(t, first.wait(), first.stderr)
	require.Zero(t, second.wait(), second.stderr)
	log, err := os.ReadFile(w.file("log"))
	require.NoError(t, err)
	require.Equal(t, "first done\nsecond\n", string(log))
}

func TestRunRenews(t *testing.T) {
	w := newWorld(t)
	j := w.start("run", "--expire", lease.String(), "r", "--", "sh", "-c", `echo "$LOCKSERVER_TOKEN"; exec sleep 600`)
	j.says("\n")
	for end := time.Now().Add(lease * 5 / 2); time.Now().Before(end); { // more than two leases: time has to pass
		l, held := w.show("r")
		require.True(t, held, j.stderr)
		require.Equal(t, strings.TrimSpace(j.stdout.String()), strconv.FormatInt(l.Holders[0].Token, 10))
	}
	j.signal(syscall.SIGTERM)
	require.Equal(t, 143, j.wait())
	require.False(t, w.held("r"))
}

func TestSharedAndLimit(t *testing.T) {
	w := newWorld(t)
	reader := w.start("run", "--shared", "book", "--", "sh", "-c", "echo up; exec sleep 600")
	reader.says("up")
	require.Zero(t, w.run("run", "--no-wait", "--shared", "book", "--", "true").code)
	require.Equal(t, 120, w.run("run", "--no-wait", "book", "--", "true").code)
	permit := w.start("run", "--limit", "2", "gpu", "--", "sh", "-c", "echo up; exec sleep 600")
	permit.says("up")
	require.Zero(t, w.run("run", "--no-wait", "--limit", "2", "gpu", "--", "true").code)
	require.Equal(t, 123, w.run("run", "--no-wait", "--limit", "3", "gpu", "--", "true").code, "another kind")
}

// Signals reach the command and what it started in its group.
func TestSignalsAreForwarded(t *testing.T) {
	w := newWorld(t)
	for _, s := range []syscall.Signal{syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP, syscall.SIGUSR1, syscall.SIGUSR2} {
		j := w.start("run", "r", "--", "sh", "-c", fmt.Sprintf("trap 'echo got it; exit 9' %d; sleep 600 & echo up; while :; do sleep 0.05; done", s))
		j.says("up")
		j.signal(s)
		require.Equal(t, 9, j.wait(), "%v: %s", s, j.stderr)
		require.Contains(t, j.stdout.String(), "got it")
	}
}

func TestSignalWhileWaitingLeavesNothing(t *testing.T) {
	w := newWorld(t)
	holder := w.start("run", "r", "--", "sh", "-c", "echo up; exec sleep 600")
	holder.says("up")
	waiter := w.start("run", "r", "--", "true")
	require.Eventually(t, func() bool { l, _ := w.show("r"); return len(l.Queue) == 1 }, patience, 5*time.Millisecond)
	waiter.signal(syscall.SIGINT)
	require.Equal(t, 130, waiter.wait())
	l, _ := w.show("r")
	require.Empty(t, l.Queue)
}

// The one try of --timeout 0 ends at a signal too, and not only when the silent server has had its 30 s.
func TestSignalWhileTryingOnce(t *testing.T) {
	for _, limit := range [][]string{{"--timeout", "0"}, {"--no-wait"}, {}} {
		t.Run(fmt.Sprint(limit), func(t *testing.T) {
			w := newWorld(t)
			silent, err := net.Listen("tcp", "127.0.0.1:0")
			require.NoError(t, err)
			defer silent.Close()
			w.env = append(w.env, "LOCKSERVER_ADDR="+silent.Addr().String())
			j := w.start(append(append([]string{"run"}, limit...), "r", "--", "true")...)
			connection, err := silent.Accept()
			require.NoError(t, err)
			defer connection.Close()
			j.signal(syscall.SIGTERM)
			select {
			case <-j.exited:
			case <-time.After(20 * time.Second):
				require.Fail(t, "lockctl goes on", j.stderr)
			}
			require.Equal(t, 143, j.code, j.stderr)
		})
	}
}

// lease is short, and long enough for a busy machine to renew in.
const lease = 3 * time.Second

// ignores writes its process id and that of a child, and ignores every polite signal; so does the child.
const ignores = `trap '' TERM INT HUP; sh -c 'trap "" TERM INT HUP; echo $$ > grandchild; while :; do sleep 0.05; done' & echo $$ > child; while :; do sleep 0.05; done`

// goneBefore waits for the end of such a command, and checks that nothing of it ran any more at the deadline.
func (w *world) goneBefore(deadline time.Time, j *job) {
	w.t.Helper()
	child, grandchild := w.pid("child"), w.pid("grandchild")
	for {
		looked := time.Now() // before the look: what this test sleeps through is not the command's
		if !runs(child) && !runs(grandchild) {
			return
		}
		require.True(w.t, looked.Before(deadline), "the command still runs at its deadline; %s", j.stderr)
		time.Sleep(time.Millisecond) // processes of others: nothing tells of their end
	}
}

// The lease cannot be renewed: a command that ignores SIGTERM, and its child, are gone before anybody else can have the lock.
func TestCommandIsGoneBeforeItsLease(t *testing.T) {
	for name, cut := range map[string]func(*world){
		"server paused": func(w *world) { require.NoError(w.t, w.server.Freeze()) },
		"server killed": func(w *world) { w.server.Kill() },
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			j := w.start("run", "--expire", lease.String(), "r", "--", "sh", "-c", ignores)
			w.pid("child")
			w.pid("grandchild")
			cut(w)
			// The last renewal was before the cut, so the lease ends at most its length after it.
			w.goneBefore(time.Now().Add(lease), j)
			require.Equal(t, 122, j.wait(), j.stderr)
			require.Contains(t, j.stderr.String(), "cannot be renewed")
			if name == "server killed" {
				require.Contains(t, j.stderr.String(), " ("+w.server.Addr()+": connection refused)\n")
			}
		})
	}
}

func TestCommandThatObeysHasTimeToCleanUp(t *testing.T) {
	w := newWorld(t)
	j := w.start("run", "--expire", lease.String(), "r", "--", "sh", "-c", `trap 'echo cleaned up; exit 0' TERM; echo up; while :; do sleep 0.05; done`)
	j.says("up")
	w.server.Kill()
	require.Equal(t, 122, j.wait(), j.stderr)
	require.Contains(t, j.stdout.String(), "cleaned up")
}

func TestEvictionEndsTheCommand(t *testing.T) {
	w := newWorld(t)
	j := w.start("run", "--expire", lease.String(), "r", "--", "sh", "-c", ignores)
	w.pid("child")
	w.pid("grandchild")
	require.Zero(t, w.run("force-release", "--yes", "r").code)
	w.goneBefore(time.Now().Add(lease), j)
	require.Equal(t, 122, j.wait(), j.stderr)
	require.Contains(t, j.stderr.String(), "lockctl: lock lost, the command is ended: somebody released it by force\n")
}

// Each pause is shorter than the third of the lease that renewal has for its retries, whenever it begins.
func TestShortPausesOfTheServerAreSurvived(t *testing.T) {
	w := newWorld(t)
	j := w.start("run", "--expire", lease.String(), "r", "--", "sh", "-c", "echo up; exec sleep 600")
	j.says("up")
	for end := time.Now().Add(2 * lease); time.Now().Before(end); { // most of the time, so that renewals fall into them
		require.NoError(t, w.server.Freeze())
		time.Sleep(lease / 6)
		require.NoError(t, w.server.Thaw())
		time.Sleep(lease / 12)
	}
	select {
	case <-j.exited:
		require.Fail(t, "the command was ended", j.stderr.String())
	default:
	}
	j.signal(syscall.SIGTERM)
	require.Equal(t, 143, j.wait())
}

// Stopped, lockctl can do nothing: its watchdog ends the command in time.
func TestStoppedForLongerThanTheLease(t *testing.T) {
	w := newWorld(t)
	j := w.start("run", "--expire", lease.String(), "r", "--", "sh", "-c", ignores)
	w.pid("child")
	w.pid("grandchild")
	j.signal(syscall.SIGSTOP)
	w.goneBefore(time.Now().Add(lease), j)
	require.Eventually(t, func() bool { return !w.held("r") }, patience, 10*time.Millisecond)
	j.signal(syscall.SIGCONT)
	require.Equal(t, 122, j.wait(), j.stderr)
	require.Contains(t, j.stderr.String(), "lock lost")
}

// Stopped for less than that, it goes on as if nothing had been.
func TestStoppedForLessThanTheLease(t *testing.T) {
	w := newWorld(t)
	require.NoError(t, syscall.Mkfifo(w.file("go"), 0o600))
	j := w.start("run", "--expire", "10s", "r", "--", "sh", "-c", "echo up; read line < go; exit 3")
	j.says("up")
	j.signal(syscall.SIGSTOP)
	time.Sleep(lease) // some of the lease has to pass
	j.signal(syscall.SIGCONT)
	require.NoError(t, os.WriteFile(w.file("go"), []byte("\n"), 0o600))
	require.Equal(t, 3, j.wait(), j.stderr)
}

// Killed without a chance, lockctl takes the command with it, and what that started; the lock ends with its lease.
func TestKilledLockctlTakesTheCommandWithIt(t *testing.T) {
	w := newWorld(t)
	j := w.start("run", "--expire", lease.String(), "r", "--", "sh", "-c", ignores)
	w.pid("child")
	w.pid("grandchild")
	j.signal(syscall.SIGKILL)
	w.goneBefore(time.Now().Add(lease), j)
	require.Eventually(t, func() bool { return !w.held("r") }, patience, 10*time.Millisecond)
}

// Of two around one another, each gives its command its own lock.
func TestRunWithinRun(t *testing.T) {
	w := newWorld(t)
	j := w.run("run", "outer", "--", "sh", "-c", `echo "$LOCKSERVER_TOKEN"; exec "$LOCKCTL" run inner -- sh -c 'env | grep ^LOCKSERVER_RESOURCE=; echo "$LOCKSERVER_TOKEN"'`)
	require.Zero(t, j.code, j.stderr)
	lines := strings.Fields(j.stdout.String())
	require.Len(t, lines, 3)
	require.Equal(t, "LOCKSERVER_RESOURCE=inner", lines[1])
	require.NotEqual(t, lines[0], lines[2])
}

// What nohup has ignored stays so.
func TestNohup(t *testing.T) {
	w := newWorld(t)
	cmd := exec.Command("nohup", binaries().lockctl, "run", "r", "--", "sh", "-c", "echo up; read line < go; exit 3")
	cmd.Dir, cmd.Env = w.dir, w.env
	require.NoError(t, syscall.Mkfifo(w.file("go"), 0o600))
	j := w.startCommand(cmd)
	j.says("up")
	j.signal(syscall.SIGHUP)
	require.NoError(t, os.WriteFile(w.file("go"), []byte("\n"), 0o600))
	require.Equal(t, 3, j.wait(), j.stderr)
}

// Two hundred contend; the marker that each makes and removes while it runs is never there twice.
func TestTwoHundredContendersRunOneAtATime(t *testing.T) {
	w := newWorld(t)
	const contenders = 200
	var all sync.WaitGroup
	for i := range contenders {
		all.Go(func() {
			cmd := w.command("run", "--expire", "60", "r", "--", "sh", "-c", `mkdir busy || exit 99; echo `+strconv.Itoa(i)+` >> log; rmdir busy`)
			if out, err := cmd.CombinedOutput(); err != nil {
				t.Errorf("contender %d: %v: %s", i, err, out)
			}
		})
	}
	all.Wait()
	log, err := os.ReadFile(w.file("log"))
	require.NoError(t, err)
	require.Len(t, strings.Fields(string(log)), contenders)
}

// Cron starts the next run while one is at work: it ends at once and says so.
func TestCronOverlap(t *testing.T) {
	w := newWorld(t)
	require.NoError(t, syscall.Mkfifo(w.file("go"), 0o600))
	script := filepath.Join(w.dir, "report")
	require.NoError(t, os.WriteFile(script, []byte("#!/bin/sh\necho run >> log\nread line < go\n"), 0o700))
	first := w.start("run", "--no-wait", "nightly-report", "--", "./report")
	w.appears("log")
	for range 3 {
		overlap := w.run("run", "--no-wait", "nightly-report", "--", "./report")
		require.Equal(t, 120, overlap.code)
		require.Contains(t, overlap.stderr.String(), "held by ")
	}
	require.NoError(t, os.WriteFile(w.file("go"), []byte("\n"), 0o600))
	require.Zero(t, first.wait())
	log, err := os.ReadFile(w.file("log"))
	require.NoError(t, err)
	require.Equal(t, "run\n", string(log))
}
