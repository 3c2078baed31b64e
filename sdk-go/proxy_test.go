package lockserver_test

import (
	"context"
	"crypto/x509"
	"encoding/base64"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	lockserver "github.com/lockserver/lockserver/sdk-go"
)

// proxy makes tunnels, or refuses them.
type proxy struct {
	*httptest.Server

	mu    sync.Mutex
	asked []string // what for, and by whom
	says  []int    // statuses of the next answers, before it makes tunnels
}

func newProxy(t *testing.T, secure bool, says ...int) *proxy {
	p := &proxy{says: says}
	p.Server = httptest.NewUnstartedServer(http.HandlerFunc(p.serve))
	p.Config.ErrorLog = log.New(io.Discard, "", 0)
	if secure {
		p.StartTLS()
	} else {
		p.Start()
	}
	t.Cleanup(p.Close)
	return p
}

func (p *proxy) serve(w http.ResponseWriter, r *http.Request) {
	p.mu.Lock()
	p.asked = append(p.asked, r.Method+" "+r.Host+" "+r.Header.Get("Proxy-Authorization"))
	status := http.StatusOK
	if len(p.says) > 0 {
		status, p.says = p.says[0], p.says[1:]
	}
	p.mu.Unlock()
	if status != http.StatusOK || r.Method != http.MethodConnect {
		w.WriteHeader(status)
		return
	}
	server, err := net.Dial("tcp", r.Host)
	if err != nil {
		w.WriteHeader(http.StatusBadGateway)
		return
	}
	defer server.Close()
	client, buffered, err := w.(http.Hijacker).Hijack()
	if err != nil {
		panic(err)
	}
	defer client.Close()
	fmt.Fprint(client, "HTTP/1.1 200 OK\r\n\r\n")
	go func() { _, _ = io.Copy(server, buffered); _ = server.Close() }()
	_, _ = io.Copy(client, server)
}

func (p *proxy) seen() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.asked
}

// Every connection goes through the proxy, those without TLS too, and the proxy sees nothing of what goes through.
func TestProxyTunnelsEveryConnection(t *testing.T) {
	plain := newScripted(t).on("/acquire", cut(), grant(7, "null")).on("/release", freed())
	secure := httptest.NewTLSServer(http.HandlerFunc(plain.serve))
	t.Cleanup(secure.Close)
	pool := x509.NewCertPool()
	pool.AddCert(secure.Certificate())
	basic := "Basic " + base64.StdEncoding.EncodeToString([]byte("me:p@ss"))
	for _, server := range []string{plain.URL, secure.URL} {
		for _, overTLS := range []bool{false, true} {
			p := newProxy(t, overTLS)
			scheme := "http://"
			if overTLS {
				scheme = "https://"
				pool.AddCert(p.Certificate())
			}
			client := plain.client(t, quick, lockserver.WithAddr(server), lockserver.WithRootCAs(pool),
				lockserver.WithProxy(scheme+"me:p%40ss@"+p.Listener.Addr().String()))
			require.NoError(t, client.WithLock(within(t, soon), "r", func(context.Context) error { return nil }))
			require.NotEmpty(t, p.seen())
			for _, asked := range p.seen() {
				require.Equal(t, "CONNECT "+server[len(server)-len("127.0.0.1:12345"):]+" "+basic, asked)
			}
		}
	}
}

// A proxy that refuses is named, and not what it wants to know.
func TestProxyThatRefuses(t *testing.T) {
	for status, text := range map[int]string{
		407: "answered 407: are the user and password in its URL right?",
		403: "answered 403: may it be used to reach the server?",
	} {
		p := newProxy(t, false, status)
		address := p.Listener.Addr().String()
		client := newClient(t, lockserver.WithAddr("lockserver.test"), lockserver.WithProxy("http://me:hunter2@"+address))
		_, err := client.Acquire(context.Background(), "r")
		failure := requireCode(t, err, lockserver.ErrConnectionFailed)
		require.Equal(t, "the proxy "+address+" "+text, failure.Message)
		require.Equal(t, status, failure.Status)
		require.Len(t, p.seen(), 1)
		require.NotContains(t, fmt.Sprintf("%v %+v %#v %v", client, client, client, err), "hunter2")
	}
	server := newScripted(t).on("/acquire", grant(7, "null"))
	p := newProxy(t, false, 502, 503, 504)
	_, err := server.client(t, quick, lockserver.WithTransport(lockserver.HTTP), lockserver.WithProxy(p.URL)).Acquire(within(t, soon), "r")
	require.NoError(t, err)
	require.Len(t, p.seen(), 4)
	require.Empty(t, server.seen("/release"))

	_, err = newClient(t, lockserver.WithProxy("http://me:hunter2@"+refusingAddr(t))).Acquire(within(t, 300*time.Millisecond), "r")
	requireCode(t, err, lockserver.ErrLockTimeout)
	require.ErrorContains(t, err, "no tunnel through the proxy 127.0.0.1:")
	require.NotContains(t, err.Error(), "hunter2")

	untrusted := newProxy(t, true)
	_, err = newClient(t, lockserver.WithProxy(untrusted.URL)).Acquire(context.Background(), "r")
	requireCode(t, err, lockserver.ErrConnectionFailed)
	require.ErrorContains(t, err, "certificate")
}

// A proxy that says nothing is given up within the bound on connecting.
func TestProxyThatIsSilent(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	t.Cleanup(func() { _ = listener.Close() })
	bounds := quick
	bounds.Connect, bounds.Silence, bounds.Cleanup = 50*time.Millisecond, 500*time.Millisecond, 100*time.Millisecond
	_, err = newClient(t, withBounds(bounds), lockserver.WithProxy("http://"+listener.Addr().String())).Acquire(context.Background(), "r")
	requireCode(t, err, lockserver.ErrConnectionFailed)
	require.ErrorContains(t, err, "no tunnel through the proxy")
	require.NotErrorIs(t, err, context.DeadlineExceeded)
}

func TestBadProxies(t *testing.T) {
	for _, url := range []string{
		"proxy:3128", "socks5://hunter2", "http://", "ftp://me:hunter2@proxy", "http://proxy/path", "http://proxy?q=hunter2", "http://proxy#hunter2",
		"http://me:hunter2@proxy:port", "http://me:hunter2@proxy:70000", "\x7f:hunter2",
	} {
		_, err := lockserver.New(lockserver.WithProxy(url))
		require.Error(t, err, url)
		require.Equal(t, "WithProxy", requireCode(t, err, lockserver.ErrConfigInvalid).Field, url)
		require.NotContains(t, err.Error(), "hunter2")
	}
	_, err := lockserver.New(lockserver.WithProxy("http://proxy"), lockserver.WithHTTPClient(&http.Client{Transport: http.DefaultTransport}))
	require.Equal(t, "WithProxy", requireCode(t, err, lockserver.ErrConfigInvalid).Field)
	for _, url := range []string{"http://proxy", "https://proxy/", "http://[::1]:3128", "http://me:hunter2@proxy:8080"} {
		newClient(t, lockserver.WithProxy(url))
	}
}
