package prove

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/lockserver/lockserver/conformance/internal/place"
)

// server is a server process, and the links that lead to it.
type server struct {
	h       *history
	breaks  string // the file that makes its disk fail to sync, while it is there
	clock   string // the file that says by how many microseconds its wall clock is wrong
	starts  *atomic.Int64
	process place.Server

	mu    sync.Mutex
	links []*link
	// spared links come first: on them nothing fails.
	spared int
}

// startServer starts a server with a deliberate fault, "" for none.
func startServer(ctx context.Context, where place.Place, name, fault, dir string, h *history, starts *atomic.Int64, flags ...string) (*server, error) {
	s := &server{h: h, starts: starts, breaks: filepath.Join(dir, name+"-breaks"), clock: filepath.Join(dir, name+"-clock")}
	spec := place.ServerSpec{
		Name: name, Secret: secret, Durable: true, Flags: append([]string{"--log-level=warn"}, flags...),
		Env: map[string]string{"FAULT": fault, "FAULT_SYNC": s.breaks, "FAULT_CLOCK": s.clock},
	}
	var err error
	s.process, err = where.Server(ctx, spec)
	return s, err
}

// link makes a link that leads to the server, wherever it is started again.
func (s *server) link(name string) (*link, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	l, err := newLink(name, s.process.Addr())
	if err == nil {
		s.links = append(s.links, l)
	}
	return l, err
}

// failing are the links on which something may fail.
func (s *server) failing() []*link {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.links[min(len(s.links), s.spared):])
}

// again starts the server again after it has ended.
func (s *server) again(ctx context.Context) error {
	s.starts.Add(1)
	if err := s.process.Start(ctx); err != nil {
		if ctx.Err() == nil {
			s.h.violation("a server starts on what is durable", "", err.Error()+"\n"+s.process.Stderr())
		}
		return err
	}
	s.starts.Add(1)
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, l := range s.links {
		if err := l.lead(s.process.Addr()); err != nil {
			return err
		}
	}
	return nil
}

func (s *server) kill(ctx context.Context, down time.Duration) error {
	if err := s.process.Signal(syscall.SIGKILL); err != nil {
		return err
	}
	if _, err := s.process.Wait(ctx); err != nil {
		return err
	}
	pause(ctx, down)
	return s.again(ctx)
}

// drain ends the server as its supervisor does, in the middle of its work.
func (s *server) drain(ctx context.Context, down time.Duration) error {
	if err := s.process.Signal(syscall.SIGTERM); err != nil {
		return err
	}
	if err := s.ends(ctx, 0, "SIGTERM"); err != nil {
		return err
	}
	pause(ctx, down)
	return s.again(ctx)
}

// ends waits until the server has ended, in the way that it promises.
func (s *server) ends(ctx context.Context, want int, why string) error {
	limit, cancel := context.WithTimeout(ctx, 40*time.Second)
	defer cancel()
	code, err := s.process.Wait(limit)
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if err != nil || code != want {
		s.h.violation("a server ends in order", "", fmt.Sprintf("after %s it ended with %d (%v), not with %d\n%s", why, code, err, want, s.process.Stderr()))
	}
	return err
}

// hang stops the process for a time.
func hang(ctx context.Context, p place.Process, length time.Duration) error {
	if err := p.Signal(syscall.SIGSTOP); err != nil {
		return err
	}
	pause(ctx, length)
	return p.Signal(syscall.SIGCONT)
}

// failSync makes the disk fail, of which the server must not survive.
func (s *server) failSync(ctx context.Context) error {
	if err := os.WriteFile(s.breaks, nil, 0o600); err != nil {
		return err
	}
	err := s.ends(ctx, 1, "a failed sync")
	if err := errors.Join(err, os.Remove(s.breaks)); err != nil {
		return err
	}
	return s.again(ctx)
}

func (s *server) close() error {
	for _, l := range s.links {
		l.close()
	}
	return s.process.Close()
}
