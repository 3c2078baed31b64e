// Package e2e tests the server as it is shipped: real processes, real sockets, real signals.
package e2e

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

const (
	secret = "end-to-end-0123456789"

	// patience is how long anything may take before a test gives up: much more than it does on a busy machine.
	patience = 30 * time.Second
)

// binary is the server's path: that of LOCKSERVER_BIN, or of one that is built once for the run.
var binary = sync.OnceValues(func() (string, error) {
	if path := os.Getenv("LOCKSERVER_BIN"); path != "" {
		return filepath.Abs(path)
	}
	path := filepath.Join(buildDir(), "lockserver")
	out, err := exec.Command("go", "build", "-o", path, "../cmd/lockserver").CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("build the server: %w\n%s", err, out)
	}
	return path, nil
})

var buildDir = sync.OnceValue(func() string {
	dir, err := os.MkdirTemp("", "lockserver-e2e-")
	if err != nil {
		panic(err)
	}
	return dir
})

func TestMain(m *testing.M) {
	code := m.Run()
	if os.Getenv("LOCKSERVER_BIN") == "" {
		_ = os.RemoveAll(buildDir())
	}
	os.Exit(code)
}

// process is a running lockserver.
type process struct {
	t      *testing.T
	cmd    *exec.Cmd
	url    string
	addr   string
	stderr *output
	exited chan struct{} // closed when the process has ended
	err    error         // how; valid then
}

// launch is how to start one.
type launch struct {
	args []string
	env  []string // NAME=value, beside the secret
	dir  string   // where it runs; a new one by default
	wrap []string // a command that runs the command behind it
}

// run starts a process with these settings, and does not wait for anything.
func (l launch) run(t *testing.T) (p *process, stdout io.Reader) {
	t.Helper()
	path, err := binary()
	require.NoError(t, err)
	if l.dir == "" {
		l.dir = t.TempDir()
	}
	argv := append(append(append([]string{}, l.wrap...), path), l.args...)
	p = &process{t: t, cmd: exec.Command(argv[0], argv[1:]...), stderr: &output{}, exited: make(chan struct{})}
	p.cmd.Dir = l.dir
	p.cmd.Env = append([]string{"PATH=" + os.Getenv("PATH")}, l.env...)
	p.cmd.Stderr = p.stderr
	stdout, err = p.cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, p.cmd.Start())
	t.Cleanup(func() {
		_ = p.cmd.Process.Kill()
		p.wait()
		if t.Failed() {
			t.Logf("log of %v:\n%s", argv, p.stderr)
		}
	})
	return p, stdout
}

// start starts a server and waits until it is ready.
func (l launch) start(t *testing.T) *process {
	t.Helper()
	l.env = append([]string{"LOCKSERVER_SECRET=" + secret, "LOCKSERVER_PORT=0"}, l.env...)
	p, stdout := l.run(t)
	lines := make(chan string, 1)
	go func() {
		r := bufio.NewReader(stdout)
		line, _ := r.ReadString('\n')
		lines <- line
		rest, _ := io.ReadAll(r)
		err := p.cmd.Wait()
		if len(rest) > 0 {
			t.Errorf("more than the ready line on stdout: %q", rest)
		}
		p.end(err)
	}()
	select {
	case line := <-lines:
		url, ok := strings.CutPrefix(line, "lockserver ready on ")
		require.True(t, ok, "no ready line but %q; log:\n%s", line, p.stderr)
		p.url = strings.TrimSuffix(url, "\n")
		p.addr = strings.TrimPrefix(p.url, "http://")
	case <-time.After(patience):
		require.Fail(t, "not ready", "log:\n%s", p.stderr)
	}
	return p
}

// outcome is how a process that should end by itself ended.
type outcome struct {
	code           int
	stdout, stderr string
}

// finish runs a process that should end by itself.
func (l launch) finish(t *testing.T) outcome {
	t.Helper()
	p, stdout := l.run(t)
	out := make(chan string, 1)
	go func() {
		b, _ := io.ReadAll(stdout)
		p.end(p.cmd.Wait())
		out <- string(b)
	}()
	code := p.exitCode()
	return outcome{code, <-out, p.stderr.String()}
}

func (p *process) end(err error) {
	p.err = err
	close(p.exited)
}

func (p *process) wait() { <-p.exited }

func (p *process) signal(s os.Signal) {
	p.t.Helper()
	require.NoError(p.t, p.cmd.Process.Signal(s))
}

// exitCode waits for the end of the process; -1 stands for a signal.
func (p *process) exitCode() int {
	p.t.Helper()
	select {
	case <-p.exited:
	case <-time.After(patience):
		require.Fail(p.t, "still running", "log:\n%s", p.stderr)
	}
	var failed *exec.ExitError
	if p.err != nil && !errors.As(p.err, &failed) {
		require.NoError(p.t, p.err)
	}
	return p.cmd.ProcessState.ExitCode()
}

// kill ends the process as a power cut would.
func (p *process) kill() {
	p.t.Helper()
	p.signal(syscall.SIGKILL)
	require.Equal(p.t, -1, p.exitCode())
}

// pause stops the process, and waits until each of its threads stands still, which takes a moment where one is running.
func (p *process) pause() {
	p.t.Helper()
	p.signal(syscall.SIGSTOP)
	require.Eventually(p.t, func() bool {
		threads, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/stat", p.cmd.Process.Pid))
		require.NoError(p.t, err)
		for _, thread := range threads {
			stat, err := os.ReadFile(thread)
			require.NoError(p.t, err)
			if !strings.Contains(string(stat), ") T ") {
				return false
			}
		}
		return len(threads) > 0
	}, patience, time.Millisecond, "the process stops")
}

// output collects what a process writes. It comes in behind the answers and the ready line of the same process, which take other
// ways: logged waits for what should be there, and whatever was written before it is then there too.
type output struct {
	mu      sync.Mutex
	b       bytes.Buffer
	changed chan struct{} // closed by the next Write
}

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.changed != nil {
		close(o.changed)
		o.changed = nil
	}
	return o.b.Write(p)
}

func (o *output) String() string {
	text, _ := o.look()
	return text
}

func (o *output) look() (text string, changed <-chan struct{}) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.changed == nil {
		o.changed = make(chan struct{})
	}
	return o.b.String(), o.changed
}

// logged waits until the log says so, and returns all of it.
func (p *process) logged(what string) string {
	p.t.Helper()
	giveUp := time.After(patience)
	for {
		text, changed := p.stderr.look()
		if strings.Contains(text, what) {
			return text
		}
		select {
		case <-changed:
		case <-giveUp:
			require.Fail(p.t, "not logged", "%q in the log:\n%s", what, text)
		}
	}
}
