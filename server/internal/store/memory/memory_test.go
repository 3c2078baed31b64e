package memory_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/lockserver/lockserver/server/internal/lock"
	"github.com/lockserver/lockserver/server/internal/store/memory"
	"github.com/lockserver/lockserver/server/internal/store/storetest"
)

func TestEmptyUntilItsFirstCommit(t *testing.T) {
	s := memory.New()
	for range 2 {
		records, last := storetest.Load(t, s)
		require.Empty(t, records)
		require.Zero(t, last)
		storetest.Commit(t, s)
	}
	storetest.Commit(t, s, lock.Change{Last: true, Record: lock.Record{Resource: "r", Owner: "o", Token: 1}})
	_, err := s.Load(t.Context(), func(lock.Record) error { return nil })
	require.ErrorContains(t, err, "can't be loaded again")
}

func TestNeverLost(t *testing.T) {
	s := memory.New()
	select {
	case <-s.Lost():
		require.Fail(t, "lost")
	default:
	}
	require.NoError(t, s.Err())
}

func TestClosedStoreRefuses(t *testing.T) {
	s := memory.New()
	require.NoError(t, s.Close())
	require.NoError(t, s.Close())
	require.Error(t, s.Commit(t.Context(), []lock.Change{{Last: true, Record: lock.Record{Token: 1}}}))
	_, err := s.Load(t.Context(), func(lock.Record) error { return nil })
	require.Error(t, err)
}
