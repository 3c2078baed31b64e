// Package lockctl tests the command line with real processes: servers, lockctl, what it runs, and terminals.
package lockctl

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/lockserver/lockserver/sdk-go/internal/servertest"
)

// patience is how long anything may take before a test gives up: much more than it does on a busy machine.
const patience = 30 * time.Second

// tick is how often it is looked at what nothing tells of.
const tick = 5 * time.Millisecond

// built are the binaries under test.
type built struct {
	dir, server, lockctl string
	err                  error
}

var binaries = sync.OnceValue(func() (b built) {
	if b.dir, b.err = os.MkdirTemp("", "lockctl-e2e-"); b.err != nil {
		return b
	}
	if b.server, b.err = servertest.Build(b.dir); b.err != nil {
		return b
	}
	b.lockctl = filepath.Join(b.dir, "lockctl")
	build := exec.Command("go", "build", "-o", b.lockctl, "./cmd/lockctl")
	build.Dir = filepath.Join("..", "..")
	build.Env = append(os.Environ(), "GOWORK=off")
	if out, err := build.CombinedOutput(); err != nil {
		b.err = fmt.Errorf("build lockctl: %w\n%s", err, out)
	}
	return b
})

func TestMain(m *testing.M) {
	// What is ignored here, as SIGHUP is under nohup, would be ignored by every command that a test starts.
	if signal.Ignored(syscall.SIGHUP) {
		signal.Notify(make(chan os.Signal, 1), syscall.SIGHUP)
	}
	code := m.Run()
	_ = os.RemoveAll(binaries().dir)
	os.Exit(code)
}

// world is a server and a folder to work in.
type world struct {
	t      *testing.T
	server *servertest.Server
	dir    string
	env    []string
}

func newWorld(t *testing.T, args ...string) *world {
	t.Helper()
	t.Parallel()
	return startWorld(t, args...)
}

// startWorld is one more world in the same test.
func startWorld(t *testing.T, args ...string) *world {
	t.Helper()
	require.NoError(t, binaries().err)
	if len(args) == 0 {
		args = []string{"--store", "memory"}
	}
	server, err := servertest.Start(binaries().server, t.TempDir(), args...)
	require.NoError(t, err)
	t.Cleanup(server.Kill)
	return &world{t: t, server: server, dir: t.TempDir(), env: []string{
		"PATH=" + os.Getenv("PATH"), "HOME=" + t.TempDir(), "TERM=xterm", "LOCKCTL=" + binaries().lockctl,
		"LOCKSERVER_ADDR=" + server.URL, "LOCKSERVER_SECRET=" + servertest.Secret,
	}}
}

// job is a lockctl that runs.
type job struct {
	t      *testing.T
	cmd    *exec.Cmd
	stdout *output
	stderr *output
	exited chan struct{}
	code   int
}

func (w *world) command(args ...string) *exec.Cmd {
	cmd := exec.Command(binaries().lockctl, args...)
	cmd.Dir, cmd.Env = w.dir, w.env
	return cmd
}

func (w *world) start(args ...string) *job { return w.startCommand(w.command(args...)) }

func (w *world) startCommand(cmd *exec.Cmd) *job {
	w.t.Helper()
	j := &job{t: w.t, cmd: cmd, stdout: &output{}, stderr: &output{}, exited: make(chan struct{})}
	j.cmd.Stdout, j.cmd.Stderr = j.stdout, j.stderr
	// What lockctl leaves behind must not keep the test waiting for its output.
	j.cmd.WaitDelay = 2 * time.Second
	require.NoError(w.t, j.cmd.Start())
	go func() {
		defer close(j.exited)
		j.code = codeOf(j.cmd.Wait())
	}()
	w.t.Cleanup(func() {
		_ = j.cmd.Process.Kill()
		<-j.exited
	})
	return j
}

func codeOf(err error) int {
	var failed *exec.ExitError
	switch {
	case errors.As(err, &failed):
		if status := failed.Sys().(syscall.WaitStatus); status.Signaled() {
			return 128 + int(status.Signal()) // as a shell tells it
		}
		return failed.ExitCode()
	case err != nil && !errors.Is(err, exec.ErrWaitDelay):
		return -2
	}
	return 0
}

func (w *world) run(args ...string) *job {
	w.t.Helper()
	j := w.start(args...)
	j.wait()
	return j
}

func (j *job) wait() int {
	j.t.Helper()
	select {
	case <-j.exited:
	case <-time.After(patience):
		require.Fail(j.t, "lockctl runs on", "stdout:\n%s\nstderr:\n%s", j.stdout, j.stderr)
	}
	return j.code
}

func (j *job) signal(s syscall.Signal) {
	j.t.Helper()
	require.NoError(j.t, j.cmd.Process.Signal(s))
}

// says waits until the command has printed the text.
func (j *job) says(text string) {
	j.t.Helper()
	require.Eventually(j.t, func() bool { return strings.Contains(j.stdout.String(), text) }, patience, 2*time.Millisecond,
		"no %q in stdout %q, stderr %q", text, j.stdout, j.stderr)
}

// lock is what `lockctl show --json` tells.
type lock struct {
	Holders []struct {
		Owner     string
		Token     int64
		Note      string
		ExpiresIn float64 `json:"expires_in"`
	}
	Queue []struct{ Owner string }
}

func (w *world) show(resource string) (l lock, held bool) {
	w.t.Helper()
	j := w.run("show", "--json", resource)
	if j.code == 1 {
		return l, false
	}
	require.Zero(w.t, j.code, j.stderr)
	require.NoError(w.t, json.Unmarshal([]byte(j.stdout.String()), &l))
	return l, true
}

func (w *world) held(resource string) bool {
	_, held := w.show(resource)
	return held
}

// file is a file in the world's folder.
func (w *world) file(name string) string { return filepath.Join(w.dir, name) }

// appears waits until a command has written the file, and returns its first line.
func (w *world) appears(name string) string {
	w.t.Helper()
	var line string
	require.Eventually(w.t, func() bool {
		content, err := os.ReadFile(w.file(name))
		var whole bool
		line, _, whole = strings.Cut(string(content), "\n")
		return err == nil && whole
	}, patience, 2*time.Millisecond, "no file %s", name)
	return line
}

// pid reads a process id that a command wrote.
func (w *world) pid(name string) int {
	w.t.Helper()
	pid, err := strconv.Atoi(w.appears(name))
	require.NoError(w.t, err)
	return pid
}

// runs tells whether a process is there and no zombie.
func runs(pid int) bool {
	s := state(pid)
	return s != 0 && s != 'Z' && s != 'X'
}

// state is a process's state as the kernel shows it, 0 if there is none.
func state(pid int) byte {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0
	}
	_, state, _ := strings.Cut(string(stat), ") ")
	return state[0]
}

// output collects what a process writes.
type output struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.b.Write(p)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.b.String()
}
