package etcd

import (
	"context"
	"errors"
	"fmt"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/lockserver/lockserver/server/internal/lock"
	"github.com/lockserver/lockserver/server/internal/store"
	"github.com/lockserver/lockserver/server/internal/store/record"
)

// etcdStore is the store of one leadership.
type etcdStore struct {
	*candidate
	over     context.Context // ends with the leadership, or before it
	end      context.CancelCauseFunc
	room     room
	sequence sequence // as it is in etcd
	stored   string   // its value there, or "" if it was never put
	closed   bool
}

var errClosed = errors.New("etcd store is closed")

// pageSize is how many grants one request loads.
const pageSize = 5000

// Shared marks the store as a store.Shared.
func (s *etcdStore) Shared() {}

// open reads the sequence.
func (s *etcdStore) open(ctx context.Context) error {
	s.over, s.end = context.WithCancelCause(s.hopes)
	if _, err := s.readSequence(ctx); err != nil {
		return err
	}
	return s.look(ctx)
}

// readSequence returns the revision at which it did.
func (s *etcdStore) readSequence(ctx context.Context) (revision int64, err error) {
	r, err := s.guarded(ctx, nil, clientv3.OpGet(s.keys.sequence()))
	if err != nil {
		return 0, err
	}
	s.sequence, s.stored = sequence{}, ""
	if kvs := r.Responses[0].GetResponseRange().Kvs; len(kvs) > 0 {
		if s.sequence, err = decodeSequence(kvs[0].Key, kvs[0].Value); err != nil {
			return 0, err
		}
		s.stored = string(kvs[0].Value)
	}
	return r.Header.Revision, nil
}

// Load reads at one revision, at which this server leads. Whatever a former leader has committed is there, and nothing of it can follow.
func (s *etcdStore) Load(ctx context.Context, yield func(lock.Record) error) (lastToken int64, err error) {
	if s.closed {
		return 0, errClosed
	}
	revision, err := s.readSequence(ctx)
	if err != nil {
		return 0, err
	}
	end := clientv3.GetPrefixRangeEnd(s.keys.grants())
	for from := s.keys.grants(); ; {
		var page *clientv3.GetResponse
		first := true
		err := s.try(ctx, func(ctx context.Context) (err error) {
			to := s.near.pick(first)
			first = false
			page, err = to.Get(ctx, from, clientv3.WithRange(end), clientv3.WithLimit(pageSize), clientv3.WithRev(revision))
			return err
		})
		if err != nil {
			return 0, s.broken(ctx, err)
		}
		for _, kv := range page.Kvs {
			if err := ctx.Err(); err != nil {
				return 0, err
			}
			r, err := s.decode(kv.Key, kv.Value)
			if err != nil {
				return 0, fmt.Errorf("%w: key %q: %w", store.ErrCorrupt, kv.Key, err)
			}
			if err := yield(r); err != nil {
				return 0, err
			}
		}
		if !page.More {
			return s.sequence.token, nil
		}
		from = string(page.Kvs[len(page.Kvs)-1].Key) + "\x00"
	}
}

func (s *etcdStore) decode(key, value []byte) (lock.Record, error) {
	token, err := s.keys.token(key)
	if err != nil {
		return lock.Record{}, err
	}
	if token > s.sequence.token {
		return lock.Record{}, fmt.Errorf("its token is above the highest committed, %d", s.sequence.token)
	}
	return record.Decode(key, token, value)
}

func (s *etcdStore) Lost() <-chan struct{} { return s.over.Done() }
func (s *etcdStore) Err() error            { return context.Cause(s.over) }

// Close resigns, unless the store has ended before the leadership: then the next one that is opened has that.
func (s *etcdStore) Close() error {
	if s.closed {
		return nil
	}
	s.closed = true
	s.lookNoMore()
	if s.Err() != nil && s.err() == nil {
		s.kept = s.candidate
		return nil
	}
	s.withdraw()
	return nil
}

// broken fails the store, unless it was the caller who gave up.
func (s *etcdStore) broken(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return s.lose(err)
}
