package local

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"sync"
	"syscall"
	"time"
)

// process is a child in a process group of its own, so that a driver started by a shell is ended whole.
type process struct {
	cmd    *exec.Cmd
	stdin  io.WriteCloser
	stderr text
	done   chan struct{}
	code   int
}

// start starts a child; its standard input stays open (for a driver) or is empty.
func start(dir string, env map[string]string, command []string, input bool) (*process, io.Reader, error) {
	p := &process{cmd: exec.Command(command[0], command[1:]...), done: make(chan struct{})}
	p.cmd.Dir, p.cmd.Env, p.cmd.Stderr = dir, environ(env), &p.stderr
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	p.cmd.WaitDelay = time.Second // a grandchild that keeps standard error open holds up nobody
	if input {
		in, err := p.cmd.StdinPipe()
		if err != nil {
			return nil, nil, err
		}
		p.stdin = in
	}
	// Not StdoutPipe: Wait would close it before its reader has read the last line.
	r, w, err := os.Pipe()
	if err != nil {
		return nil, nil, err
	}
	p.cmd.Stdout = w
	if err := p.cmd.Start(); err != nil {
		return nil, nil, errors.Join(fmt.Errorf("start %s: %w", command[0], err), r.Close(), w.Close())
	}
	_ = w.Close()
	go func() {
		defer close(p.done)
		_ = p.cmd.Wait() // how it ended is in ProcessState
		p.code = p.cmd.ProcessState.ExitCode()
		if ws, ok := p.cmd.ProcessState.Sys().(syscall.WaitStatus); ok && ws.Signaled() {
			p.code = 128 + int(ws.Signal())
		}
	}()
	return p, r, nil
}

func (p *process) ended() bool {
	select {
	case <-p.done:
		return true
	default:
		return false
	}
}

func (p *process) Signal(sig syscall.Signal) error {
	if p.ended() {
		return os.ErrProcessDone
	}
	err := syscall.Kill(-p.cmd.Process.Pid, sig)
	if errors.Is(err, syscall.ESRCH) { // it ended just now
		return os.ErrProcessDone
	}
	return err
}

func (p *process) Wait(ctx context.Context) (int, error) {
	select {
	case <-p.done:
		return p.code, nil
	case <-ctx.Done():
		return 0, fmt.Errorf("%s has not ended: %w", p.cmd.Path, ctx.Err())
	}
}

func (p *process) Stderr() string { return p.stderr.String() }

func (p *process) Close() error {
	if p.stdin != nil {
		_ = p.stdin.Close()
	}
	if !p.ended() {
		if err := p.Signal(syscall.SIGKILL); err != nil && !errors.Is(err, os.ErrProcessDone) {
			return err
		}
	}
	<-p.done
	return nil
}

// text is a buffer that can be read while it is written.
type text struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (t *text) Write(p []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.b.Write(p)
}

func (t *text) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.b.String()
}
