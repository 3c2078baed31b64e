package prove

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/lockserver/lockserver/conformance/internal/place"
	"github.com/lockserver/lockserver/conformance/internal/place/local"
)

// member is a member of etcd. Servers and the other members reach it through links.
type member struct {
	name   string
	client string // host:port, for the links of the servers
	peer   string
	peers  *link // to the member, from the others
	args   []string
	path   string

	process *exec.Cmd
	log     bytes.Buffer // valid when exited is closed
	exited  chan struct{}
}

func startMembers(ctx context.Context, path, dir string, size int) (members []*member, err error) {
	var all []string
	for i := range size {
		m := &member{name: fmt.Sprint("etcd", i), client: local.FreeAddr(), peer: local.FreeAddr(), path: path}
		if m.peers, err = newLink(m.name, m.peer); err != nil {
			return nil, err
		}
		members = append(members, m)
		all = append(all, m.name+"=http://"+m.peers.addr())
	}
	for _, m := range members {
		m.args = []string{
			"--name", m.name, "--data-dir", filepath.Join(dir, m.name), "--log-level", "error",
			"--listen-client-urls", "http://" + m.client, "--advertise-client-urls", "http://" + m.client,
			"--listen-peer-urls", "http://" + m.peer, "--initial-advertise-peer-urls", "http://" + m.peers.addr(), "--initial-cluster", strings.Join(all, ","),
		}
		if err := m.start(); err != nil {
			return members, err
		}
	}
	for _, m := range members {
		if err := m.healthy(ctx); err != nil {
			return members, err
		}
	}
	return members, nil
}

func (m *member) start() error {
	m.process, m.exited = exec.Command(m.path, m.args...), make(chan struct{})
	m.process.Env = []string{} // it would take settings from there
	m.log.Reset()
	m.process.Stderr = &m.log
	if err := m.process.Start(); err != nil {
		return err
	}
	process, exited := m.process, m.exited
	go func() {
		_ = process.Wait()
		close(exited)
	}()
	return nil
}

// healthy waits until the member works.
func (m *member) healthy(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	if err := place.AwaitEtcd(ctx, m.client, m.exited); err != nil {
		return fmt.Errorf("%s: %w: %s", m.name, err, m.said())
	}
	return nil
}

// said is what it logged, if it has ended.
func (m *member) said() string {
	select {
	case <-m.exited:
		return m.log.String()
	default:
		return "it goes on"
	}
}

func (m *member) end(how os.Signal) error {
	if m.process == nil {
		return nil
	}
	if err := m.process.Process.Signal(how); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return err
	}
	<-m.exited
	return nil
}

func (m *member) kill(ctx context.Context, down time.Duration) error {
	if err := m.end(syscall.SIGKILL); err != nil {
		return err
	}
	pause(ctx, down)
	return m.start()
}

func (m *member) hang(ctx context.Context, length time.Duration) error {
	if err := m.process.Process.Signal(syscall.SIGSTOP); err != nil {
		return err
	}
	pause(ctx, length)
	return m.process.Process.Signal(syscall.SIGCONT)
}
