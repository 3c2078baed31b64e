package e2e

import (
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/anishathalye/porcupine"
	"github.com/stretchr/testify/require"

	lockserver "github.com/lockserver/lockserver/sdk-go"
)

// step is one call of a client: a blocking or single try to acquire, or the release of a token.
type step struct {
	resource string
	release  int64 // 0: an acquire
}

// state is a lock's: who holds it, and the highest token so far.
type state struct{ held, highest int64 }

// exclusive is a lock. What an acquire returns is a token, or 0 if others held it; what a release returns is whether it was held.
var exclusive = porcupine.Model{
	Partition: func(history []porcupine.Operation) [][]porcupine.Operation {
		byResource := map[string][]porcupine.Operation{}
		for _, op := range history {
			name := op.Input.(step).resource
			byResource[name] = append(byResource[name], op)
		}
		var parts [][]porcupine.Operation
		for _, part := range byResource {
			parts = append(parts, part)
		}
		return parts
	},
	Init: func() any { return state{} },
	Step: func(from, in, out any) (bool, any) {
		now := from.(state)
		switch did, got := in.(step), out.(int64); {
		case did.release != 0:
			return got == 1 && now.held == did.release, state{0, now.highest}
		case got == 0:
			return now.held != 0, now
		default:
			return now.held == 0 && got > now.highest, state{got, got}
		}
	},
	DescribeOperation: func(in, out any) string { return fmt.Sprint(in, out) },
}

// Whatever clients over sessions and over HTTP were told, while the server was killed again and again, fits one order of effects in
// which a lock has one holder, tokens rise, and what was answered outlives each crash (Herlihy and Wing, Linearizability, 1990).
func TestLinearizableOverBothTransports(t *testing.T) {
	t.Parallel()
	const workers, rounds, killEvery, resources = 8, 40, 120, 3
	start := onOneStore(t)
	server := start()
	net := newNetwork(t, server.Addr())
	bounds := quick
	bounds.Cleanup = soon // a release waits for the next server, however long its start takes
	ctx, began := within(t, 3*soon), time.Now()

	var mu sync.Mutex
	var history []porcupine.Operation
	var count atomic.Int64
	kills := make(chan struct{}, workers*rounds)
	record := func(client int, in step, call func() int64) int64 {
		op := porcupine.Operation{ClientId: client, Input: in, Call: int64(time.Since(began))}
		out := call()
		op.Output, op.Return = out, int64(time.Since(began))
		mu.Lock()
		defer mu.Unlock()
		history = append(history, op)
		if count.Add(1)%killEvery == 0 {
			kills <- struct{}{}
		}
		return out
	}

	var group sync.WaitGroup
	for i := range workers {
		transport := []lockserver.Transport{lockserver.Session, lockserver.HTTP}[i%2]
		client := newClient(t, net.addr(), bounds, lockserver.WithTransport(transport))
		group.Go(func() {
			for n := range rounds {
				var lock *lockserver.Lock
				name := fmt.Sprint("linear-", (i+n)%resources)
				acquire := client.Acquire
				if (i+n)%4 == 0 {
					acquire = client.TryAcquire
				}
				token := record(i, step{resource: name}, func() int64 {
					var err error
					lock, err = acquire(ctx, name)
					switch {
					case errors.Is(err, lockserver.ErrLocked):
						return 0
					case err != nil:
						t.Errorf("%s: %v", name, err)
						return -1
					}
					return lock.Token()
				})
				if token <= 0 {
					continue
				}
				// So that crashes find locks that are held, and not only such as are on their way.
				if info, err := client.Show(ctx, name); err != nil || info.Holders[0].Token != token {
					t.Errorf("%s: %v, %v, though its holder is %d", name, info, err, token)
				}
				record(i, step{name, token}, func() int64 {
					held, err := lock.Release(ctx)
					if err != nil {
						t.Errorf("%s: %v", name, err)
					}
					if held {
						return 1
					}
					return 0
				})
			}
		})
	}
	ended := make(chan struct{})
	go func() { group.Wait(); close(ended) }()
	killed := 0
	for running := true; running; {
		select {
		case <-kills:
			server.Kill()
			server = start()
			net.leadTo(server.Addr())
			killed++
		case <-ended:
			running = false
		}
	}
	require.False(t, t.Failed())
	require.GreaterOrEqual(t, killed, 2)

	result, info := porcupine.CheckOperationsVerbose(exclusive, history, time.Minute)
	if result == porcupine.Illegal {
		path := t.ArtifactDir() + "/linearizable.html"
		require.NoError(t, porcupine.VisualizePath(exclusive, info, path))
		t.Logf("%d operations; the picture is in %s", len(history), path)
	}
	require.Equal(t, porcupine.Ok, result)
}
