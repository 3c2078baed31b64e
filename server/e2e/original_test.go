package e2e

import (
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// originalClient does what the clients of the small server before this one do: one connection for each call, `"expire":null` where
// there is no lease, a look at the status only, and a new try every 200 ms for as long as it is 409.
type originalClient struct {
	t      *testing.T
	url    string
	owner  string
	secret string
}

func (c originalClient) post(path, body string) int {
	req, err := http.NewRequestWithContext(c.t.Context(), http.MethodPost, c.url+path, strings.NewReader(body))
	if err != nil {
		c.t.Error(err)
		return 0
	}
	req.Close = true
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("X-LOCKSERVER-SECRET", c.secret)
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		c.t.Error(err)
		return 0
	}
	defer resp.Body.Close()
	if _, err := io.Copy(io.Discard, resp.Body); err != nil {
		c.t.Error(err)
	}
	return resp.StatusCode
}

func (c originalClient) try(resource, expire string) int {
	return c.post("/acquire", fmt.Sprintf(`{"resource": %q, "owner": %q, "expire": %s}`, resource, c.owner, expire))
}

func (c originalClient) acquire(resource, expire string) bool {
	poll := time.NewTicker(200 * time.Millisecond)
	defer poll.Stop()
	for {
		switch status := c.try(resource, expire); status {
		case http.StatusOK:
			return true
		case http.StatusConflict:
			<-poll.C
		default:
			c.t.Errorf("acquire: status %d", status)
			return false
		}
	}
}

func (c originalClient) release(resource string) int {
	return c.post("/release", fmt.Sprintf(`{"resource": %q, "owner": %q}`, resource, c.owner))
}

func TestClientsOfTheOriginal(t *testing.T) {
	t.Parallel()
	s := launch{args: []string{"--store", "memory"}}.start(t)
	a := originalClient{t, s.url, "a", secret}
	b := originalClient{t, s.url, "b", secret}

	require.Equal(t, 200, a.try("r", "null"))
	require.Equal(t, 409, b.try("r", "null"))
	require.Equal(t, 409, a.try("r", "null"), "no re-entry")
	require.Equal(t, 409, b.release("r"), "another's lock")
	require.Equal(t, 200, a.release("r"))
	require.Equal(t, 409, a.release("r"), "twice")

	require.Equal(t, 200, b.try("r", "0.3"))
	began := time.Now()
	require.True(t, a.acquire("r", "null"), "the lease of b ends")
	require.Less(t, time.Since(began), patience)
	require.Equal(t, 409, b.release("r"), "not b's any more")
	require.Equal(t, 200, a.release("r"))

	stranger := originalClient{t, s.url, "a", "wrong"}
	require.Equal(t, 401, stranger.try("r", "null"))
	require.Equal(t, 401, stranger.release("r"))

	// Several that poll exclude each other.
	var holders atomic.Int32
	done := make(chan bool)
	for i := range 4 {
		go func() {
			c := originalClient{t, s.url, fmt.Sprint("poller ", i), secret}
			ok := true
			for range 3 {
				ok = ok && c.acquire("shared", "null")
				if holders.Add(1) != 1 {
					t.Error("two hold the lock at once")
				}
				ok = ok && c.try("shared", "null") == 409 // the work under the lock
				holders.Add(-1)
				ok = ok && c.release("shared") == 200
			}
			done <- ok
		}()
	}
	for range 4 {
		require.True(t, <-done)
	}
}
