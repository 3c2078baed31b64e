package etcdtest

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
)

// filler is the key that Fill writes.
const filler = "/filler"

// Fill writes until etcd is over its quota, which should be small.
func Fill(tb testing.TB, c *clientv3.Client) {
	tb.Helper()
	require.Eventually(tb, func() bool {
		_, err := c.Put(tb.Context(), filler, strings.Repeat("x", 50_000))
		return errors.Is(err, rpctypes.ErrNoSpace)
	}, patience, time.Millisecond)
}

// MakeRoom does what an operator does: it deletes what is not needed, compacts, defragments and disarms the alarm.
func MakeRoom(tb testing.TB, c *clientv3.Client) {
	tb.Helper()
	ctx := tb.Context()
	deleted, err := c.Delete(ctx, filler)
	require.NoError(tb, err)
	_, err = c.Compact(ctx, deleted.Header.Revision, clientv3.WithCompactPhysical())
	require.NoError(tb, err)
	for _, endpoint := range c.Endpoints() {
		_, err = c.Defragment(ctx, endpoint)
		require.NoError(tb, err)
	}
	alarms, err := c.AlarmList(ctx)
	require.NoError(tb, err)
	for _, a := range alarms.Alarms {
		_, err = c.AlarmDisarm(ctx, (*clientv3.AlarmMember)(a))
		require.NoError(tb, err)
	}
}
