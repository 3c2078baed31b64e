package app_test

import (
	"context"
	"io"
	"log/slog"
	"net"
	"net/http"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/lockserver/lockserver/server/internal/app"
	"github.com/lockserver/lockserver/server/internal/config"
)

const secret = "correct-horse-battery"

func options(t *testing.T, args ...string) *config.Options {
	t.Helper()
	o, err := config.Load(config.Source{
		Args: append([]string{"--port", "0"}, args...), Dir: t.TempDir(), NeedsSecret: true,
		LookupEnv: func(name string) (string, bool) {
			return map[string]string{"LOCKSERVER_SECRET": secret, "LOCKSERVER_SECRET_PREVIOUS": "the-one-before-it"}[name], true
		},
	})
	require.NoError(t, err)
	return o
}

func quiet() *slog.Logger { return slog.New(slog.DiscardHandler) }

// running is an app in its Run.
type running struct {
	*app.App
	stop  context.CancelFunc
	ended chan struct{} // closed when Run has returned
	err   error         // what it returned; valid then
}

func run(t *testing.T, o *config.Options) *running {
	t.Helper()
	a, err := app.New(o, "test", quiet())
	require.NoError(t, err)
	ctx, stop := context.WithCancel(t.Context())
	r := &running{App: a, stop: stop, ended: make(chan struct{})}
	ready := make(chan struct{})
	go func() {
		defer close(r.ended)
		r.err = a.Run(ctx, func() { close(ready) })
	}()
	t.Cleanup(func() {
		require.NoError(t, a.Close())
		require.NoError(t, r.end())
	})
	select {
	case <-ready:
	case <-r.ended:
		require.Fail(t, "not ready", "%v", r.err)
	}
	return r
}

// end waits for the end of Run.
func (r *running) end() error {
	<-r.ended
	return r.err
}

func (r *running) acquire(t *testing.T, secret, resource string) int {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://"+r.Addr().String()+"/acquire",
		strings.NewReader(`{"resource":"`+resource+`","owner":"o"}`))
	require.NoError(t, err)
	req.Close = true
	req.Header.Set("Authorization", "Bearer "+secret)
	resp, err := http.DefaultClient.Do(req)
	require.NoError(t, err)
	defer resp.Body.Close()
	_, err = io.Copy(io.Discard, resp.Body)
	require.NoError(t, err)
	return resp.StatusCode
}

func TestServesUntilItsContextEnds(t *testing.T) {
	before := runtime.NumGoroutine()
	dir := filepath.Join(t.TempDir(), "data")
	for i, want := range []int{http.StatusOK, http.StatusConflict} {
		r := run(t, options(t, "--store", "disk:"+dir))
		require.Equal(t, want, r.acquire(t, secret, "r"), "start %d", i)
		require.Equal(t, http.StatusConflict, r.acquire(t, "the-one-before-it", "r"))
		require.Equal(t, http.StatusUnauthorized, r.acquire(t, "another", "r"))
		r.stop()
		require.NoError(t, r.end())
		_, err := net.DialTimeout("tcp", r.Addr().String(), time.Second)
		require.Error(t, err, "still listening")
	}
	before++ // Eventually looks from one of its own
	require.Eventually(t, func() bool { return runtime.NumGoroutine() <= before }, 10*time.Second, 5*time.Millisecond, "goroutines are left")
}

func TestCloseEndsRun(t *testing.T) {
	r := run(t, options(t, "--store", "memory"))
	require.NoError(t, r.Close())
	require.NoError(t, r.end())
	require.NoError(t, r.Close())
}

func TestCloseWithoutRunFreesThePort(t *testing.T) {
	a, err := app.New(options(t, "--store", "memory"), "test", quiet())
	require.NoError(t, err)
	addr := a.Addr().String()
	require.NoError(t, a.Close())
	l, err := net.Listen("tcp", addr)
	require.NoError(t, err)
	require.NoError(t, l.Close())
}

// Two in one process have nothing in common.
func TestTwoAtOnce(t *testing.T) {
	a, b := run(t, options(t, "--store", "memory")), run(t, options(t, "--store", "memory"))
	require.NotEqual(t, a.Addr().String(), b.Addr().String())
	require.Equal(t, http.StatusOK, a.acquire(t, secret, "r"))
	require.Equal(t, http.StatusOK, b.acquire(t, secret, "r"))
}

func TestAddressThatIsNotOurs(t *testing.T) {
	_, err := app.New(options(t, "--bind", "203.0.113.7"), "test", quiet())
	require.ErrorContains(t, err, "--bind 203.0.113.7")
	require.ErrorContains(t, err, "allowed: ")
}

func TestStoreThatCannotBeOpenedEndsRun(t *testing.T) {
	a, err := app.New(options(t, "--store", "disk:/dev/null/x"), "test", quiet())
	require.NoError(t, err)
	require.ErrorContains(t, a.Run(t.Context(), func() {}), "--store disk:/dev/null/x")
	require.NoError(t, a.Close())
}
