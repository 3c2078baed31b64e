// Package servertest runs a real server process for the SDK's tests.
package servertest

import (
	"bufio"
	"bytes"
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
)

const (
	readyPrefix = "lockserver ready on "
	startBound  = 30 * time.Second
	stopBound   = 30 * time.Second
)

// Secret is what every server here is started with.
const Secret = "a-secret-for-the-tests-of-the-sdk"

// Build returns the path of a server binary: the one that LOCKSERVER_BIN names, or one built into dir from the source beside this module.
func Build(dir string) (string, error) {
	if path := os.Getenv("LOCKSERVER_BIN"); path != "" {
		return path, nil
	}
	_, self, _, ok := runtime.Caller(0)
	if !ok {
		return "", errors.New("cannot find the server's source: set LOCKSERVER_BIN to a server binary")
	}
	source := filepath.Join(filepath.Dir(self), "..", "..", "..", "server")
	path := filepath.Join(dir, "lockserver")
	build := exec.Command("go", "build", "-o", path, "./cmd/lockserver")
	build.Dir = source
	build.Env = append(os.Environ(), "GOWORK=off", "GOFLAGS=")
	if output, err := build.CombinedOutput(); err != nil {
		return "", fmt.Errorf("building the server in %s (LOCKSERVER_BIN names one that exists): %w\n%s", source, err, output)
	}
	return path, nil
}

// Server is a running process.
type Server struct {
	URL string

	cmd    *exec.Cmd
	stderr *buffer
	exited chan struct{}
}

// Start runs a server on a port of its own choice, in dir, and returns once it says that it is ready.
func Start(binary, dir string, args ...string) (*Server, error) {
	s := &Server{
		cmd:    exec.Command(binary, append([]string{"--port", "0"}, args...)...),
		stderr: &buffer{}, exited: make(chan struct{}),
	}
	s.cmd.Dir = dir
	s.cmd.Env = append(os.Environ(), "LOCKSERVER_SECRET="+Secret, "LOCKSERVER_BIND_IP=", "LOCKSERVER_PORT=", "LOCKSERVER_STORE=")
	s.cmd.Stderr = s.stderr
	stdout, err := s.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := s.cmd.Start(); err != nil {
		return nil, err
	}
	ready := make(chan string, 1)
	go func() {
		lines := bufio.NewScanner(stdout)
		for lines.Scan() {
			if url, found := strings.CutPrefix(lines.Text(), readyPrefix); found {
				ready <- url
			}
		}
		_ = s.cmd.Wait() // the exit code of a killed server tells nothing; whoever minds looks at Log
		close(s.exited)
	}()
	select {
	case s.URL = <-ready:
		return s, nil
	case <-s.exited:
		return nil, fmt.Errorf("the server ended before it was ready:\n%s", s.Log())
	case <-time.After(startBound):
		s.Kill()
		return nil, fmt.Errorf("the server was not ready within %v:\n%s", startBound, s.Log())
	}
}

// Addr returns host and port.
func (s *Server) Addr() string { return strings.TrimPrefix(s.URL, "http://") }

// PID is the number of its process.
func (s *Server) PID() int { return s.cmd.Process.Pid }

// Log returns what the server wrote to stderr so far.
func (s *Server) Log() string { return s.stderr.String() }

// Kill ends the process as a crash does.
func (s *Server) Kill() {
	_ = s.cmd.Process.Kill() // it may have ended already
	<-s.exited
}

// Stop ends the process as an operator does.
func (s *Server) Stop() error {
	if err := s.cmd.Process.Signal(syscall.SIGTERM); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return err
	}
	select {
	case <-s.exited:
		return nil
	case <-time.After(stopBound):
		s.Kill()
		return fmt.Errorf("the server did not end within %v of SIGTERM:\n%s", stopBound, s.Log())
	}
}

// Freeze stops the process without ending it, until Thaw. The signal takes effect a little later than it is sent; Freeze waits for that.
func (s *Server) Freeze() error {
	if err := s.cmd.Process.Signal(syscall.SIGSTOP); err != nil {
		return err
	}
	for deadline := time.Now().Add(stopBound); time.Now().Before(deadline); time.Sleep(time.Millisecond) {
		state, err := exec.Command("ps", "-o", "state=", "-p", strconv.Itoa(s.cmd.Process.Pid)).Output()
		if err != nil {
			return fmt.Errorf("ps: %w", err)
		}
		if strings.HasPrefix(strings.TrimSpace(string(state)), "T") {
			return nil
		}
	}
	return errors.New("the server did not stop")
}

// Thaw lets it go on.
func (s *Server) Thaw() error { return s.cmd.Process.Signal(syscall.SIGCONT) }

// UniqueName returns a resource name that no other test uses.
func UniqueName() string { return "test-" + strings.ToLower(rand.Text()) }

type buffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *buffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}
