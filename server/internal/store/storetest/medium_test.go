package storetest_test

import (
	"context"
	"errors"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/lockserver/lockserver/server/internal/lock"
	"github.com/lockserver/lockserver/server/internal/store"
	"github.com/lockserver/lockserver/server/internal/store/storetest"
)

func TestContract(t *testing.T) {
	storetest.Run(t, func(testing.TB) func() (store.Store, error) {
		m := storetest.NewMedium()
		return func() (store.Store, error) { return m.Open(), nil }
	})
}

func change(token int64, last bool) lock.Change {
	return lock.Change{Last: last, Record: lock.Record{Resource: "r", Owner: "o", Token: token}}
}

func TestFailedCommitLandsAPrefixOfWholeGroups(t *testing.T) {
	m := storetest.NewMedium()
	s := m.Open()
	storetest.Load(t, s)
	broken := errors.New("broken")
	m.Fail(1, broken)
	changes := []lock.Change{change(1, false), change(2, true), change(3, false), change(4, true)}
	require.ErrorIs(t, s.Commit(t.Context(), changes), broken)
	<-s.Lost()
	records, last := m.Records()
	require.Len(t, records, 2)
	require.EqualValues(t, 2, last)
	require.ErrorIs(t, s.Commit(t.Context(), changes), broken)
}

func TestLoadFencesTheOlderStore(t *testing.T) {
	m := storetest.NewMedium()
	old := m.Open()
	storetest.Load(t, old)
	storetest.Commit(t, old, change(1, true))
	young := m.Open()
	requireNotLost := func(s store.Store) {
		select {
		case <-s.Lost():
			require.Fail(t, "lost")
		default:
		}
	}
	requireNotLost(old)
	storetest.Load(t, young)
	<-old.Lost()
	require.ErrorIs(t, old.Commit(t.Context(), []lock.Change{change(2, true)}), store.ErrReplaced)
	storetest.Commit(t, young, change(3, true))
	requireNotLost(young)
}

func TestGateHoldsACommit(t *testing.T) {
	m := storetest.NewMedium()
	s := m.Open()
	storetest.Load(t, s)
	arrived, release := make(chan struct{}), make(chan struct{})
	m.Gate(func(context.Context) error { close(arrived); <-release; return nil })
	done := make(chan error, 1)
	go func() { done <- s.Commit(context.Background(), []lock.Change{change(1, true)}) }()
	<-arrived
	records, _ := m.Records()
	require.Empty(t, records)
	close(release)
	require.NoError(t, <-done)
	require.Equal(t, 1, m.Commits())
}
