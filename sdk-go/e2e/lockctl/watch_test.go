package lockctl

import (
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/lockserver/lockserver/sdk-go/internal/servertest"
)

// followed waits until so many read the server's events.
func (w *world) followed(readers string) {
	w.t.Helper()
	require.Eventually(w.t, func() bool {
		request, err := http.NewRequestWithContext(w.t.Context(), http.MethodGet, w.server.URL+"/metrics", nil)
		require.NoError(w.t, err)
		request.Header.Set("X-LOCKSERVER-SECRET", servertest.Secret)
		response, err := http.DefaultClient.Do(request)
		if err != nil {
			return false
		}
		defer response.Body.Close()
		text, err := io.ReadAll(response.Body)
		return err == nil && strings.Contains(string(text), "\nlockserver_event_readers "+readers+"\n")
	}, patience, tick)
}

func TestWatch(t *testing.T) {
	w := newWorld(t)
	people, programs := w.start("watch", "--prefix", "a/"), w.start("watch", "--json")
	w.followed("2")
	require.Zero(t, w.run("run", "b/other", "--", "true").code)
	require.Zero(t, w.run("run", "--note", "mine\x07", "a/r", "--", "true").code)
	people.says("a/r  released")
	require.Regexp(t, `^\S+ \S+  a/r  granted  \S+  token \d+  after \S+  mine`+"\ufffd"+`\n\S+ \S+  a/r  released  [^\n]*\n$`, people.stdout.String())
	programs.says(`"kind":"released","time":"`)

	for _, j := range []*job{people, programs} {
		j.signal(syscall.SIGINT)
		require.Equal(t, 130, j.wait(), "as the end by SIGINT is told")
		require.Empty(t, j.stderr.String())
	}
	w.followed("0")
	var first struct {
		Kind, Resource string
		Token          int64
	}
	require.NoError(t, json.NewDecoder(strings.NewReader(programs.stdout.String())).Decode(&first))
	require.Equal(t, "granted", first.Kind)
	require.Equal(t, "b/other", first.Resource)
	require.Positive(t, first.Token)
	require.Equal(t, 125, w.run("watch", "r").code)
}

// What happened while there was no way to the server is told when there is one again.
func TestWatchResumes(t *testing.T) {
	w := newWorld(t)
	server, err := url.Parse(w.server.URL)
	require.NoError(t, err)
	var shut atomic.Bool
	through := httputil.NewSingleHostReverseProxy(server)
	through.FlushInterval = -1
	way := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		if shut.Load() {
			rw.WriteHeader(http.StatusBadGateway)
			return
		}
		through.ServeHTTP(rw, r)
	}))
	t.Cleanup(way.Close)
	t.Cleanup(way.CloseClientConnections)
	watching := w.command("watch")
	watching.Env = append(watching.Env, "LOCKSERVER_ADDR="+way.URL)
	j := w.startCommand(watching)
	w.followed("1")
	require.Zero(t, w.run("run", "before", "--", "true").code)
	j.says("before  released")
	shut.Store(true)
	way.CloseClientConnections()
	w.followed("0")
	require.Zero(t, w.run("run", "meanwhile", "--", "true").code)
	shut.Store(false)
	j.says("meanwhile  released")
	require.NotContains(t, j.stdout.String(), "gap")
	require.Eventually(t, func() bool { return strings.HasSuffix(j.stderr.String(), ": watching again\n") }, patience, tick)
	require.Regexp(t, "^lockctl: [^ ]+: [a-z ]+; trying again\nlockctl: .*\n$", j.stderr.String())
}

// When a server is lost the next is asked, whose events are others.
func TestWatchMovesOn(t *testing.T) {
	w := newWorld(t)
	next := startWorld(t)
	watching := w.command("watch")
	watching.Env = append(watching.Env, "LOCKSERVER_ADDR="+w.server.URL+","+next.server.URL)
	j := w.startCommand(watching)
	w.followed("1")
	require.NoError(t, w.server.Stop())
	next.followed("1")
	require.Zero(t, next.run("run", "r", "--", "true").code)
	j.says("r  released")
	require.Contains(t, j.stdout.String(), "gap: an unknown number of events was missed")
	j.signal(syscall.SIGTERM)
	require.Equal(t, 143, j.wait())
}

func TestWatchFails(t *testing.T) {
	w := newWorld(t)
	wrong := w.command("watch")
	wrong.Env = append(wrong.Env, "LOCKSERVER_SECRET=another")
	refused := w.startCommand(wrong)
	require.Equal(t, 123, refused.wait())
	require.Contains(t, refused.stderr.String(), "refuses the secret")

	stranger := httptest.NewServer(http.NotFoundHandler())
	t.Cleanup(stranger.Close)
	elsewhere := w.command("watch")
	elsewhere.Env = append(elsewhere.Env, "LOCKSERVER_ADDR="+stranger.URL)
	unknown := w.startCommand(elsewhere)
	require.Equal(t, 123, unknown.wait())
	require.Contains(t, unknown.stderr.String(), "answered 404 without a lockserver's code")

	w.server.Kill()
	gone := w.run("watch", "--timeout", "0.2")
	require.Equal(t, 123, gone.code)
	require.Regexp(t, `^lockctl: .*: connection refused; trying again\nlockctl: cannot reach .*\n$`, gone.stderr.String())
}

func TestTop(t *testing.T) {
	w := newWorld(t)
	none := w.run("top")
	require.Zero(t, none.code)
	require.Contains(t, none.stderr.String(), "nobody has waited since the server began to serve, ")
	require.Empty(t, none.stdout.String())

	j := w.start("run", "busy", "--", "sh", "-c", "echo up; exec sleep 600")
	j.says("up")
	waiter := w.start("run", "busy", "--", "true")
	require.Eventually(t, func() bool { l, _ := w.show("busy"); return len(l.Queue) == 1 }, patience, tick)
	require.Regexp(t, `^RESOURCE +WAITS +HAND-OFFS +WAIT P50 +WAIT P99 +HOLD P50 +HOLD P99 +WAITING +HOLDERS
busy +1 +0 +- +- +- +- +1 +1\n$`, w.run("top").stdout.String())
	j.signal(syscall.SIGTERM)
	require.Zero(t, waiter.wait())

	var stats struct {
		Since     float64
		Resources []struct {
			Resource string
			HandOffs int      `json:"hand_offs"`
			Wait     *float64 `json:"wait_p99"`
			Waiters  int
		}
	}
	require.Eventually(t, func() bool {
		require.NoError(t, json.Unmarshal([]byte(w.run("top", "-n", "1", "--json").stdout.String()), &stats))
		return stats.Resources[0].HandOffs == 1
	}, patience, tick)
	require.Positive(t, stats.Since)
	require.Equal(t, "busy", stats.Resources[0].Resource)
	require.Positive(t, *stats.Resources[0].Wait)
	require.Zero(t, stats.Resources[0].Waiters)
	require.Regexp(t, `\nbusy +1 +1 +[0-9.]+\S*s +[0-9.]+\S*s +`, w.run("top").stdout.String())
	require.Equal(t, 125, w.run("top", "-n", "101").code)
	require.Equal(t, 125, w.run("top", "r").code)
}

func TestYield(t *testing.T) {
	w := newWorld(t, "--history", "1000")
	free := w.run("yield", "r")
	require.Equal(t, 1, free.code)
	require.Contains(t, free.stderr.String(), `nobody holds "r"`)

	j := w.start("run", "r", "--", "sh", "-c", "echo up; exec sleep 600")
	j.says("up")
	require.Regexp(t, `^asked \S+ \(token \d+\)\n$`, w.run("yield", "--by", "the boss", "r").stdout.String())
	l, held := w.show("r")
	require.True(t, held, "it takes nothing")
	var asked struct{ Asked []struct{ Token int64 } }
	require.NoError(t, json.Unmarshal([]byte(w.run("yield", "--json", "r").stdout.String()), &asked))
	require.Equal(t, l.Holders[0].Token, asked.Asked[0].Token)
	require.Eventually(t, func() bool {
		return strings.Count(w.run("history", "r").stdout.String(), "yield by ") == 2
	}, patience, tick)
	require.Contains(t, w.run("history", "r").stdout.String(), "yield by the boss")
	other := w.run("yield", "--token", "999999", "r")
	require.Equal(t, 1, other.code)
	require.Contains(t, other.stderr.String(), `nobody holds "r" with token 999999`)
}
