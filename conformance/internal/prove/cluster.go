package prove

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// electionTTL is that of the servers: one that etcd does not hear of for so long is replaced.
const electionTTL = 2 * time.Second

const clusterSize = 3

// cluster is several servers and the members of their etcd, each reached through links of its own.
type cluster struct {
	r       *run
	members []*member
	toEtcd  [][]*link // of each server, to each member
}

// setUpCluster starts etcd, and servers that share it.
func (r *run) setUpCluster(ctx context.Context) (err error) {
	c := &cluster{r: r}
	r.cluster = c
	if c.members, err = startMembers(ctx, r.Etcd, r.data, clusterSize); err != nil {
		return err
	}
	for i := range clusterSize {
		var links []*link
		var urls []string
		for _, m := range c.members {
			l, err := newLink(fmt.Sprintf("server%d to %s", i, m.name), m.client)
			if err != nil {
				return err
			}
			links = append(links, l)
			urls = append(urls, "http://"+l.addr())
		}
		c.toEtcd = append(c.toEtcd, links)
		s, err := startServer(ctx, r.place, fmt.Sprint("server", i), r.Fault, r.data, r.h, &r.starts,
			"--store=etcd:"+strings.Join(urls, ",")+"/prove", fmt.Sprintf("--election-ttl=%d", int(electionTTL.Seconds())))
		if err != nil {
			return err
		}
		r.servers = append(r.servers, s)
	}
	r.lanes = [][]kind{c.serverFaults(), c.etcdFaults(), append(r.network(), r.stopClient(), r.stepClock())}
	r.calm = []kind{
		{"stop leader in calm and ask it what it knows", 1, 0, 0, func(ctx context.Context, f fault) error { return c.stopAndAsk(ctx, f, knownByHeart) }},
		{"stop leader in calm and ask it to commit", 1, 0, 0, func(ctx context.Context, f fault) error { return c.stopAndAsk(ctx, f, committed) }},
	}
	return r.setUpClients(ctx)
}

// leader is the server that says that it leads; some server, if none does at the moment.
func (c *cluster) leader(ctx context.Context, f fault) (int, *server) {
	limit, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	for limit.Err() == nil {
		for i, s := range c.r.servers {
			if s.leads(limit) {
				return i, s
			}
		}
		pause(limit, 20*time.Millisecond)
	}
	i := f.target % len(c.r.servers)
	return i, c.r.servers[i]
}

// leads reports whether the server says that it leads.
func (s *server) leads(ctx context.Context) bool {
	ctx, cancel := context.WithTimeout(ctx, 200*time.Millisecond)
	defer cancel()
	var health struct{ Role string }
	status := 0
	p := newPlain(s.process.Addr())
	defer p.close()
	return p.do(ctx, http.MethodGet, "/healthz", nil, &health, &status) == nil && health.Role == "leader"
}

// serverFaults is the lane of what goes wrong with servers.
func (c *cluster) serverFaults() []kind {
	leading := func(do func(ctx context.Context, f fault, i int, s *server) error) func(ctx context.Context, f fault) error {
		return func(ctx context.Context, f fault) error {
			i, s := c.leader(ctx, f)
			return do(ctx, f, i, s)
		}
	}
	return []kind{
		{"kill -9 of the leader", 3, 0, time.Second, leading(func(ctx context.Context, f fault, _ int, s *server) error { return s.kill(ctx, f.length) })},
		{"SIGTERM of the leader", 1, 0, time.Second, leading(func(ctx context.Context, f fault, _ int, s *server) error { return s.drain(ctx, f.length) })},
		// Past its lease, and short of it.
		{"stop leader", 3, electionTTL / 2, 5 * electionTTL / 2, leading(func(ctx context.Context, f fault, _ int, s *server) error { return hang(ctx, s.process, f.length) })},
		{"kill -9 of any server", 1, 0, time.Second, func(ctx context.Context, f fault) error {
			return c.r.servers[f.target%clusterSize].kill(ctx, f.length)
		}},
		{"cut leader from clients", 2, time.Second, 3 * time.Second, leading(func(ctx context.Context, f fault, _ int, s *server) error {
			return cut(ctx, f, s.failing())
		})},
		{"cut leader from etcd", 3, electionTTL / 2, 5 * electionTTL / 2, leading(func(ctx context.Context, f fault, i int, _ *server) error {
			return cut(ctx, f, c.toEtcd[i])
		})},
		{"half-open from leader to etcd", 2, electionTTL / 2, 5 * electionTTL / 2, leading(func(ctx context.Context, f fault, i int, _ *server) error {
			return poisoned(ctx, f, c.toEtcd[i], "timeout", map[string]any{"timeout": 0}, "upstream", "downstream")
		})},
		{"step clock of a server", 1, 100 * time.Millisecond, time.Second, func(ctx context.Context, f fault) error {
			err := c.r.servers[f.target%clusterSize].step(time.Duration(f.degree-50) * time.Minute)
			pause(ctx, f.length)
			return err
		}},
	}
}

// etcdFaults is the lane of what goes wrong with etcd.
func (c *cluster) etcdFaults() []kind {
	one := func(f fault) *member { return c.members[f.target%clusterSize] }
	toOne := func(f fault) (links []*link) {
		for _, from := range c.toEtcd {
			links = append(links, from[f.target%clusterSize])
		}
		return links
	}
	return []kind{
		{"kill -9 of a member of etcd", 2, 0, 2 * time.Second, func(ctx context.Context, f fault) error { return one(f).kill(ctx, f.length) }},
		{"stop member of etcd", 2, 500 * time.Millisecond, 4 * time.Second, func(ctx context.Context, f fault) error { return one(f).hang(ctx, f.length) }},
		{"cut members of etcd from one", 2, 500 * time.Millisecond, 4 * time.Second, func(ctx context.Context, f fault) error {
			return cut(ctx, f, []*link{one(f).peers})
		}},
		{"cut members of etcd from each other", 1, 200 * time.Millisecond, 2 * time.Second, func(ctx context.Context, f fault) error {
			var all []*link
			for _, m := range c.members {
				all = append(all, m.peers)
			}
			return cut(ctx, f, all)
		}},
		{"slow member of etcd", 2, time.Second, 4 * time.Second, func(ctx context.Context, f fault) error {
			return poisoned(ctx, f, append(toOne(f), one(f).peers), "latency", map[string]any{"latency": 2 + f.degree*2, "jitter": f.degree}, "upstream", "downstream")
		}},
		{"reset of a member of etcd", 1, 200 * time.Millisecond, time.Second, func(ctx context.Context, f fault) error {
			return poisoned(ctx, f, toOne(f), "reset_peer", map[string]any{"timeout": f.degree}, "downstream")
		}},
	}
}

// step makes the wall clock of a server wrong by so much.
func (s *server) step(by time.Duration) error {
	return os.WriteFile(s.clock, fmt.Append(nil, by.Microseconds()), 0o600)
}

func (c *cluster) close() (err error) {
	for _, links := range c.toEtcd {
		for _, l := range links {
			l.close()
		}
	}
	for _, m := range c.members {
		m.peers.close()
		err = errors.Join(err, m.end(syscall.SIGKILL))
	}
	return err
}

// BuildEtcd builds etcd into dir, from its module beside the server's tests.
func BuildEtcd(ctx context.Context, server, dir string) (binary string, err error) {
	if binary = os.Getenv("ETCD_BIN"); binary != "" {
		return binary, nil
	}
	if binary, err = filepath.Abs(filepath.Join(dir, "etcd")); err != nil {
		return "", err
	}
	return binary, goBuild(ctx, filepath.Join(server, "internal/etcdtest/etcd"), "-o", binary, ".")
}
