package storetest

import (
	"cmp"
	"context"
	"slices"

	"github.com/stretchr/testify/require"

	"github.com/lockserver/lockserver/server/internal/lock"
	"github.com/lockserver/lockserver/server/internal/store"
)

// Open opens a store, or fails the test.
func Open(t TB, open func() (store.Store, error)) store.Store {
	t.Helper()
	s, err := open()
	require.NoError(t, err)
	return s
}

// Reopen closes s and opens the store again.
func Reopen(t TB, s store.Store, open func() (store.Store, error)) store.Store {
	t.Helper()
	require.NoError(t, s.Close())
	return Open(t, open)
}

// Commit commits changes, or fails the test.
func Commit(t TB, s store.Store, changes ...lock.Change) {
	t.Helper()
	require.NoError(t, s.Commit(context.Background(), changes))
}

// Load returns the records of s, sorted by token.
func Load(t TB, s store.Store) (records []lock.Record, lastToken int64) {
	t.Helper()
	lastToken, err := s.Load(context.Background(), func(r lock.Record) error {
		records = append(records, r)
		return nil
	})
	require.NoError(t, err)
	slices.SortFunc(records, byToken)
	return records, lastToken
}

func requireRecords(t TB, s store.Store, want ...lock.Record) {
	t.Helper()
	got, _ := Load(t, s)
	require.Equal(t, want, got)
}

func byToken(a, b lock.Record) int { return cmp.Compare(a.Token, b.Token) }

func put(r lock.Record) lock.Change { return lock.Change{Record: r, Last: true} }

func remove(r lock.Record) lock.Change {
	return lock.Change{Delete: true, Last: true, Record: lock.Record{Resource: r.Resource, Token: r.Token}}
}
