// Package cluster is a place whose servers are clusters, reached through a server that stands by.
package cluster

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/lockserver/lockserver/conformance/internal/place"
)

const (
	// size is how many servers a cluster has. More than one may stand by, but a client meets only one of them.
	size = 2
	// ttl is how long a leader may be silent, in seconds: long, as machines are busy.
	ttl = 15
	// ttlDurable is that of a cluster that is to outlive a kill -9, after which it lasts so long until one leads.
	ttlDurable = 3
)

// Place makes of each server of another place several, with one etcd and a prefix of their own.
type Place struct {
	place.Place
	etcd   string
	serial atomic.Int64
}

// New starts the etcd of all clusters.
func New(ctx context.Context, where place.Place) (*Place, error) {
	url, err := where.Etcd(ctx)
	return &Place{Place: where, etcd: url}, err
}

// Name says so in the report.
func (p *Place) Name() string { return p.Place.Name() + ", clusters reached through a stand-by" }

// Server starts a cluster, and returns once one of its servers leads.
func (p *Place) Server(ctx context.Context, spec place.ServerSpec) (place.Server, error) {
	seconds := ttl
	if spec.Durable {
		seconds = ttlDurable
	}
	spec.Etcd = fmt.Sprintf("etcd:%s/%s-%d", p.etcd, spec.Name, p.serial.Add(1))
	spec.Flags = append([]string{fmt.Sprintf("--election-ttl=%d", seconds)}, spec.Flags...)
	s := &server{secret: spec.Secret, servers: make([]place.Server, size)}
	err := s.all(func(i int) (err error) {
		s.servers[i], err = p.Place.Server(ctx, spec)
		return err
	})
	if err == nil {
		err = s.settle(ctx, "/readyz")
	}
	if err != nil {
		return nil, errors.Join(err, s.Close())
	}
	return s, nil
}

// server is a cluster. What is done to it is done to all its servers.
type server struct {
	secret  string
	servers []place.Server

	mu    sync.Mutex
	roles roles
}

type roles struct{ leads, standsBy place.Server }

func (s *server) now() roles {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.roles
}

// Its addresses are those of the server that stands by.
func (s *server) Addr() string       { return s.now().standsBy.Addr() }
func (s *server) Named() string      { return s.now().standsBy.Named() }
func (s *server) SuiteAddr() string  { return s.now().standsBy.SuiteAddr() }
func (s *server) LeaderAddr() string { return s.now().leads.SuiteAddr() }

// all does something with all servers at once.
func (s *server) all(do func(i int) error) error {
	errs := make([]error, len(s.servers))
	var wg sync.WaitGroup
	for i := range s.servers {
		wg.Go(func() { errs[i] = do(i) })
	}
	wg.Wait()
	return errors.Join(errs...)
}

// Start starts all servers again.
func (s *server) Start(ctx context.Context) error {
	if err := s.all(func(i int) error { return s.servers[i].Start(ctx) }); err != nil {
		return err
	}
	return s.settle(ctx, passedOn)
}

// passedOn is what a server that stands by passes on. One that was started again may pass it on to who led before.
const passedOn = "/locks?limit=1"

// settle waits until one server leads, and another one stands by and answers there with 200. A new cluster is asked for no more than it
// gives to everybody, so that a case finds it untouched.
func (s *server) settle(ctx context.Context, at string) error {
	ctx, cancel := context.WithTimeout(ctx, place.Ready)
	defer cancel()
	for {
		leaders := 0
		var now roles
		for _, one := range s.servers {
			switch role, err := s.role(ctx, one); {
			case err != nil:
			case role == "leader":
				leaders++
				now.leads = one
			case now.standsBy == nil && s.ask(ctx, one, at, &struct{}{}) == nil:
				now.standsBy = one
			}
		}
		if leaders == 1 && now.standsBy != nil {
			s.mu.Lock()
			defer s.mu.Unlock()
			s.roles = now
			return nil
		}
		select {
		case <-time.After(10 * time.Millisecond):
		case <-ctx.Done():
			return fmt.Errorf("no server of the cluster leads: %w; %s", ctx.Err(), s.Stderr())
		}
	}
}

// StandsBy gives an error if the server through which the cluster is reached does not stand by any more.
func (s *server) StandsBy(ctx context.Context) error {
	now, err := s.role(ctx, s.now().standsBy)
	if err == nil && now != "standby" {
		err = fmt.Errorf("the server through which the cluster was to be reached did not stand by all the time, its role is %s now: %s", now, s.Stderr())
	}
	return err
}

func (s *server) role(ctx context.Context, one place.Server) (string, error) {
	var health struct{ Role string }
	err := s.ask(ctx, one, "/healthz", &health)
	return health.Role, err
}

// ask leaves no connection behind: a case may count them.
func (s *server) ask(ctx context.Context, one place.Server, path string, answer any) error {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+one.SuiteAddr()+path, http.NoBody)
	if err != nil {
		return err
	}
	if path == passedOn {
		r.Header.Set("X-LOCKSERVER-SECRET", s.secret)
	}
	a, err := (&http.Transport{DisableKeepAlives: true}).RoundTrip(r)
	if err != nil {
		return err
	}
	if a.StatusCode != http.StatusOK {
		return errors.Join(fmt.Errorf("%s answered %d", path, a.StatusCode), a.Body.Close())
	}
	return errors.Join(json.NewDecoder(a.Body).Decode(answer), a.Body.Close())
}

// Signal sends it to all servers that have not ended, to the one that leads first: what it still answers is passed on.
func (s *server) Signal(sig syscall.Signal) error {
	servers := slices.Clone(s.servers)
	leads := s.now().leads
	slices.SortStableFunc(servers, func(a, b place.Server) int {
		switch leads {
		case a:
			return -1
		case b:
			return 1
		}
		return 0
	})
	ended := 0
	var errs []error
	for _, one := range servers {
		if err := one.Signal(sig); errors.Is(err, os.ErrProcessDone) {
			ended++
		} else {
			errs = append(errs, err)
		}
	}
	if ended == len(servers) {
		return os.ErrProcessDone
	}
	return errors.Join(errs...)
}

// Wait waits for all servers. Its exit code is that of one that did not end well, if there is one.
func (s *server) Wait(ctx context.Context) (int, error) {
	codes := make([]int, len(s.servers))
	err := s.all(func(i int) (err error) {
		codes[i], err = s.servers[i].Wait(ctx)
		return err
	})
	code := 0
	for _, one := range codes {
		code = max(code, one)
	}
	return code, err
}

// Stderr is that of all servers.
func (s *server) Stderr() string {
	var b strings.Builder
	for i, one := range s.servers {
		if one != nil {
			fmt.Fprintf(&b, "server %d:\n%s\n", i, one.Stderr())
		}
	}
	return b.String()
}

// Close ends all servers.
func (s *server) Close() error {
	return s.all(func(i int) error {
		if s.servers[i] == nil {
			return nil
		}
		return s.servers[i].Close()
	})
}

// Cut takes all servers off the network, also off etcd, and off each other.
func (s *server) Cut(ctx context.Context) error {
	return s.all(func(i int) error {
		c, err := s.cutter(i)
		if err != nil {
			return err
		}
		return c.Cut(ctx)
	})
}

// Heal brings them back.
func (s *server) Heal(ctx context.Context) error {
	err := s.all(func(i int) error {
		c, err := s.cutter(i)
		if err != nil {
			return err
		}
		return c.Heal(ctx)
	})
	if err != nil {
		return err
	}
	return s.settle(ctx, passedOn)
}

func (s *server) cutter(i int) (place.Cutter, error) {
	c, ok := s.servers[i].(place.Cutter)
	if !ok {
		return nil, errors.New("these servers cannot be cut off")
	}
	return c, nil
}
