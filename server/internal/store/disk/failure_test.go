package disk

import (
	"errors"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/require"
)

// Closing is such work: under a commit that was given up and is still under way, Pebble would panic.
func TestNoWorkOnAnAbandonedDatabase(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFailure()
		tired := f.abandon(errors.New("tired of waiting"))
		begun := false
		_, err := await(f, func() (struct{}, error) {
			begun = true
			return struct{}{}, nil
		})
		require.ErrorIs(t, err, tired)
		synctest.Wait()
		require.False(t, begun)
	})
}
