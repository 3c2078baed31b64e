package e2e

import (
	"encoding/json"
	"net"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/lockserver/lockserver/server/internal/etcdtest"
)

// The audit log of a leader has the address of the client, be it that a stand-by passed its request on, and no client can name another.
func TestTheAuditLogHasTheClientsAddress(t *testing.T) {
	t.Parallel()
	file := t.TempDir() + "/history"
	members := etcdtest.Start(t, 1, "--unsafe-no-fsync")
	c := startCluster(t, members, 1, "--history-file", file)
	store := []string{"--store", "etcd:" + etcdtest.URLs(members) + c.prefix, "--election-ttl", "2"}
	c.servers = append(c.servers, launch{args: store}.start(t))
	require.Equal(t, "standby", c.role(1))

	// The stand-by's connections to the leader come from 127.0.0.1.
	client := c.client(1)
	client.transport = &http.Transport{DialContext: (&net.Dialer{LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 0, 0, 2)}}).DialContext}
	t.Cleanup(client.transport.CloseIdleConnections)
	require.Equal(t, 200, client.acquire(t, fields{"resource": "r", "owner": "through"}).status)
	session := c.servers[1].session()
	got, err := session.ask("acquire", fields{"resource": "s", "owner": "session", "id": "1"})
	require.NoError(t, err)
	require.NotZero(t, got.Token, "%+v", got)
	for i, forged := range []string{"1", "192.0.2.1:1", "192.0.2.1:1 ", "192.0.2.1:1 " + strings.Repeat("0", 64)} {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, c.servers[0].url+"/release", strings.NewReader(`{"resource":"r","owner":"liar"}`))
		require.NoError(t, err)
		req.Header.Set("X-LOCKSERVER-SECRET", secret)
		req.Header.Set("Lockserver-Forwarded-For", forged)
		resp, err := client.transport.RoundTrip(req)
		require.NoError(t, err)
		require.NoError(t, resp.Body.Close())
		require.Equal(t, http.StatusConflict, resp.StatusCode, i)
	}

	type line struct{ Op, From, Owner string }
	var lines []line
	require.Eventually(t, func() bool {
		lines = nil
		text, err := os.ReadFile(file)
		require.NoError(t, err)
		for one := range strings.Lines(string(text)) {
			var l line
			if strings.HasSuffix(one, "\n") {
				require.NoError(t, json.Unmarshal([]byte(one), &l))
			}
			if l.Op != "" {
				lines = append(lines, l)
			}
		}
		return len(lines) == 6
	}, patience, 5*time.Millisecond)
	for _, l := range lines {
		if l.Owner == "session" {
			require.Equal(t, session.LocalAddr().String(), l.From)
		} else {
			require.Regexp(t, `^127\.0\.0\.2:\d+$`, l.From, l.Owner)
		}
	}
}
