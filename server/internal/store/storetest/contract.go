// Package storetest checks stores against the contract of package store, and has a store that fails on demand.
package storetest

import (
	"context"
	"errors"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/lockserver/lockserver/server/internal/lock"
	"github.com/lockserver/lockserver/server/internal/store"
)

// TB is what the checks need of a *testing.T or a *rapid.T.
type TB interface {
	require.TestingT
	Helper()
	Errorf(format string, args ...any)
}

// Run checks the stores that newMedium's media open. A medium is where a store keeps its records: each store that it opens finds what
// the store before it committed.
func Run(t *testing.T, newMedium func(tb testing.TB) func() (store.Store, error)) {
	cases := map[string]func(t *testing.T, open func() (store.Store, error)){
		"a new store is empty":                        testEmpty,
		"records come back whole":                     testRoundTrip,
		"a put replaces":                              testReplace,
		"a delete removes":                            testDelete,
		"changes take effect in their order":          testOrder,
		"the last token outlives its grant":           testLastToken,
		"a lower token does not lower the last":       testLowerToken,
		"the changes are the caller's again":          testCallerOwnsChanges,
		"load stops at the first error of yield":      testYieldError,
		"load stops when its context ends":            testLoadCancelled,
		"a commit that no decoder could read back":    testRefusesWhatItCannotKeep,
		"a closed store refuses":                      testClosed,
		"a healthy store is not lost":                 testNotLost,
		"a commit of many changes":                    testManyChanges,
		"any history, with restarts, matches a model": testModel,
	}
	for _, name := range slices.Sorted(maps.Keys(cases)) {
		t.Run(name, func(t *testing.T) { cases[name](t, newMedium(t)) })
	}
}

func testEmpty(t *testing.T, open func() (store.Store, error)) {
	for range 2 {
		s := Open(t, open)
		records, last := Load(t, s)
		require.Empty(t, records)
		require.Zero(t, last)
		require.NoError(t, s.Close())
	}
}

func testRoundTrip(t *testing.T, open func() (store.Store, error)) {
	want := []lock.Record{
		{Resource: "plain", Owner: "o", Token: 1},
		{Resource: "shared", Owner: "o", ID: "i", Token: 2, Mode: lock.Shared, Expire: time.Millisecond, Lease: time.Millisecond},
		{Resource: "semaphore", Owner: "o", Token: 3, Mode: lock.Semaphore, Limit: 1_000_000, Expire: time.Second, Lease: time.Hour},
		{Resource: "same", Owner: "same", ID: "same", Note: "same", Token: 4},
		{Resource: "Straße \xf0\x9f\x94\x92", Owner: "\u00e9", ID: "\u4f60", Note: "line\nline\x00", Token: 5},
		{Resource: "bounded", Owner: "o", Note: "n", Token: 6, Expire: time.Second, Lease: time.Second, MaxHold: time.Hour},
		{
			Resource: strings.Repeat("r", 512), Owner: strings.Repeat("o", 256), ID: strings.Repeat("i", 64),
			Note: strings.Repeat("n", 1024), Token: 1<<53 - 1, Expire: 10 * 365 * 24 * time.Hour, Lease: 10 * 365 * 24 * time.Hour,
		},
	}
	s := Open(t, open)
	for _, r := range want {
		Commit(t, s, put(r))
	}
	requireRecords(t, s, want...)
	s = Reopen(t, s, open)
	requireRecords(t, s, want...)
	require.NoError(t, s.Close())
}

func testReplace(t *testing.T, open func() (store.Store, error)) {
	s := Open(t, open)
	r := lock.Record{Resource: "r", Owner: "o", Token: 7, Expire: time.Second, Lease: time.Second}
	Commit(t, s, put(r))
	r.Lease = time.Minute
	Commit(t, s, put(r))
	s = Reopen(t, s, open)
	requireRecords(t, s, r)
	require.NoError(t, s.Close())
}

func testDelete(t *testing.T, open func() (store.Store, error)) {
	s := Open(t, open)
	a, b := lock.Record{Resource: "a", Owner: "o", Token: 1}, lock.Record{Resource: "b", Owner: "o", Token: 2}
	Commit(t, s, put(a), put(b))
	s = Reopen(t, s, open)
	Commit(t, s, remove(a))
	s = Reopen(t, s, open)
	requireRecords(t, s, b)
	require.NoError(t, s.Close())
}

func testOrder(t *testing.T, open func() (store.Store, error)) {
	s := Open(t, open)
	short := lock.Record{Resource: "short", Owner: "o", Token: 1}
	kept := lock.Record{Resource: "kept", Owner: "o", Token: 2, Expire: time.Second, Lease: time.Second}
	longer := kept
	longer.Lease = time.Hour
	Commit(t, s, put(short), put(kept), remove(short), put(longer))
	requireRecords(t, s, longer)
	s = Reopen(t, s, open)
	requireRecords(t, s, longer)
	require.NoError(t, s.Close())
}

func testLastToken(t *testing.T, open func() (store.Store, error)) {
	s := Open(t, open)
	r := lock.Record{Resource: "r", Owner: "o", Token: 41}
	Commit(t, s, put(r))
	Commit(t, s, remove(r))
	r.Token = 42
	Commit(t, s, put(r), remove(r))
	for range 3 {
		s = Reopen(t, s, open)
		records, last := Load(t, s)
		require.Empty(t, records)
		require.EqualValues(t, 42, last)
	}
	require.NoError(t, s.Close())
}

func testLowerToken(t *testing.T, open func() (store.Store, error)) {
	s := Open(t, open)
	high, low := lock.Record{Resource: "h", Owner: "o", Token: 9}, lock.Record{Resource: "l", Owner: "o", Token: 3}
	Commit(t, s, put(high))
	s = Reopen(t, s, open)
	Commit(t, s, put(low), remove(high))
	s = Reopen(t, s, open)
	records, last := Load(t, s)
	require.Equal(t, []lock.Record{low}, records)
	require.EqualValues(t, 9, last)
	require.NoError(t, s.Close())
}

func testCallerOwnsChanges(t *testing.T, open func() (store.Store, error)) {
	s := Open(t, open)
	want := lock.Record{Resource: "r", Owner: "o", Token: 1}
	changes := []lock.Change{put(want)}
	Commit(t, s, changes...)
	changes[0] = lock.Change{Record: lock.Record{Resource: "overwritten", Token: 2}}
	requireRecords(t, s, want)
	require.NoError(t, s.Close())
}

func testYieldError(t *testing.T, open func() (store.Store, error)) {
	s := Open(t, open)
	Commit(t, s, put(lock.Record{Resource: "a", Owner: "o", Token: 1}), put(lock.Record{Resource: "b", Owner: "o", Token: 2}))
	enough := errors.New("enough")
	var calls int
	_, err := s.Load(t.Context(), func(lock.Record) error { calls++; return enough })
	require.ErrorIs(t, err, enough)
	require.Equal(t, 1, calls)
	records, _ := Load(t, s)
	require.Len(t, records, 2)
	require.NoError(t, s.Close())
}

func testLoadCancelled(t *testing.T, open func() (store.Store, error)) {
	s := Open(t, open)
	Commit(t, s, put(lock.Record{Resource: "a", Owner: "o", Token: 1}), put(lock.Record{Resource: "b", Owner: "o", Token: 2}))
	ctx, cancel := context.WithCancel(t.Context())
	var calls int
	_, err := s.Load(ctx, func(lock.Record) error { calls++; cancel(); return nil })
	require.ErrorIs(t, err, context.Canceled)
	require.Equal(t, 1, calls)
	require.NoError(t, s.Close())
}

func testRefusesWhatItCannotKeep(t *testing.T, open func() (store.Store, error)) {
	bad := map[string]lock.Record{
		"token":        {Resource: "r", Owner: "o"},
		"mode":         {Resource: "r", Owner: "o", Token: 5, Mode: lock.Semaphore + 1},
		"limit":        {Resource: "r", Owner: "o", Token: 5, Mode: lock.Semaphore, Limit: -1},
		"expire":       {Resource: "r", Owner: "o", Token: 5, Expire: -1},
		"lease":        {Resource: "r", Owner: "o", Token: 5, Lease: -1},
		"longest hold": {Resource: "r", Owner: "o", Token: 5, MaxHold: -1},
		"resource":     {Resource: strings.Repeat("r", 1<<16), Owner: "o", Token: 5},
	}
	good := lock.Record{Resource: "good", Owner: "o", Token: 4}
	for _, field := range slices.Sorted(maps.Keys(bad)) {
		s := Open(t, open)
		Commit(t, s, put(good))
		err := s.Commit(t.Context(), []lock.Change{put(bad[field])})
		require.ErrorContains(t, err, field)
		select {
		case <-s.Lost():
		default:
			require.Fail(t, "the store is not lost after an error")
		}
		require.ErrorIs(t, s.Err(), err)
		require.Error(t, s.Commit(t.Context(), []lock.Change{put(good)}), "a commit after an error")
		s = Reopen(t, s, open)
		requireRecords(t, s, good)
		require.NoError(t, s.Close())
	}
}

func testClosed(t *testing.T, open func() (store.Store, error)) {
	s := Open(t, open)
	require.NoError(t, s.Close())
	require.NoError(t, s.Close())
	require.Error(t, s.Commit(t.Context(), []lock.Change{put(lock.Record{Resource: "r", Owner: "o", Token: 1})}))
	_, err := s.Load(t.Context(), func(lock.Record) error { return nil })
	require.Error(t, err)
}

func testNotLost(t *testing.T, open func() (store.Store, error)) {
	s := Open(t, open)
	Commit(t, s, put(lock.Record{Resource: "r", Owner: "o", Token: 1}))
	Commit(t, s)
	requireNotLost(t, s)
	require.NoError(t, s.Close())
	requireNotLost(t, s)
}

func requireNotLost(t *testing.T, s store.Store) {
	t.Helper()
	select {
	case <-s.Lost():
		require.Fail(t, "the store is lost")
	default:
	}
	require.NoError(t, s.Err())
}

func testManyChanges(t *testing.T, open func() (store.Store, error)) {
	const n = 50_000
	puts, deletes := make([]lock.Change, 0, n), make([]lock.Change, 0, n)
	for i := range n {
		r := lock.Record{Resource: "r", Owner: "o", Note: strings.Repeat("n", 300), Token: int64(i + 1)}
		puts, deletes = append(puts, put(r)), append(deletes, remove(r))
	}
	s := Open(t, open)
	Commit(t, s, puts...)
	s = Reopen(t, s, open)
	records, last := Load(t, s)
	require.Len(t, records, n)
	require.EqualValues(t, n, last)
	Commit(t, s, deletes[1:]...)
	s = Reopen(t, s, open)
	records, last = Load(t, s)
	require.Len(t, records, 1)
	require.EqualValues(t, n, last)
	require.NoError(t, s.Close())
}

func testModel(t *testing.T, open func() (store.Store, error)) {
	s := Open(t, open)
	model := map[int64]lock.Record{}
	var last int64
	rapid.Check(t, func(rt *rapid.T) { // one store for all checks, so that its history grows
		for range rapid.IntRange(1, 6).Draw(rt, "commits") {
			var changes []lock.Change
			for range rapid.IntRange(0, 8).Draw(rt, "changes") {
				r := Record().Draw(rt, "record")
				if rapid.Bool().Draw(rt, "delete") {
					changes = append(changes, remove(r))
					delete(model, r.Token)
					continue
				}
				changes = append(changes, put(r))
				model[r.Token] = r
				last = max(last, r.Token)
			}
			Commit(rt, s, changes...)
			if rapid.IntRange(0, 9).Draw(rt, "reopen") == 0 {
				s = Reopen(rt, s, open)
			}
		}
		records, got := Load(rt, s)
		want := slices.SortedFunc(maps.Values(model), byToken)
		require.Len(rt, records, len(want))
		for i := range want {
			require.Equal(rt, want[i], records[i])
		}
		require.Equal(rt, last, got)
	})
	require.NoError(t, s.Close())
}

// Record draws records with few different tokens, so that they collide.
func Record() *rapid.Generator[lock.Record] {
	return rapid.Custom(func(t *rapid.T) lock.Record {
		return lock.Record{
			Resource: rapid.StringN(1, 20, 512).Draw(t, "resource"),
			Owner:    rapid.StringN(1, 20, 256).Draw(t, "owner"),
			ID:       rapid.StringN(0, 20, 64).Draw(t, "id"),
			Note:     rapid.StringN(0, 50, 1024).Draw(t, "note"),
			Token:    rapid.Int64Range(1, 30).Draw(t, "token"),
			Mode:     lock.Mode(rapid.IntRange(0, int(lock.Semaphore)).Draw(t, "mode")),
			Limit:    rapid.Int32Range(0, 1_000_000).Draw(t, "limit"),
			Expire:   time.Duration(rapid.Int64Range(0, int64(10*365*24*time.Hour)).Draw(t, "expire")),
			Lease:    time.Duration(rapid.Int64Range(0, int64(10*365*24*time.Hour)).Draw(t, "lease")),
			MaxHold:  time.Duration(rapid.SampledFrom([]int64{0, 0, 1, int64(10 * 365 * 24 * time.Hour)}).Draw(t, "max hold")),
		}
	})
}
