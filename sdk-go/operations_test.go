package lockserver_test

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	lockserver "github.com/lockserver/lockserver/sdk-go"
)

func TestWhatJSONWouldChangeIsRefused(t *testing.T) {
	client := newClient(t)
	for field, try := range map[string]func() error{
		"resource": func() error { _, err := client.Acquire(context.Background(), "a\xffb"); return err },
		"note":     func() error { _, err := client.Acquire(context.Background(), "r", lockserver.Note("\xff")); return err },
		"expire":   func() error { _, err := client.Acquire(context.Background(), "r", lockserver.Expire(0)); return err },
		"limit":    func() error { _, err := client.Acquire(context.Background(), "r", lockserver.Limit(0)); return err },
	} {
		require.Equal(t, field, requireCode(t, try(), lockserver.ErrInvalidRequest).Field)
	}
}

func TestServersErrorsAreTyped(t *testing.T) {
	server := newMemory().on("/acquire", problem(409, "locked",
		`,"holders":[{"owner":"them","token":5,"expires_in":1.5},{"owner":"you","token":6,"expires_in":null}],"holders_total":12,"waiters":3`))
	_, err := server.client(t, quick).TryAcquire(within(t, soon), "r")
	requireCode(t, err, lockserver.ErrLocked)
	var locked *lockserver.LockedError
	require.ErrorAs(t, err, &locked)
	require.Equal(t, []lockserver.Holder{
		{Owner: "them", Token: 5, ExpiresIn: 1500 * time.Millisecond, Renewed: -1}, {Owner: "you", Token: 6, Renewed: -1},
	}, locked.Holders)
	require.Equal(t, 12, locked.HoldersTotal)
	require.Equal(t, 3, locked.Waiters)
	call := server.seen("/acquire")[0].Body
	require.NotContains(t, call, "wait")
	require.NotContains(t, call, "expire")
	require.NotContains(t, call, "mode")
}
