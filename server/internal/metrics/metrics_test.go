package metrics_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/lockserver/lockserver/server/internal/metrics"
)

func TestRequestDoesNotAllocate(t *testing.T) {
	m := metrics.New("test")
	m.Request("acquire", "granted", time.Millisecond)
	require.Zero(t, testing.AllocsPerRun(100, func() { m.Request("acquire", "granted", time.Millisecond) }))
}
