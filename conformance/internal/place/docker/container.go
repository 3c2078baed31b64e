package docker

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"sync"
	"syscall"
	"time"

	dc "github.com/ory/dockertest/v3/docker"

	"github.com/lockserver/lockserver/conformance/internal/place"
)

// container is one container, from which each start makes a new run.
type container struct {
	place  *Place
	id     string
	alias  string // its name on the run's network
	input  bool
	stderr stream // of all its runs
	run    *run
}

// run is what lasts from one start of a container to its end.
type run struct {
	stdin  io.WriteCloser
	stdout stream
	done   chan struct{} // closed when it has ended and all that it wrote has arrived
	code   int
	err    error
}

// start attaches first, so that no output is missed, and then starts.
func (c *container) start(ctx context.Context) error {
	r := &run{done: make(chan struct{})}
	attached := make(chan struct{})
	o := dc.AttachToContainerOptions{
		Container: c.id, OutputStream: &r.stdout, ErrorStream: &c.stderr,
		Stream: true, Stdout: true, Stderr: true, Success: attached,
	}
	in, w := io.Pipe()
	if c.input {
		// Without its Close: the client would close it when the output ends, and may then report that in place of what became of the output.
		o.InputStream, o.Stdin, r.stdin = struct{ io.Reader }{in}, true, w
	}
	attachment, err := c.place.waits.Client.AttachToContainerNonBlocking(o)
	if err != nil {
		return fmt.Errorf("attach: %w", err)
	}
	select {
	case <-attached:
		attached <- struct{}{} // the client waits for this before it copies
	case <-time.After(bound):
		return fmt.Errorf("attach: no answer from the engine within %v", bound)
	}
	if err := c.place.pool.Client.StartContainerWithContext(c.id, nil, ctx); err != nil {
		return fmt.Errorf("start: %w", err)
	}
	c.run = r
	go func() {
		defer close(r.done)
		r.code, r.err = c.place.waits.Client.WaitContainer(c.id)
		if err := attachment.Wait(); r.err == nil && err != nil {
			r.err = fmt.Errorf("read what the container wrote: %w", err)
		}
		_ = in.Close() // a pipe's never fails; who still writes is told
		r.stdout.end()
	}()
	return nil
}

func (c *container) ended() bool {
	if c.run == nil {
		return true
	}
	select {
	case <-c.run.done:
		return true
	default:
		return false
	}
}

// Signal pauses the container for SIGSTOP and resumes it for SIGCONT: a paused process cannot tell, as one that was stopped could.
func (c *container) Signal(sig syscall.Signal) error {
	if c.ended() {
		return os.ErrProcessDone
	}
	switch sig {
	case syscall.SIGSTOP:
		return c.pause()
	case syscall.SIGCONT:
		return c.place.pool.Client.UnpauseContainer(c.id)
	case syscall.SIGTERM, syscall.SIGKILL:
		err := c.place.pool.Client.KillContainer(dc.KillContainerOptions{ID: c.id, Signal: dc.Signal(sig)})
		if _, ended := errors.AsType[*dc.ContainerNotRunning](err); ended { // just now
			return os.ErrProcessDone
		}
		return err
	}
	return fmt.Errorf("signal %v is not for containers", sig)
}

// pause tries again where the kernel was too busy to stop all of the container's threads in time (runc on version 1 of cgroups
// gives up early, and lets those that it has stopped go on).
func (c *container) pause() error {
	for deadline := time.Now().Add(5 * time.Second); ; {
		err := c.place.pool.Client.PauseContainer(c.id)
		if err == nil || !strings.Contains(err.Error(), "unable to freeze") || time.Now().After(deadline) {
			return err
		}
	}
}

func (c *container) Wait(ctx context.Context) (int, error) {
	if c.run == nil {
		return 0, fmt.Errorf("container %s was never started", c.id)
	}
	select {
	case <-c.run.done:
		return c.run.code, c.run.err
	case <-ctx.Done():
		return 0, fmt.Errorf("container %s has not ended: %w", c.id, ctx.Err())
	}
}

func (c *container) Stderr() string { return c.stderr.String() }

func (c *container) Close() error {
	if c.run != nil && c.run.stdin != nil {
		_ = c.run.stdin.Close() // a pipe's never fails
	}
	defer c.place.turn()()
	return c.place.remove(c.id)
}

type driver struct{ *container }

func (d *driver) Stdin() io.WriteCloser { return d.run.stdin }
func (d *driver) Stdout() io.Reader     { return &d.run.stdout }

type server struct {
	*container
	mu        sync.Mutex
	addr      string
	suiteAddr string
}

func (s *server) Addr() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.addr
}

func (s *server) Named() string { return net.JoinHostPort(s.alias, port.Port()) }

func (s *server) SuiteAddr() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.suiteAddr
}

func (s *server) Start(ctx context.Context) error {
	if !s.ended() {
		return fmt.Errorf("container %s is still running", s.id)
	}
	ctx, cancel := context.WithTimeout(ctx, place.Ready)
	defer cancel()
	if err := s.start(ctx); err != nil {
		return err
	}
	ready := make(chan error, 1)
	go func() { ready <- readyLine(&s.run.stdout) }()
	select {
	case err := <-ready:
		if err != nil {
			_ = s.Signal(syscall.SIGKILL) // it may have ended already
			return err
		}
	case <-ctx.Done():
		_ = s.Signal(syscall.SIGKILL)
		return fmt.Errorf("the server was not ready: %w", ctx.Err())
	}
	return s.locate(ctx)
}

// locate asks where the server is now: a start gives it a new address and a new port on the host.
func (s *server) locate(ctx context.Context) error {
	own, published, err := s.published(ctx, port)
	if err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.addr, s.suiteAddr = own, published
	return nil
}

// published is where a port of the container is found, on the run's network and on this machine.
func (c *container) published(ctx context.Context, port dc.Port) (own, here string, err error) {
	made, err := c.place.pool.Client.InspectContainerWithContext(c.id, ctx)
	if err != nil {
		return "", "", err
	}
	bindings := made.NetworkSettings.Ports[port]
	if len(bindings) == 0 {
		return "", "", fmt.Errorf("container %s has published no port", c.id)
	}
	var ip string
	for _, n := range made.NetworkSettings.Networks {
		ip = n.IPAddress
	}
	if ip == "" {
		return "", "", fmt.Errorf("container %s has no address on the run's network", c.id)
	}
	return net.JoinHostPort(ip, port.Port()), net.JoinHostPort("127.0.0.1", bindings[0].HostPort), nil
}

// Cut takes the server off the network: packets to and from it are lost, and nobody is told.
func (s *server) Cut(ctx context.Context) error {
	return s.place.pool.Client.DisconnectNetwork(s.place.net.Network.ID, dc.NetworkConnectionOptions{Container: s.id, Force: true, Context: ctx})
}

// Heal brings it back, where it may have another address.
func (s *server) Heal(ctx context.Context) error {
	if err := s.place.pool.Client.ConnectNetwork(s.place.net.Network.ID, dc.NetworkConnectionOptions{
		Container: s.id, EndpointConfig: &dc.EndpointConfig{Aliases: []string{s.alias}}, Context: ctx,
	}); err != nil {
		return err
	}
	return s.locate(ctx)
}
