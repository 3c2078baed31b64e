package engine_test

import (
	"context"
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/lockserver/lockserver/server/internal/lock"
)

func (s *system) list(q lock.Query) *call {
	c := &call{t: s.t}
	s.List(context.Background(), q, lock.Reply{To: c})
	return c
}

// pages lists page after page, calling between with each, and returns how often each lock was seen.
func (s *system) pages(q lock.Query, between func(page []lock.Lock)) map[string]int {
	s.t.Helper()
	seen := map[string]int{}
	for {
		d := s.list(q).is(lock.Found).Detail
		require.LessOrEqual(s.t, len(d.Locks), q.Size)
		for _, l := range d.Locks {
			seen[l.Resource]++
		}
		if d.Next == "" {
			return seen
		}
		q.Cursor = d.Next
		between(d.Locks)
	}
}

// What is held from the first page to the last is on exactly one of them, whatever comes and goes meanwhile, the lock that the cursor
// names included.
func TestPagesWhileTheTableChanges(t *testing.T) {
	run(t, func(t *testing.T, s *system) {
		const locks = 100
		name := func(i int) string { return fmt.Sprintf("r%03d", i) }
		for i := range locks {
			s.take(name(i), "a")
		}
		free := func(i int) { s.release(lock.Ref{Resource: name(i), Owner: "a"}).is(lock.Released) }
		freed := map[string]bool{}
		seen := s.pages(lock.Query{Size: 7}, func(page []lock.Lock) {
			var last int
			_, err := fmt.Sscanf(page[len(page)-1].Resource, "r%d", &last)
			require.NoError(t, err)
			if last+1 >= locks || freed[name(last+1)] {
				return
			}
			free(last + 1) // before it was seen
			freed[name(last+1)] = true
			free(last) // what the cursor names
			if last%2 == 0 {
				s.take(name(last), "a") // as a younger lock
				freed[name(last)] = true
			}
		})
		require.Greater(t, len(freed), 10)
		for i := range locks {
			if !freed[name(i)] {
				require.Equal(t, 1, seen[name(i)], name(i))
			}
		}
	})
}

func TestListFilters(t *testing.T) {
	run(t, func(t *testing.T, s *system) {
		for i := range 30 {
			s.acquire(lock.Request{Resource: fmt.Sprintf("%c%d", 'a'+i%3, i), Owner: owner(i % 2), Mode: lock.Shared}).is(lock.Granted)
			s.acquire(lock.Request{Resource: "shared", Owner: owner(i), Mode: lock.Shared}).is(lock.Granted)
		}
		none := func([]lock.Lock) {}
		require.Len(t, s.pages(lock.Query{Size: 3}, none), 31)
		require.Len(t, s.pages(lock.Query{Size: 3, Prefix: "b"}, none), 10)
		require.Len(t, s.pages(lock.Query{Size: 3, Owner: owner(0)}, none), 16)
		require.Len(t, s.pages(lock.Query{Size: 3, Owner: owner(29)}, none), 1)
		require.Empty(t, s.pages(lock.Query{Size: 3, Owner: owner(30)}, none))
		for _, cursor := range []string{"x", "1", "-1.a", "!.a", "0.a"} {
			require.Equal(t, "cursor", s.list(lock.Query{Size: 3, Cursor: cursor}).is(lock.Mismatch).Field, cursor)
		}
	})
}

// interrupted is a context that lets other operations in whenever it is asked.
type interrupted struct {
	context.Context
	asked   int
	between func(n int) error
}

func (c *interrupted) Err() error {
	c.asked++
	return c.between(c.asked)
}

// A list that looks at many locks lets other operations in between, and they do not confuse it.
func TestListInSlices(t *testing.T) {
	const locks = 3000
	setUp := func(s *system) {
		for i := range locks {
			s.acquire(lock.Request{Resource: fmt.Sprint(i), Owner: owner(i)})
		}
	}
	last := lock.Query{Size: 5, Owner: owner(locks - 1)}
	run(t, func(t *testing.T, s *system) {
		setUp(s)
		c := &call{t: t}
		ctx := &interrupted{Context: context.Background(), between: func(n int) error {
			if n == 3 { // whatever comes next is freed
				for i := range locks - 1 {
					s.release(lock.Ref{Resource: fmt.Sprint(i), Owner: owner(i)})
				}
				s.take("new", owner(locks-1))
			}
			return nil
		}}
		s.List(ctx, last, lock.Reply{To: c})
		require.Len(t, c.is(lock.Found).Detail.Locks, 2)
		require.Equal(t, 3, ctx.asked)
	})
	run(t, func(t *testing.T, s *system) { // nobody waits for it any more
		setUp(s)
		c := &call{t: t}
		ctx := &interrupted{Context: context.Background(), between: func(n int) error {
			if n == 3 {
				return context.Canceled
			}
			return nil
		}}
		s.List(ctx, last, lock.Reply{To: c})
		require.Empty(t, c.is(lock.Found).Detail.Locks)
		require.Equal(t, 3, ctx.asked)
	})
	run(t, func(t *testing.T, s *system) { // the store fails meanwhile
		setUp(s)
		c := &call{t: t}
		ctx := &interrupted{Context: context.Background(), between: func(n int) error {
			if n == 3 {
				s.store.fail(0)
				s.acquire(lock.Request{Resource: "new", Owner: "a"}).is(lock.Unavailable)
			}
			return nil
		}}
		s.List(ctx, last, lock.Reply{To: c})
		c.is(lock.Unavailable)
	})
}
