package etcd

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"

	"github.com/lockserver/lockserver/server/internal/store"
)

// etcd that is over its quota raises an alarm, and refuses what puts until an operator has made room and disarmed it. The commit that
// meets that first ends the store, but not the leadership: the server opens a store again, which is full from its beginning. A server
// that is no candidate yet cannot become one, as that takes a put too.

// room tells whether etcd is full.
type room struct {
	mu      sync.Mutex
	full    bool
	changed chan struct{} // closed when it is full no more
	stop    context.CancelFunc
	watch   sync.WaitGroup
}

// Full makes the store a store.Bounded.
func (s *etcdStore) Full() (full bool, changed <-chan struct{}) {
	s.room.mu.Lock()
	defer s.room.mu.Unlock()
	return s.room.full, s.room.changed
}

// look asks whether there is room. If not, it asks again until there is.
func (s *etcdStore) look(ctx context.Context) error {
	s.room.changed = make(chan struct{})
	full, err := s.alarmed(ctx)
	if isFinal(err) { // it does not tell this user; the next commit will
		return nil
	}
	if err != nil || !full {
		return err
	}
	s.room.full = true
	watching, stop := context.WithCancel(context.Background())
	s.room.stop = stop
	s.room.watch.Go(func() {
		for {
			select {
			case <-time.After(s.cfg.TTL / 5):
			case <-watching.Done():
				return
			}
			if full, err := s.alarmed(watching); err == nil && !full {
				break
			}
		}
		s.room.mu.Lock()
		defer s.room.mu.Unlock()
		s.room.full = false
		close(s.room.changed)
		s.room.changed = make(chan struct{})
	})
	return nil
}

func (s *etcdStore) alarmed(ctx context.Context) (full bool, err error) {
	err = s.try(ctx, func(ctx context.Context) error {
		list, err := s.client.AlarmList(ctx)
		if err != nil {
			return err
		}
		full = false
		for _, a := range list.Alarms {
			full = full || a.Alarm == etcdserverpb.AlarmType_NOSPACE
		}
		return nil
	})
	return full, err
}

func (s *etcdStore) lookNoMore() {
	if s.room.stop != nil {
		s.room.stop()
		s.room.watch.Wait()
	}
}

// refused ends the store over what etcd had no room for, and surely was not done. The candidate leads on.
func (s *etcdStore) refused(err error) error {
	s.end(fmt.Errorf("%w: the locks are loaded again: %w", store.ErrReplaced, err))
	return s.Err()
}

// isFull reports whether etcd refused a put.
func isFull(err error) bool { return errors.Is(err, rpctypes.ErrNoSpace) }
