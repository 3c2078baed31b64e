package engine_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/lockserver/lockserver/server/internal/lock"
)

func TestASurveyLooksAtAllLocks(t *testing.T) {
	run(t, func(t *testing.T, s *system) {
		require.Zero(t, s.Survey())
		for i := range 2000 { // more than are looked at at once
			s.take(fmt.Sprint("r", i), "a")
		}
		time.Sleep(time.Minute)
		s.acquire(lock.Request{Resource: "r1999", Owner: "b", Wait: time.Minute}).pending()
		time.Sleep(time.Second)
		found := s.Survey()
		require.Equal(t, 1, found.Deepest)
		require.Equal(t, time.Second, found.Wait)
		require.Equal(t, time.Minute+time.Second, found.Hold)
		require.EqualValues(t, 1, s.Contended(10)[0].Waits)
	})
}
