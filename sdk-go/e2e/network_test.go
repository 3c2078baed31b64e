package e2e

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	lockserver "github.com/lockserver/lockserver/sdk-go"
	"github.com/lockserver/lockserver/sdk-go/internal/servertest"
	"github.com/lockserver/lockserver/sdk-go/internal/settings"
)

// A slow network never makes a lease look longer than the server keeps it.
func TestLatency(t *testing.T) {
	t.Parallel()
	slow := newNetwork(t, shared.server.Addr())
	slow.poison("latency", "upstream", map[string]any{"latency": 100})
	slow.poison("latency", "downstream", map[string]any{"latency": 200})
	client, direct := newClient(t, slow.addr(), quick), newClient(t, shared.server.Addr(), quick)
	name, ctx := servertest.UniqueName(), within(t, soon)

	lock, err := client.Acquire(ctx, name, lockserver.Expire(2*time.Second))
	require.NoError(t, err)
	_, err = direct.Acquire(ctx, name)
	require.NoError(t, err)
	require.ErrorIs(t, lock.Err(), lockserver.ErrLockLost, "told before the next holder")
	<-lock.Done()
	require.NoError(t, direct.Release(ctx, name))

	require.NoError(t, client.WithLock(ctx, name, func(ctx context.Context) error { return ctx.Err() }))
	requireFree(t, direct, name)
}

// The connection breaks after every possible number of bytes of an answer: the lock is still granted once and released once.
func TestBrokenOffAnswers(t *testing.T) {
	t.Parallel()
	net := newNetwork(t, shared.server.Addr())
	client, direct := newClient(t, net.addr(), quick), newClient(t, shared.server.Addr(), quick)
	name := servertest.UniqueName()
	for bytes := 0; bytes < 400; bytes += 37 {
		ctx := within(t, soon)
		var lock *lockserver.Lock
		cured := net.poisonFor(30*time.Millisecond, "limit_data", "downstream", map[string]any{"bytes": bytes})
		lock, err := client.Acquire(ctx, name)
		require.NoError(t, err)
		info, err := direct.Show(ctx, name)
		require.NoError(t, err)
		require.Equal(t, 1, info.HoldersTotal)
		require.Equal(t, lock.Token(), info.Holders[0].Token)
		require.Zero(t, info.Waiters)
		<-cured

		cured = net.poisonFor(30*time.Millisecond, "limit_data", "downstream", map[string]any{"bytes": bytes})
		released, err := lock.Release(ctx)
		require.NoError(t, err)
		require.True(t, released)
		requireFree(t, direct, name)
		<-cured
	}
}

// A reset takes the connection, but not the place in the queue nor the lock.
func TestResets(t *testing.T) {
	t.Parallel()
	net := newNetwork(t, shared.server.Addr())
	client, direct := newClient(t, net.addr(), quick), newClient(t, shared.server.Addr(), quick)
	name, ctx := servertest.UniqueName(), within(t, soon)
	holder, err := direct.Acquire(ctx, name)
	require.NoError(t, err)
	got := make(chan error, 1)
	go func() {
		lock, err := client.Acquire(ctx, name, lockserver.Expire(1500*time.Millisecond), lockserver.Renewed())
		if err == nil {
			cure := net.poison("reset_peer", "downstream", map[string]any{"timeout": 50})
			time.Sleep(600 * time.Millisecond) // a renewal falls into it
			cure()
			time.Sleep(1200 * time.Millisecond) // without it the lease would be over
			if err = lock.Err(); err == nil {
				_, err = lock.Release(ctx)
			}
		}
		got <- err
	}()
	eventually(t, "the waiter", func() bool { return waiters(t, direct, name) == 1 })
	before, err := direct.Show(ctx, name)
	require.NoError(t, err)
	for range 5 {
		net.poison("reset_peer", "downstream", map[string]any{"timeout": 0})()
		net.leadTo(shared.server.Addr()) // ends every connection
		eventually(t, "the waiter again", func() bool {
			info, err := direct.Show(ctx, name)
			return err == nil && len(info.Queue) == 1 && info.Queue[0].Present
		})
	}
	after, err := direct.Show(ctx, name)
	require.NoError(t, err)
	require.Equal(t, before.Queue[0].ID, after.Queue[0].ID)
	_, err = holder.Release(ctx)
	require.NoError(t, err)
	require.NoError(t, <-got)
	requireFree(t, direct, name)
}

// A server from which nothing comes back: calls end in their bounds, and what was granted unheard is given back when it is there again.
func TestBlackHole(t *testing.T) {
	t.Parallel()
	net := newNetwork(t, shared.server.Addr())
	bounds := quick
	bounds.Answer, bounds.Silence, bounds.Grace = 300*time.Millisecond, 500*time.Millisecond, 100*time.Millisecond
	bounds.Hop, bounds.Cleanup = 200*time.Millisecond, time.Second
	client, direct := newClient(t, net.addr(), bounds, overHTTP), newClient(t, shared.server.Addr(), quick)
	name, other := servertest.UniqueName(), servertest.UniqueName()
	ctx := within(t, soon)
	lock, err := client.Acquire(ctx, other, lockserver.Expire(time.Second), lockserver.Renewed())
	require.NoError(t, err)

	cure := net.poison("timeout", "downstream", map[string]any{"timeout": 0})
	start := time.Now()
	_, err = client.Acquire(within(t, 400*time.Millisecond), name)
	require.ErrorIs(t, err, lockserver.ErrLockTimeout)
	require.Less(t, time.Since(start), 5*time.Second)
	_, err = client.Acquire(context.Background(), name)
	require.ErrorIs(t, err, lockserver.ErrConnectionFailed)

	next, err := direct.Acquire(ctx, other)
	require.NoError(t, err)
	require.ErrorIs(t, lock.Err(), lockserver.ErrLockLost, "told before the next holder")
	_, err = next.Release(ctx)
	require.NoError(t, err)

	cure()
	eventually(t, "what the black hole had swallowed is given back", func() bool {
		_, err := direct.Show(ctx, name)
		return err != nil
	})
	requireFree(t, direct, name)
	fresh, err := client.Acquire(ctx, name)
	require.NoError(t, err)
	_, err = fresh.Release(ctx)
	require.NoError(t, err)
}

// A proxy that ends every request after 5 s with 504 or 502 does not end the wait, nor does it cost the place.
func TestProxyThatCutsAtFiveSeconds(t *testing.T) {
	t.Parallel()
	upstream, err := url.Parse(shared.server.URL)
	require.NoError(t, err)
	var cuts atomic.Int64
	proxy := httputil.NewSingleHostReverseProxy(upstream)
	proxy.ErrorHandler = func(w http.ResponseWriter, _ *http.Request, _ error) {
		if cuts.Add(1)%2 == 0 {
			w.WriteHeader(http.StatusBadGateway)
		} else {
			w.WriteHeader(http.StatusGatewayTimeout)
		}
	}
	front := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		ctx, cancel := context.WithTimeout(r.Context(), 5*time.Second)
		defer cancel()
		proxy.ServeHTTP(w, r.WithContext(ctx))
	}))
	t.Cleanup(front.Close)
	client, direct := newClient(t, front.URL, settings.Bounds{}, overHTTP), newClient(t, shared.server.Addr(), quick)
	name, ctx := servertest.UniqueName(), within(t, 2*soon)
	holder, err := direct.Acquire(ctx, name)
	require.NoError(t, err)
	got := make(chan error, 1)
	go func() {
		lock, err := client.Acquire(ctx, name)
		if err == nil {
			_, err = lock.Release(ctx)
		}
		got <- err
	}()
	eventually(t, "the waiter", func() bool { return waiters(t, direct, name) == 1 })
	eventually(t, "two cuts", func() bool { return cuts.Load() == 2 })
	eventually(t, "the waiter again", func() bool {
		info, err := direct.Show(ctx, name)
		return err == nil && len(info.Queue) == 1 && info.Queue[0].Present
	})
	_, err = holder.Release(ctx)
	require.NoError(t, err)
	require.NoError(t, <-got)
	require.EqualValues(t, 2, cuts.Load())
	requireFree(t, direct, name)
}

// Over TLS, with a certificate authority of one's own; without it, the secret is not sent.
func TestTLS(t *testing.T) {
	t.Parallel()
	dir, pool := t.TempDir(), x509.NewCertPool()
	pool.AddCert(writeCertificate(t, dir))
	server, err := servertest.Start(shared.binary, dir, "--store", "memory", "--tls-cert", "cert.pem", "--tls-key", "key.pem")
	require.NoError(t, err)
	t.Cleanup(server.Kill)
	require.True(t, strings.HasPrefix(server.URL, "https://"), server.URL)
	tls2 := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool}, ForceAttemptHTTP2: true}
	for name, c := range map[string]struct {
		trust   lockserver.Option
		waiters int
	}{
		"HTTP/1.1": {lockserver.WithRootCAs(pool), 20},
		// More of them than HTTP/2 has streams on a connection.
		"HTTP/2 by a transport of one's own": {lockserver.WithHTTPClient(&http.Client{Transport: tls2}), 300},
	} {
		t.Run(name, func(t *testing.T) {
			client, resource, ctx := newClient(t, server.URL, quick, c.trust), servertest.UniqueName(), within(t, 2*soon)
			require.NoError(t, client.WithLock(ctx, resource, func(ctx context.Context) error {
				impatient, cancel := context.WithCancel(ctx)
				results := make(chan error, c.waiters)
				for range c.waiters {
					go func() { _, err := client.Acquire(impatient, resource); results <- err }()
				}
				eventually(t, "the waiters", func() bool { return waiters(t, client, resource) == c.waiters })
				require.NoError(t, lockserver.FromContext(ctx).Renew(within(t, 5*time.Second), 0), "not starved by those who wait")
				cancel()
				for range c.waiters {
					require.ErrorIs(t, <-results, context.Canceled)
				}
				eventually(t, "nobody waits", func() bool { return waiters(t, client, resource) == 0 })
				return nil
			}))
			requireFree(t, client, resource)
		})
	}

	for _, addr := range []string{server.URL, "https://" + shared.server.Addr()} { // unknown to the system; no TLS there
		start := time.Now()
		_, err = newClient(t, addr, quick).Acquire(context.Background(), "r")
		require.ErrorIs(t, err, lockserver.ErrConnectionFailed)
		require.Less(t, time.Since(start), soon, "trying again is of no use")
	}
}

// writeCertificate leaves cert.pem and key.pem for 127.0.0.1 in dir.
func writeCertificate(t *testing.T, dir string) *x509.Certificate {
	t.Helper()
	donor := httptest.NewUnstartedServer(nil)
	donor.StartTLS()
	defer donor.Close()
	pair := donor.TLS.Certificates[0]
	key, err := x509.MarshalPKCS8PrivateKey(pair.PrivateKey)
	require.NoError(t, err)
	for name, block := range map[string]*pem.Block{
		"cert.pem": {Type: "CERTIFICATE", Bytes: pair.Certificate[0]}, "key.pem": {Type: "PRIVATE KEY", Bytes: key},
	} {
		require.NoError(t, os.WriteFile(filepath.Join(dir, name), pem.EncodeToMemory(block), 0o600))
	}
	return donor.Certificate()
}

// Behind a path prefix of a proxy.
func TestPathPrefix(t *testing.T) {
	t.Parallel()
	upstream, err := url.Parse(shared.server.URL)
	require.NoError(t, err)
	front := httptest.NewServer(http.StripPrefix("/locks", httputil.NewSingleHostReverseProxy(upstream)))
	t.Cleanup(front.Close)
	client := newClient(t, front.URL+"/locks/", quick)
	name := servertest.UniqueName()
	require.NoError(t, client.WithLock(within(t, soon), name, func(context.Context) error { return nil }))
	requireFree(t, client, name)
}
