package lockserver_test

import (
	"context"
	"net"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	lockserver "github.com/lockserver/lockserver/sdk-go"
	"github.com/lockserver/lockserver/sdk-go/lockservertest"
)

// A server that is silent is given up after the bound, if the caller has none; what it may have granted is cancelled.
func TestSilenceIsAConnectionFailure(t *testing.T) {
	t.Parallel()
	tuning := quick
	tuning.Silence, tuning.SilenceQueued, tuning.Hop, tuning.AnswerTimeout = time.Second, 2*time.Second, 10*time.Millisecond, 50*time.Millisecond
	for name, steps := range map[string][]step{
		"silent":   {hang()},
		"refusing": {answer(502, "")},
		"queued":   {answer(202, `{"position":1}`), hang()},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server := newScripted(t).on("/acquire", steps...).on("/release", freed())
			start := time.Now()
			_, err := server.client(t, tuning).Acquire(context.Background(), "r")
			took := time.Since(start)
			requireCode(t, err, lockserver.ErrConnectionFailed)
			require.NotErrorIs(t, err, context.DeadlineExceeded, "the caller had no deadline")
			want := tuning.Silence
			if name == "queued" {
				want = tuning.SilenceQueued
			}
			if name == "silent" {
				require.ErrorContains(t, err, "no answer within")
			}
			require.GreaterOrEqual(t, took, want)
			require.Greater(t, len(server.seen("/acquire")), 1)
			require.Len(t, server.seen("/release"), 1)
			require.Equal(t, server.seen("/acquire")[0].Body["id"], server.seen("/release")[0].Body["id"])
		})
	}
}

// Where the caller has a limit, it counts, and no other.
func TestTheCallersDeadlineReplacesTheBoundOnSilence(t *testing.T) {
	tuning := quick
	tuning.Silence = 10 * time.Millisecond
	server := newScripted(t).on("/acquire", answer(502, "")).on("/release", freed())
	_, err := server.client(t, tuning).Acquire(within(t, 200*time.Millisecond), "r")
	requireCode(t, err, lockserver.ErrLockTimeout)
	require.ErrorIs(t, err, context.DeadlineExceeded)
	require.NotErrorIs(t, err, lockserver.ErrConnectionFailed)
	require.ErrorContains(t, err, "502")
}

func TestNoServerAtAll(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	addr := listener.Addr().String()
	require.NoError(t, listener.Close())
	tuning := quick
	tuning.Silence, tuning.CleanupTimeout = 300*time.Millisecond, 100*time.Millisecond
	client := newClient(t, lockserver.WithAddr(addr), lockservertest.WithTuning(tuning))

	_, err = client.Acquire(context.Background(), "r")
	requireCode(t, err, lockserver.ErrConnectionFailed)
	var network *net.OpError
	require.ErrorAs(t, err, &network)
	_, err = client.List(context.Background(), lockserver.ListOptions{})
	requireCode(t, err, lockserver.ErrConnectionFailed)
	require.ErrorAs(t, err, &network)
	require.NotErrorIs(t, err, context.DeadlineExceeded)
	_, err = client.List(within(t, 20*time.Millisecond), lockserver.ListOptions{})
	require.ErrorIs(t, err, context.DeadlineExceeded)
	requireCode(t, client.Release(context.Background(), "r"), lockserver.ErrConnectionFailed)
}
