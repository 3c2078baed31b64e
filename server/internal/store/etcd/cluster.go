// Package etcd keeps grants in etcd, for several servers of which one leads. etcd also elects the leader: the servers are candidates,
// each with a key under a lease, and the one whose key is the oldest leads. Every transaction of the leader compares its key, so that
// nothing that a former leader still sends can take effect.
package etcd

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"time"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/lockserver/lockserver/server/internal/store"
)

// Config says which etcd, and who asks.
type Config struct {
	Endpoints     []string
	Prefix        string // of all keys; servers with the same prefix are one cluster
	User          string // "" for none
	Password      string
	TLS           *tls.Config   // nil for none
	Advertise     string        // URL at which the other servers reach this one
	TTL           time.Duration // how long a leader that etcd does not hear of stays one
	MaxOperations int           // of one transaction; 0: etcd's default
	Logger        *slog.Logger
	// Leader is told the URL of the server that leads, and "" if that is this one.
	Leader func(url string)
	// Key is told a random text that all servers of the cluster have in common, and nobody else without etcd; nil if it is not wanted.
	Key func(key string)
}

// defaultOperations is etcd's default of --max-txn-ops.
const defaultOperations = 128

// Cluster is this server's place among those with the same prefix.
type Cluster struct {
	cfg    Config
	log    *slog.Logger
	keys   keys
	client *clientv3.Client // nil until etcd was reached
	kept   *candidate       // leads on, without a store; or nil
}

// New returns a cluster that etcd need not have been reached for.
func New(cfg Config) *Cluster {
	if cfg.MaxOperations == 0 {
		cfg.MaxOperations = defaultOperations
	}
	return &Cluster{cfg: cfg, log: cfg.Logger, keys: keys(strings.TrimSuffix(cfg.Prefix, "/"))}
}

// Open stands by until this server leads, and returns the store of its leadership. It tries again while etcd cannot be reached, and fails
// only if ctx ends, or if trying again cannot help. Only one store may be open at a time.
func (c *Cluster) Open(ctx context.Context) (store.Store, error) {
	for {
		s, err := c.stand(ctx)
		switch {
		case err == nil:
			return s, nil
		case ctx.Err() != nil:
			return nil, ctx.Err()
		case isFinal(err) && !errors.Is(err, rpctypes.ErrNoSpace):
			return nil, c.explain(err)
		}
		c.log.Warn("cannot stand for leader; trying again", "error", errors.Join(err, c.probe(ctx)))
		select {
		case <-time.After(c.cfg.TTL / 5):
		case <-ctx.Done():
		}
	}
}

// stand makes this server a candidate, and waits until it leads.
func (c *Cluster) stand(ctx context.Context) (store.Store, error) {
	if err := c.connect(); err != nil {
		return nil, err
	}
	if err := c.shareKey(ctx); err != nil {
		return nil, err
	}
	m, err := c.candidate(ctx)
	if err != nil {
		return nil, err
	}
	err = m.elected(ctx)
	if err == nil {
		s := &etcdStore{candidate: m}
		if err = s.open(ctx); err == nil {
			return s, nil
		}
	}
	m.withdraw()
	return nil, err
}

// shareKey tells the key of the cluster. The first server makes it; a full etcd, which refuses even that, may have it already.
func (c *Cluster) shareKey(ctx context.Context) error {
	if c.cfg.Key == nil {
		return nil
	}
	return c.try(ctx, func(ctx context.Context) error {
		name := c.keys.key()
		got, err := c.client.Get(ctx, name)
		if err == nil && len(got.Kvs) == 0 {
			_, err = c.client.Txn(ctx).If(clientv3.Compare(clientv3.CreateRevision(name), "=", 0)).Then(clientv3.OpPut(name, rand.Text())).Commit()
			if err == nil {
				got, err = c.client.Get(ctx, name) // it may be another server's
			}
		}
		if err != nil {
			return err
		}
		if len(got.Kvs) == 0 {
			return fmt.Errorf("%w: key %q is gone", store.ErrCorrupt, name)
		}
		c.cfg.Key(string(got.Kvs[0].Value))
		return nil
	})
}

// candidate returns the one that leads on without a store, or else a new one.
func (c *Cluster) candidate(ctx context.Context) (*candidate, error) {
	m := c.kept
	c.kept = nil
	switch {
	case m == nil:
	case m.err() == nil:
		return m, nil
	default:
		m.withdraw()
	}
	return c.nominate(ctx)
}

func (c *Cluster) connect() (err error) {
	if c.client != nil {
		return nil
	}
	c.client, err = c.dial(c.cfg.Endpoints...)
	return err
}

func (c *Cluster) dial(endpoints ...string) (*clientv3.Client, error) {
	return clientv3.New(clientv3.Config{
		Endpoints: endpoints, Username: c.cfg.User, Password: c.cfg.Password, TLS: c.cfg.TLS, Logger: zap.NewNop(),
		DialTimeout: c.cfg.TTL, DialKeepAliveTime: 5 * time.Second, DialKeepAliveTimeout: 3 * time.Second,
	})
}

// Close ends the connections. The store must be closed.
func (c *Cluster) Close() error {
	if c.client == nil {
		return nil
	}
	if c.kept != nil {
		c.kept.withdraw()
		c.kept = nil
	}
	client := c.client
	c.client = nil
	return client.Close()
}

// patience is how long one attempt of a request may take. etcd has several members, and the next attempt goes to another one.
func (c *Cluster) patience() time.Duration { return c.cfg.TTL / 4 }

// try makes attempts until one succeeds, fails for good, or the time that a leader may be out of touch is over.
func (c *Cluster) try(ctx context.Context, attempt func(ctx context.Context) error) error {
	giveUp := time.Now().Add(c.cfg.TTL)
	for pause := time.Millisecond; ; pause = min(2*pause, c.patience()) {
		limited, cancel := context.WithTimeout(ctx, c.patience())
		err := attempt(limited)
		cancel()
		switch {
		case err == nil || isFinal(err):
			return err
		case ctx.Err() != nil:
			return context.Cause(ctx)
		case time.Now().After(giveUp):
			return fmt.Errorf("no word from etcd for %v: %w", c.cfg.TTL, err)
		}
		select {
		case <-time.After(pause):
		case <-ctx.Done():
		}
	}
}

// isFinal tells an error after which the request was not done, and never will be, from one that leaves that open.
func isFinal(err error) bool {
	if errors.Is(err, rpctypes.ErrNoSpace) || errors.Is(err, store.ErrCorrupt) || errors.Is(err, store.ErrFormat) {
		return true
	}
	code := status.Code(err)
	if known, ok := errors.AsType[rpctypes.EtcdError](err); ok {
		code = known.Code()
	}
	switch code {
	case codes.InvalidArgument, codes.PermissionDenied, codes.Unauthenticated, codes.NotFound, codes.OutOfRange, codes.Unimplemented:
		return true
	}
	return false
}
