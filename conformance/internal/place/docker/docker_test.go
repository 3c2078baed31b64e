//go:build docker

package docker_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/ory/dockertest/v3"
	dc "github.com/ory/dockertest/v3/docker"
	"github.com/stretchr/testify/require"

	"github.com/lockserver/lockserver/conformance/internal/place"
	"github.com/lockserver/lockserver/conformance/internal/place/docker"
)

const secret = "a-secret-for-one-test"

func newPlace(t *testing.T) *docker.Place {
	t.Helper()
	p, err := docker.New()
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, p.Close()) })
	return p
}

func within(t *testing.T, d time.Duration) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), d)
	t.Cleanup(cancel)
	return ctx
}

func newServer(t *testing.T, p place.Place, spec place.ServerSpec) place.Server {
	t.Helper()
	spec.Name, spec.Secret = "server", secret
	s, err := p.Server(within(t, time.Minute), spec)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, s.Close()) })
	return s
}

// acquire asks for a lock and gives the answer's status, or the error of a request without an answer in time.
func acquire(t *testing.T, s place.Server, resource string, limit time.Duration) (int, error) {
	t.Helper()
	body := strings.NewReader(fmt.Sprintf(`{"resource": %q, "owner": "o"}`, resource))
	r, err := http.NewRequestWithContext(within(t, limit), http.MethodPost, "http://"+s.SuiteAddr()+"/acquire", body)
	require.NoError(t, err)
	r.Header.Set("X-LOCKSERVER-SECRET", secret)
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	a, err := client.Do(r)
	if err != nil {
		return 0, err
	}
	return a.StatusCode, a.Body.Close()
}

func status(t *testing.T, s place.Server, resource string) int {
	t.Helper()
	got, err := acquire(t, s, resource, time.Minute)
	require.NoError(t, err)
	return got
}

func TestServerPausesAndGoesOn(t *testing.T) {
	s := newServer(t, newPlace(t), place.ServerSpec{})
	require.Equal(t, 200, status(t, s, "a"))
	require.NoError(t, s.Signal(syscall.SIGSTOP))
	_, err := acquire(t, s, "b", 2*time.Second)
	require.ErrorIs(t, err, context.DeadlineExceeded)
	require.NoError(t, s.Signal(syscall.SIGCONT))
	require.Equal(t, 200, status(t, s, "c"))
}

func TestKilledServerKeepsWhatIsDurable(t *testing.T) {
	p := newPlace(t)
	for durable, after := range map[bool]int{true: 409, false: 200} {
		s := newServer(t, p, place.ServerSpec{Durable: durable})
		require.Equal(t, 200, status(t, s, "a"))
		require.Error(t, s.Start(t.Context()), "it runs")
		require.NoError(t, s.Signal(syscall.SIGKILL))
		code, err := s.Wait(within(t, time.Minute))
		require.NoError(t, err)
		require.Equal(t, 137, code)
		_, err = acquire(t, s, "a", 2*time.Second)
		require.Error(t, err)
		require.NoError(t, s.Start(within(t, time.Minute)))
		require.Equal(t, after, status(t, s, "a"), "durable: %v", durable)
	}
}

func TestPausedServerCanBeKilled(t *testing.T) {
	s := newServer(t, newPlace(t), place.ServerSpec{})
	require.NoError(t, s.Signal(syscall.SIGSTOP))
	require.NoError(t, s.Signal(syscall.SIGKILL))
	code, err := s.Wait(within(t, time.Minute))
	require.NoError(t, err)
	require.Equal(t, 137, code)
}

func TestServerIsCutOffAndComesBack(t *testing.T) {
	s := newServer(t, newPlace(t), place.ServerSpec{})
	require.Equal(t, 200, status(t, s, "a"))
	cutter, ok := s.(place.Cutter)
	require.True(t, ok)
	require.NoError(t, cutter.Cut(t.Context()))
	_, err := acquire(t, s, "b", 2*time.Second)
	require.Error(t, err)
	require.NoError(t, cutter.Heal(t.Context()))
	require.Equal(t, 409, status(t, s, "a"), "the server has lived through it")
}

func TestServerThatDoesNotStartSaysWhy(t *testing.T) {
	_, err := newPlace(t).Server(within(t, time.Minute), place.ServerSpec{Name: "server", Secret: secret, Flags: []string{"--no-such-flag"}})
	require.ErrorContains(t, err, "no-such-flag")
}

func TestDriverSpeaks(t *testing.T) {
	p := newPlace(t)
	d, err := p.Driver(within(t, time.Minute), place.DriverSpec{Name: "http", Env: map[string]string{"LOCKSERVER_OWNER": "me"}})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, d.Close()) })

	_, err = io.WriteString(d.Stdin(), `{"id": 1, "op": "hello", "protocol": 1}`+"\n")
	require.NoError(t, err)
	out := bufio.NewReader(d.Stdout())
	line, err := out.ReadString('\n')
	require.NoError(t, err)
	require.Contains(t, line, `"name"`)

	require.NoError(t, d.Stdin().Close())
	code, err := d.Wait(within(t, time.Minute))
	require.NoError(t, err)
	require.Zero(t, code, d.Stderr())
	_, err = out.ReadByte()
	require.ErrorIs(t, err, io.EOF)
}

// A driver that ends while its input is open has not failed to be read. Several, as it was a matter of chance.
func TestDriverEndsBeforeItsInput(t *testing.T) {
	p := newPlace(t)
	for range 8 {
		d, err := p.Driver(within(t, time.Minute), place.DriverSpec{Name: "http"})
		require.NoError(t, err)
		require.NoError(t, d.Signal(syscall.SIGKILL))
		code, err := d.Wait(within(t, time.Minute))
		require.NoError(t, err)
		require.Equal(t, 137, code)
		_, err = io.WriteString(d.Stdin(), "\n")
		require.ErrorIs(t, err, io.ErrClosedPipe)
		require.NoError(t, d.Close())
	}
}

func TestUnknownDriverImage(t *testing.T) {
	_, err := newPlace(t).Driver(within(t, time.Minute), place.DriverSpec{Name: "x", Image: "lockserver-driver-none:dev"})
	require.ErrorContains(t, err, "lockserver-driver-none:dev")
}

// What a run leaves that was killed is removed by the next, and what a run has that still goes on is not.
func TestSweep(t *testing.T) {
	const label = "org.lockserver.conformance.run"
	alive := newPlace(t)
	s := newServer(t, alive, place.ServerSpec{})
	pool, err := dockertest.NewPool("")
	require.NoError(t, err)
	host := strings.SplitN(hostRun(t, pool, label), ".", 3)[2]
	dead := map[string]string{label: "4194304.00000000." + host} // no process has a number that high
	n, err := pool.CreateNetwork("conformance-left-behind", func(o *dc.CreateNetworkOptions) { o.Labels = dead })
	require.NoError(t, err)
	c, err := pool.Client.CreateContainer(dc.CreateContainerOptions{
		Config: &dc.Config{Image: docker.ServerImage, Labels: dead}, HostConfig: &dc.HostConfig{NetworkMode: n.Network.ID},
	})
	require.NoError(t, err)
	require.NoError(t, pool.Client.StartContainer(c.ID, nil))

	newPlace(t)
	_, err = pool.Client.InspectContainer(c.ID)
	require.ErrorAs(t, err, new(*dc.NoSuchContainer))
	_, err = pool.Client.NetworkInfo(n.Network.ID)
	require.ErrorAs(t, err, new(*dc.NoSuchNetwork))
	require.Equal(t, 200, status(t, s, "a"), "the run that still goes on keeps its server")
}

func hostRun(t *testing.T, pool *dockertest.Pool, label string) string {
	t.Helper()
	all, err := pool.Client.ListContainers(dc.ListContainersOptions{Filters: map[string][]string{"label": {label}}})
	require.NoError(t, err)
	require.NotEmpty(t, all)
	return all[0].Labels[label]
}

// The drivers reach what the suite listens on, by both families of addresses.
func TestProxyHostIsReachedFromContainers(t *testing.T) {
	p := newPlace(t)
	for family, ipv6 := range map[string]bool{"IPv4": false, "IPv6": true} {
		t.Run(family, func(t *testing.T) {
			if reason := p.Lacks("ipv6"); ipv6 && reason != "" {
				t.Skip("no IPv6 here: " + reason)
			}
			d, err := p.Driver(within(t, time.Minute), place.DriverSpec{Name: "http"})
			require.NoError(t, err)
			t.Cleanup(func() { require.NoError(t, d.Close()) })
			listen, reach := p.ProxyHost(ipv6)
			l, err := net.Listen("tcp", net.JoinHostPort(listen, "0"))
			require.NoError(t, err)
			defer l.Close()
			_, port, err := net.SplitHostPort(l.Addr().String())
			require.NoError(t, err)
			for _, line := range []string{
				`{"id": 1, "op": "client", "client": "c", "addr": %q, "owner": "o", "secret": "a-secret-for-one-test"}`,
				`{"id": 2, "op": "acquire", "client": "c", "lock": "l", "resource": "a", "blocking": false}`,
			} {
				if strings.Contains(line, "%q") {
					line = fmt.Sprintf(line, net.JoinHostPort(reach, port))
				}
				_, err := io.WriteString(d.Stdin(), line+"\n")
				require.NoError(t, err)
			}
			require.NoError(t, l.(*net.TCPListener).SetDeadline(time.Now().Add(time.Minute)))
			c, err := l.Accept()
			require.NoError(t, err, d.Stderr())
			require.NoError(t, c.Close())
		})
	}
}
