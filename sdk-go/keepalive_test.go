package lockserver_test

import (
	"io"
	"net/http"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	lockserver "github.com/lockserver/lockserver/sdk-go"
	"github.com/lockserver/lockserver/sdk-go/internal/servertest"
)

// asked returns how often the server was asked for an operation.
func asked(t *testing.T, server *servertest.Server, operation string) int {
	t.Helper()
	request, err := http.NewRequestWithContext(within(t, soon), http.MethodGet, server.URL+"/metrics", http.NoBody)
	require.NoError(t, err)
	request.Header.Set("X-Lockserver-Secret", servertest.Secret)
	response, err := http.DefaultClient.Do(request)
	require.NoError(t, err)
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	require.NoError(t, err)
	sum := 0
	for _, line := range regexp.MustCompile(`(?m)^lockserver_requests_total\{.*operation="`+operation+`".*\} (\d+)$`).FindAllSubmatch(text, -1) {
		n, err := strconv.Atoi(string(line[1]))
		require.NoError(t, err)
		sum += n
	}
	return sum
}

// ownServer starts a server that no other test asks for anything.
func ownServer(t *testing.T) *servertest.Server {
	t.Helper()
	dir := t.TempDir()
	binary, err := servertest.Build(dir)
	require.NoError(t, err)
	server, err := servertest.Start(binary, dir, "--store", "memory")
	require.NoError(t, err)
	t.Cleanup(server.Kill)
	return server
}

// renewedLocks takes n locks that the client renews.
func renewedLocks(t *testing.T, client *lockserver.Client, n int, lease time.Duration) []*lockserver.Lock {
	t.Helper()
	locks := make([]*lockserver.Lock, n)
	var all sync.WaitGroup
	for i := range locks {
		all.Go(func() {
			var err error
			locks[i], err = client.Acquire(within(t, soon), servertest.UniqueName(), lockserver.Expire(lease), lockserver.Renewed())
			if err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	if t.Failed() {
		t.FailNow()
	}
	return locks
}

func requireRenewed(t *testing.T, locks []*lockserver.Lock) {
	t.Helper()
	before := make([]time.Time, len(locks))
	for i, lock := range locks {
		before[i] = lock.Expiry().Add(time.Second) // it is told by the clocks, which are read one after the other
	}
	for i, lock := range locks {
		eventually(t, "a renewal", func() bool { return lock.Expiry().After(before[i]) })
		require.NoError(t, lock.Err())
	}
}

// However many leases a client has, one message renews them.
func TestOneKeepaliveRenewsAll(t *testing.T) {
	t.Parallel()
	server := ownServer(t)
	client := newClient(t, lockserver.WithAddr(server.URL), lockserver.WithTransport(lockserver.Session))
	locks := renewedLocks(t, client, 200, 9*time.Second)
	before := asked(t, server, "keepalive")
	requireRenewed(t, locks)
	require.Zero(t, asked(t, server, "renew"))
	require.Less(t, asked(t, server, "keepalive")-before, 20)
	require.NotZero(t, asked(t, server, "keepalive"))
}

// A lease that nobody renews ends, although others on its session are kept alive.
func TestALeaseWithoutRenewalEndsBesideOthers(t *testing.T) {
	t.Parallel()
	server := ownServer(t)
	client := newClient(t, lockserver.WithAddr(server.URL), lockserver.WithTransport(lockserver.Session))
	kept := renewedLocks(t, client, 20, 9*time.Second)
	short, err := client.Acquire(within(t, soon), "short", lockserver.Expire(5*time.Second))
	require.NoError(t, err)
	next, err := client.Acquire(within(t, soon), "short") // the server gives it to the next
	require.NoError(t, err)
	require.ErrorIs(t, short.Err(), lockserver.ErrLockLost)
	require.NotZero(t, asked(t, server, "renew"), "they were renewed one by one")
	for _, lock := range kept {
		require.NoError(t, lock.Err())
	}
	held, err := next.Release(within(t, soon))
	require.NoError(t, err)
	require.True(t, held)
	renews := asked(t, server, "renew")
	before := asked(t, server, "keepalive")
	eventually(t, "keepalives from now on", func() bool { return asked(t, server, "keepalive") > before })
	requireRenewed(t, kept)
	require.LessOrEqual(t, asked(t, server, "renew"), renews+len(kept), "at most those that were on their way")
}

// A session that was cut is replaced, and what it kept alive is kept alive by the next one, which tells of its loss too.
func TestLeasesMoveToTheNextSession(t *testing.T) {
	t.Parallel()
	server := ownServer(t)
	r := newRelay(t, strings.TrimPrefix(server.URL, "http://"))
	client := newClient(t, lockserver.WithTransport(lockserver.Session), lockserver.WithAddr(r.Addr().String()), withBounds(quick))
	locks := renewedLocks(t, client, 20, 9*time.Second)
	before := asked(t, server, "renew")
	r.cut()
	eventually(t, "each is renewed by its id", func() bool { return asked(t, server, "renew") >= before+len(locks) })
	requireRenewed(t, locks)
	renews, keepalives := asked(t, server, "renew"), asked(t, server, "keepalive")
	eventually(t, "a keepalive", func() bool { return asked(t, server, "keepalive") > keepalives })
	requireRenewed(t, locks)
	require.Equal(t, renews, asked(t, server, "renew"))

	direct := newClient(t, lockserver.WithAddr(server.URL), lockserver.WithTransport(lockserver.HTTP))
	_, err := direct.ForceRelease(within(t, soon), locks[0].Resource(), 0)
	require.NoError(t, err)
	requireClosed(t, locks[0].Done())
	require.ErrorContains(t, locks[0].Err(), "evicted")
	for _, lock := range locks[1:] {
		require.NoError(t, lock.Err())
	}
}
