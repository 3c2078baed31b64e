package e2e

import (
	"math/rand/v2"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// A server that is killed at random instants under load has, each time it is started again, every grant that it answered and none
// that it answered the release of, with its whole lease; tokens only rise.
func TestKilledUnderLoad(t *testing.T) {
	t.Parallel()
	const rounds, some = 24, 50
	dir := t.TempDir()
	workers := newWorkers(12, 6)
	var contenders rivals
	for round := range rounds {
		began := time.Now()
		s := launch{args: []string{"--store", "disk:" + dir + "/data"}}.start(t)
		c := newClient(t, s.url)
		check(t, workers, c, began)
		contenders.check(t, c)
		before, turns := calls(workers), contenders.turns
		ended := make(chan error, 2)
		go func() { ended <- load(t.Context(), workers, c) }()
		go func() { ended <- contenders.work(t.Context(), 4, c) }()
		if round%2 == 0 {
			require.Eventually(t, func() bool { return calls(workers)-before >= some }, patience, time.Millisecond, "hardly any load")
		}
		time.Sleep(time.Duration(rand.IntN(100_000)) * time.Microsecond) // the random instant
		s.kill()
		require.NoError(t, <-ended)
		require.NoError(t, <-ended)
		t.Logf("round %d: %d answers, and %d turns at the contended lock", round, calls(workers)-before, contenders.turns-turns)
	}
	began := time.Now()
	s := launch{args: []string{"--store", "disk:" + dir + "/data"}}.start(t)
	check(t, workers, newClient(t, s.url), began)
	contenders.check(t, newClient(t, s.url))
}

// The memory store forgets, and says so nowhere else than in the contract; tokens rise all the same.
func TestMemoryStoreForgetsButTokensRise(t *testing.T) {
	t.Parallel()
	highest := int64(0)
	for range 3 {
		s := launch{args: []string{"--store", "memory"}}.start(t)
		c := newClient(t, s.url)
		got := c.acquire(t, fields{"resource": "r", "owner": "o"})
		require.Equal(t, 200, got.status)
		require.Greater(t, got.Token, highest)
		highest = got.Token
		s.kill()
	}
}
