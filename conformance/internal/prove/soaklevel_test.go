package prove

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// Calls may become slower only as far as the machine does.
func TestSlowCallsOfASlowMachine(t *testing.T) {
	t.Parallel()
	grows := func(last, late float64) bool {
		var samples []Sample
		for i := range 30 {
			s := Sample{At: time.Duration(i) * time.Minute, Late: 10, Values: make([]float64, len(measures))}
			s.Values[len(measures)-1] = 50
			if i >= 20 {
				s.Values[len(measures)-1], s.Late = last, late
			}
			samples = append(samples, s)
		}
		all := levels(samples)
		return all[len(all)-1].Grows()
	}
	require.False(t, grows(60, 10))
	require.True(t, grows(200, 10))
	require.False(t, grows(200, 20))
	require.True(t, grows(200, 2), "a faster machine is no reason to be slower")
}
