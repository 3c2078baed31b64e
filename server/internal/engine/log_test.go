package engine_test

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/lockserver/lockserver/server/internal/engine"
	"github.com/lockserver/lockserver/server/internal/lock"
	"github.com/lockserver/lockserver/server/internal/store"
	"github.com/lockserver/lockserver/server/internal/store/memory"
)

// A lease that runs out is worth a line at debug level, and none above.
func TestExpiriesAreLogged(t *testing.T) {
	for name, newStore := range map[string]func() store.Store{
		"instant store": memory.New,
		"slow store":    func() store.Store { return newStore() },
	} {
		for level, lines := range map[slog.Level]int{slog.LevelDebug: 1, slog.LevelInfo: 0} {
			t.Run(name+" "+level.String(), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					var out bytes.Buffer
					logger := slog.New(slog.NewTextHandler(&out, &slog.HandlerOptions{Level: level}))
					e, err := engine.Open(context.Background(), engine.Config{Store: newStore(), Bounds: bounds, Logger: logger})
					require.NoError(t, err)
					c := &call{t: t}
					e.Acquire(&lock.Request{Resource: "r", Owner: "a", Expire: time.Second}, lock.Reply{To: c})
					c.is(lock.Granted)
					time.Sleep(time.Second)
					synctest.Wait()
					require.NoError(t, e.Close(context.Background()))
					require.Equal(t, lines, bytes.Count(out.Bytes(), []byte(`msg="lease expired" resource=r owner=a token=`)), out.String())
				})
			})
		}
	}
}

func TestEvictionsAreLogged(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out bytes.Buffer
		store := newStore()
		e, err := engine.Open(context.Background(), engine.Config{Store: store, Bounds: bounds, Logger: slog.New(slog.NewTextHandler(&out, nil))})
		require.NoError(t, err)
		s := &system{Engine: e, t: t, store: store}
		token := s.take("r", "a").Token
		time.Sleep(time.Second)
		store.hold()
		evicted := s.evict("r")
		evicted.pending()
		require.NotContains(t, out.String(), "evicted", "it is not durable yet")
		store.free()
		evicted.is(lock.ForceReleased)
		require.NoError(t, e.Close(context.Background()))
		require.Contains(t, out.String(), fmt.Sprintf(`msg="lock evicted" resource=r owner=a token=%d held_for=1s by="an operator"`, token))
	})
}
