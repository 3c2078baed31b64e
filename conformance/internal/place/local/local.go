// Package local runs servers and drivers as processes of this machine.
package local

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"

	"github.com/lockserver/lockserver/conformance/internal/place"
)

// Place runs everything on the loopback address, below one temporary directory.
type Place struct {
	// EtcdBinary is that of etcd, for servers of a cluster.
	EtcdBinary string

	dir    string
	binary string
	ipv6   error
	etcd   *process // nil for none
}

// New returns a place for the server binary given.
func New(binary string) (*Place, error) {
	dir, err := os.MkdirTemp("", "conformance-")
	if err != nil {
		return nil, err
	}
	l, err := net.Listen("tcp", "[::1]:0")
	if err == nil {
		err = l.Close()
	}
	return &Place{dir: dir, binary: binary, ipv6: err}, nil
}

func (p *Place) Name() string { return "local processes" }

func (p *Place) Close() (err error) {
	if p.etcd != nil {
		err = p.etcd.Close()
	}
	return errors.Join(err, os.RemoveAll(p.dir))
}

func (p *Place) ProxyHost(ipv6 bool) (listen, reach string) {
	if ipv6 {
		return "::1", "::1"
	}
	return "127.0.0.1", "127.0.0.1"
}

func (p *Place) Lacks(feature string) string {
	if feature == "ipv6" && p.ipv6 != nil {
		return "no IPv6 loopback address here: " + p.ipv6.Error()
	}
	if feature == "cut-server" {
		return "processes of one machine share its network; a link stands for it"
	}
	return ""
}

// Server starts a server process.
func (p *Place) Server(ctx context.Context, spec place.ServerSpec) (place.Server, error) {
	dir, err := os.MkdirTemp(p.dir, spec.Name+"-")
	if err != nil {
		return nil, err
	}
	s := &server{binary: p.binary, dir: dir, spec: spec}
	if err := s.Start(ctx); err != nil {
		return nil, fmt.Errorf("%w; its standard error: %s", err, s.Stderr())
	}
	return s, nil
}

type server struct {
	*process
	binary, dir string
	spec        place.ServerSpec
	before      string

	mu   sync.Mutex // a link asks for the address while the server is started again
	addr string
}

func (s *server) SuiteAddr() string { return s.Addr() }

func (s *server) Addr() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.addr
}

func (s *server) Named() string {
	_, port, _ := net.SplitHostPort(s.Addr())
	return net.JoinHostPort("localhost", port)
}

func (s *server) Stderr() string {
	if s.process == nil {
		return ""
	}
	return s.before + s.process.Stderr()
}

func (s *server) Start(ctx context.Context) error {
	if s.process != nil {
		if !s.ended() {
			return fmt.Errorf("server %s is still running", s.spec.Name)
		}
		s.before = s.Stderr()
	}
	store := "memory"
	if s.spec.Durable {
		store = "disk:" + filepath.Join(s.dir, "data")
	}
	if s.spec.Etcd != "" {
		store = s.spec.Etcd
	}
	env := maps.Clone(s.spec.Env)
	if env == nil {
		env = map[string]string{}
	}
	env["LOCKSERVER_SECRET"] = s.spec.Secret
	p, stdout, err := start(s.dir, env, append([]string{s.binary, "--port=0", "--store=" + store}, s.spec.Flags...), false)
	if err != nil {
		return err
	}
	s.process = p
	ready := make(chan string, 1)
	go func() {
		r := bufio.NewReader(stdout)
		line, _ := r.ReadString('\n')
		ready <- line
		drain(r) // the ready line is all that standard output has to say
	}()
	ctx, cancel := context.WithTimeout(ctx, place.Ready)
	defer cancel()
	select {
	case line := <-ready:
		_, url, ok := strings.Cut(strings.TrimSpace(line), "lockserver ready on http://")
		if !ok {
			_ = s.Signal(syscall.SIGKILL)
			_, _ = s.Wait(ctx)
			return fmt.Errorf("server %s printed no ready line but %q", s.spec.Name, line)
		}
		s.mu.Lock()
		defer s.mu.Unlock()
		s.addr = url
		return nil
	case <-ctx.Done():
		_ = s.Signal(syscall.SIGKILL)
		return fmt.Errorf("server %s was not ready: %w", s.spec.Name, ctx.Err())
	}
}

// drain reads what nobody wants to know, so that it holds up nobody.
func drain(r io.Reader) { _, _ = io.Copy(io.Discard, r) }

func (s *server) Close() error {
	if s.process == nil {
		return nil
	}
	if err := s.process.Close(); err != nil {
		return err
	}
	return os.RemoveAll(s.dir)
}

// Driver starts a driver process in a directory of its own.
func (p *Place) Driver(_ context.Context, spec place.DriverSpec) (place.Driver, error) {
	if len(spec.Command) == 0 {
		return nil, fmt.Errorf("driver %s has no command to run", spec.Name)
	}
	dir, err := os.MkdirTemp(p.dir, spec.Name+"-")
	if err != nil {
		return nil, err
	}
	for name, text := range spec.Files {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			return nil, err
		}
	}
	proc, stdout, err := start(dir, spec.Env, spec.Command, true)
	if err != nil {
		return nil, err
	}
	return &driver{process: proc, stdout: stdout, dir: dir}, nil
}

type driver struct {
	*process
	stdout io.Reader
	dir    string
}

func (d *driver) Stdin() io.WriteCloser { return d.stdin }
func (d *driver) Stdout() io.Reader     { return d.stdout }

func (d *driver) Close() error {
	if err := d.process.Close(); err != nil {
		return err
	}
	return os.RemoveAll(d.dir)
}

// environ is the suite's own environment without anything that a Lockserver program or etcd reads, and with what is given.
func environ(extra map[string]string) []string {
	env := slices.DeleteFunc(os.Environ(), func(kv string) bool {
		return strings.HasPrefix(kv, "LOCKSERVER_") || strings.HasPrefix(kv, "ETCD_")
	})
	for _, k := range slices.Sorted(maps.Keys(extra)) {
		env = append(env, k+"="+extra[k])
	}
	return env
}
