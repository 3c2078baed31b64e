package session_test

import (
	"math/rand/v2"
	"strconv"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/lockserver/lockserver/server/internal/session"
)

// The calls of a session know which seqs are in use as a map does, whatever comes and goes.
func TestCalls(t *testing.T) {
	const most, steps = 300, 50_000
	random := rand.New(rand.NewPCG(1, 2))
	var calls session.Calls
	slots, seqs := map[int64]uint32{}, map[uint32]int64{}
	names := map[int64]string{}
	for i := range steps {
		seq := random.Int64N(most)<<(random.IntN(2)*40) + 1
		if slot, used := slots[seq]; used && random.IntN(2) == 0 {
			got, name := calls.Names(slot)
			require.Equal(t, seq, got)
			require.Equal(t, names[seq], name)
			calls.End(slot)
			delete(slots, seq)
			delete(seqs, slot)
			continue
		}
		slot, ok := calls.Begin(seq, strconv.Itoa(i))
		_, used := slots[seq]
		require.Equal(t, !used, ok, "seq %d", seq)
		if ok {
			require.NotContains(t, seqs, slot)
			slots[seq], seqs[slot], names[seq] = slot, seq, strconv.Itoa(i)
		}
	}
	require.NotEmpty(t, slots)
}
