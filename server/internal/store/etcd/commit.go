package etcd

import (
	"context"
	"errors"
	"fmt"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/lockserver/lockserver/server/internal/lock"
	"github.com/lockserver/lockserver/server/internal/store/record"
)

// maxBytes bounds the records of a transaction. etcd refuses requests of more than 1.5 MiB by default.
const maxBytes = 1 << 20

// Commit makes the changes durable in transactions, one after the other. Without changes it confirms that this server led after it was
// called. It gives up when ctx ends; it is then unknown what became of the changes, as after any error.
func (s *etcdStore) Commit(ctx context.Context, changes []lock.Change) error {
	if s.closed {
		return errClosed
	}
	if err := s.Err(); err != nil {
		return err
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	defer context.AfterFunc(s.over, func() { cancel(s.Err()) })()
	if len(changes) == 0 {
		// A transaction without a read would not ask the other members.
		_, err := s.guarded(ctx, nil, clientv3.OpGet(s.key, clientv3.WithKeysOnly()))
		return err
	}
	for i := range changes {
		c := &changes[i]
		if c.Delete {
			continue
		}
		if err := record.Check(&c.Record); err != nil {
			s.fail(fmt.Errorf("change %d, a grant of %q: %w", c.Seq, c.Record.Resource, err))
			return s.err()
		}
	}
	for len(changes) > 0 {
		n := s.fit(changes)
		if err := s.commit(ctx, changes[:n]); err != nil {
			return err
		}
		changes = changes[n:]
	}
	return nil
}

// fit returns how many of the changes go into one transaction: whole groups, if at least one fits.
func (s *etcdStore) fit(changes []lock.Change) int {
	groups, bytes := 0, 0
	for i := range changes {
		c := &changes[i]
		if !c.Delete {
			bytes += record.Len(&c.Record)
		}
		// One operation is the sequence's.
		if i > 0 && (i == s.cfg.MaxOperations-1 || bytes > maxBytes) {
			if groups > 0 {
				return groups
			}
			return i
		}
		if c.Last {
			groups = i + 1
		}
	}
	return len(changes)
}

// commit makes the changes durable in one transaction.
//
// If it puts something, it is numbered: it compares the sequence that it follows, and puts its own. So it takes effect once, however
// often it is sent, and a copy that arrives late does nothing. One that only deletes is not, as it may be repeated: no token is put
// again. etcd admits it even if it is full.
func (s *etcdStore) commit(ctx context.Context, changes []lock.Change) error {
	operations := make([]clientv3.Op, 0, len(changes)+1)
	places := make(map[int64]int, len(changes)) // in operations, as etcd admits one operation for a key
	next := sequence{s.sequence.number + 1, s.sequence.token}
	puts := 0
	for i := range changes {
		r := &changes[i].Record
		key := s.keys.grant(r.Token)
		operation := clientv3.OpDelete(key)
		if !changes[i].Delete {
			value := make([]byte, record.Len(r))
			record.Put(value, []byte(key), r)
			operation = clientv3.OpPut(key, string(value))
			next.token = max(next.token, r.Token)
		}
		if place, found := places[r.Token]; found {
			operations[place] = operation
		} else {
			places[r.Token] = len(operations)
			operations = append(operations, operation)
		}
	}
	for i := range operations {
		if operations[i].IsPut() {
			puts++
		}
	}
	if puts == 0 && next.token == s.sequence.token {
		_, err := s.guarded(ctx, nil, operations...)
		return err
	}
	stored := next.encode(s.keys.sequence())
	operations = append(operations, clientv3.OpPut(s.keys.sequence(), stored))
	if _, err := s.guarded(ctx, &stored, operations...); err != nil {
		return err
	}
	s.sequence, s.stored = next, stored
	return nil
}

// guarded runs a transaction that takes effect only if this server leads and, if it is numbered, the sequence is as this server left it.
// It returns nil without an error if an attempt of which no answer came was done. Any error fails the store.
func (s *etcdStore) guarded(ctx context.Context, numbered *string, operations ...clientv3.Op) (r *clientv3.TxnResponse, err error) {
	key, sequence := s.key, s.keys.sequence()
	guard := []clientv3.Cmp{clientv3.Compare(clientv3.CreateRevision(key), "=", s.revision)}
	if numbered != nil && s.stored == "" {
		guard = append(guard, clientv3.Compare(clientv3.CreateRevision(sequence), "=", 0))
	} else if numbered != nil {
		guard = append(guard, clientv3.Compare(clientv3.Value(sequence), "=", s.stored))
	}
	attempts := 0
	err = s.try(ctx, func(ctx context.Context) (err error) {
		to := s.near.pick(attempts == 0)
		attempts++
		r, err = to.Txn(ctx).If(guard...).Then(operations...).Else(clientv3.OpGet(key), clientv3.OpGet(sequence)).Commit()
		if err != nil && !isFinal(err) {
			s.near.drop(to)
		}
		return err
	})
	switch {
	case isFull(err) && attempts == 1:
		return nil, s.refused(err)
	case err != nil:
		return nil, s.broken(ctx, err)
	case r.Succeeded:
		s.near.heard(r.Header.RaftTerm)
		return r, nil
	}
	leads := false
	for _, kv := range r.Responses[0].GetResponseRange().Kvs {
		leads = kv.CreateRevision == s.revision
	}
	for _, kv := range r.Responses[1].GetResponseRange().Kvs {
		if leads && numbered != nil && string(kv.Value) == *numbered {
			return nil, nil
		}
	}
	if leads {
		return nil, s.lose(errors.New("somebody else has written the sequence"))
	}
	return nil, s.lose(errors.New("the key of its candidate is gone"))
}
