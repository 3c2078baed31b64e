package e2e

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"

	"github.com/lockserver/lockserver/server/internal/etcdtest"
)

// While etcd is over its quota nothing is granted, and all that only deletes goes on. The leader stays, and grants again by itself.
func TestFullEtcd(t *testing.T) {
	t.Parallel()
	members := etcdtest.Start(t, 1, "--unsafe-no-fsync", "--quota-backend-bytes", "400000")
	harm, err := clientv3.New(clientv3.Config{Endpoints: []string{members[0].URL}, Logger: zap.NewNop()})
	require.NoError(t, err)
	defer func() { require.NoError(t, harm.Close()) }()
	c := startCluster(t, members, 2)
	leader, standby := c.client(0), c.client(1)
	for resource, expire := range map[string]int{"held": 60, "released": 60, "short": 3} {
		require.Equal(t, 200, standby.acquire(t, fields{"resource": resource, "owner": "a", "expire": expire}).status)
	}
	etcdtest.Fill(t, harm)

	// The first may find out, and is told that its outcome is unknown.
	refused := insist(t, standby, "/acquire", fields{"resource": "new", "owner": "a"})
	require.Equal(t, http.StatusInsufficientStorage, refused.status, "%s", refused.text)
	require.Equal(t, "storage_full", refused.Code)
	require.Equal(t, "leader", c.role(0))
	require.EqualValues(t, 1, scrape(t, c.servers[0])["lockserver_store_full"])

	require.Equal(t, 200, standby.do(t, "POST", "/renew", fields{"resource": "held", "owner": "a"}).status)
	require.Equal(t, "locked", leader.acquire(t, fields{"resource": "held", "owner": "b"}).Code)
	require.Equal(t, 200, standby.release(t, fields{"resource": "released", "owner": "a"}).status)
	require.Eventually(t, func() bool {
		return leader.do(t, "GET", "/lock?resource=short", nil).status == http.StatusNotFound
	}, patience, 50*time.Millisecond, "a lease ends")
	kept, err := harm.Get(t.Context(), "/", clientv3.WithPrefix(), clientv3.WithKeysOnly())
	require.NoError(t, err)
	grants := 0
	for _, kv := range kept.Kvs {
		if strings.Contains(string(kv.Key), "/grant/") {
			grants++
		}
	}
	require.Equal(t, 1, grants, "what was released and what expired is durable")

	etcdtest.MakeRoom(t, harm)
	require.Eventually(t, func() bool {
		return standby.acquire(t, fields{"resource": "new", "owner": "a"}).status == http.StatusOK
	}, patience, 50*time.Millisecond)
	require.Equal(t, "leader", c.role(0))
	require.Zero(t, scrape(t, c.servers[0])["lockserver_store_full"])
	require.Equal(t, "locked", standby.acquire(t, fields{"resource": "held", "owner": "b"}).Code)
}
