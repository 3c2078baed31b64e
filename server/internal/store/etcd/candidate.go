package etcd

import (
	"context"
	"errors"
	"fmt"
	"time"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/lockserver/lockserver/server/internal/store"
)

// candidate is a server's key for one election. It leads while no older key is there.
type candidate struct {
	*Cluster
	near     *near
	lease    clientv3.LeaseID
	ttl      time.Duration // of the lease
	key      string
	revision int64           // in which the key was created
	hopes    context.Context // ends when the candidate cannot lead, or lead on; the cause says why
	fail     context.CancelCauseFunc
	stop     context.CancelFunc // ends keepAlive
	stopped  chan struct{}
}

// nominate puts a new key under a new lease.
func (c *Cluster) nominate(ctx context.Context) (*candidate, error) {
	m := &candidate{Cluster: c, near: &near{Cluster: c}, stopped: make(chan struct{})}
	m.hopes, m.fail = context.WithCancelCause(context.Background())
	began := time.Now()
	err := c.try(ctx, func(ctx context.Context) error {
		began = time.Now()
		granted, err := c.client.Grant(ctx, int64((c.cfg.TTL+time.Second-1)/time.Second))
		if err == nil {
			m.lease, m.ttl = granted.ID, time.Duration(granted.TTL)*time.Second
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	keeping, stop := context.WithCancel(context.Background())
	m.stop = stop
	go m.keepAlive(keeping, began)
	m.key = c.keys.candidate(m.lease)
	err = c.try(ctx, func(ctx context.Context) error {
		done, err := c.client.Txn(ctx).
			If(clientv3.Compare(clientv3.CreateRevision(m.key), "=", 0)).
			Then(clientv3.OpPut(m.key, c.cfg.Advertise, clientv3.WithLease(m.lease))).
			Else(clientv3.OpGet(m.key)).Commit()
		switch {
		case err != nil:
			return err
		case done.Succeeded:
			m.revision = done.Header.Revision
		default: // an attempt before this one was done
			m.revision = done.Responses[0].GetResponseRange().Kvs[0].CreateRevision
		}
		return nil
	})
	if err != nil {
		m.withdraw()
		return nil, err
	}
	return m, nil
}

// elected returns when no older key is there. It tells who leads until then.
func (m *candidate) elected(ctx context.Context) error {
	for {
		var all *clientv3.GetResponse
		err := m.try(ctx, func(ctx context.Context) (err error) {
			all, err = m.client.Get(ctx, m.keys.candidates(), clientv3.WithPrefix(), clientv3.WithSort(clientv3.SortByCreateRevision, clientv3.SortAscend))
			return err
		})
		if err != nil {
			return err
		}
		place := -1
		for i, kv := range all.Kvs {
			if string(kv.Key) == m.key {
				place = i
			}
		}
		switch {
		case place < 0:
			return errors.New("this candidate's lease is over")
		case place == 0:
			m.cfg.Leader("")
			return nil
		}
		m.cfg.Leader(string(all.Kvs[0].Value))
		if err := m.change(ctx, all.Header.Revision+1); err != nil {
			return err
		}
	}
}

// change waits until a candidate may have left since the revision. A watch can fail silently, so it is not relied on.
func (m *candidate) change(ctx context.Context, since int64) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	select {
	case <-m.client.Watch(clientv3.WithRequireLeader(ctx), m.keys.candidates(), clientv3.WithPrefix(), clientv3.WithRev(since), clientv3.WithFilterPut()):
	case <-time.After(m.patience()):
	case <-m.hopes.Done():
		return m.err()
	case <-ctx.Done():
		return ctx.Err()
	}
	return nil
}

// keepAlive renews the lease until ctx ends or the lease is lost. Each renewal is a request of its own, so that a member of etcd that
// hangs costs one attempt.
func (m *candidate) keepAlive(ctx context.Context, renewed time.Time) {
	defer close(m.stopped)
	for pause := m.ttl / 3; ; {
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			return
		}
		began := time.Now()
		limited, cancel := context.WithTimeout(ctx, m.ttl/4)
		_, err := m.client.KeepAliveOnce(limited, m.lease)
		cancel()
		switch {
		case ctx.Err() != nil:
			return
		case err == nil:
			renewed, pause = began, m.ttl/3
		case errors.Is(err, rpctypes.ErrLeaseNotFound):
			_ = m.lose(errors.New("etcd has ended the lease"))
			return
		case time.Since(renewed) >= m.ttl:
			_ = m.lose(fmt.Errorf("the lease could not be renewed: %w", err))
			return
		default:
			pause = m.ttl / 20
		}
	}
}

// lose ends the leadership, unless it has ended, and returns why it did. The store works on for whoever leads then.
func (m *candidate) lose(why error) error {
	m.fail(fmt.Errorf("%w: %w", store.ErrReplaced, why))
	return m.err()
}

// err returns why the leadership has ended, or nil.
func (m *candidate) err() error { return context.Cause(m.hopes) }

// withdraw takes the key away, so that the next candidate leads at once. If etcd cannot be reached, the lease ends by itself.
func (m *candidate) withdraw() {
	m.stop()
	<-m.stopped
	m.near.close()
	ctx, cancel := context.WithTimeout(context.Background(), min(m.patience(), time.Second))
	defer cancel()
	if _, err := m.client.Revoke(ctx, m.lease); err != nil && !errors.Is(err, rpctypes.ErrLeaseNotFound) {
		m.log.Warn("etcd could not be told to end the lease; it ends by itself", "ttl", m.ttl, "error", err)
	}
}
