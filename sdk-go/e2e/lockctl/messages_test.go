package lockctl

import (
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// with is the same world with other settings.
func (w *world) with(env ...string) *world {
	other := *w
	other.env = append(append([]string{}, w.env...), env...)
	return &other
}

// looks are the commands that ask the server one thing.
var looks = [][]string{{"ls"}, {"show", "r"}, {"force-release", "--yes", "r"}}

// undone is what a look did not come to, in the words of the SDK.
var undone = map[string]string{
	"ls": "the list did not come", "show": `resource "r" was not shown`, "force-release": `resource "r" was not shown`,
}

// A person who asks hears after a second why there is no answer, and after five that there will be none.
func TestAskingWhileTheServerIsDown(t *testing.T) {
	w := newWorld(t)
	w.server.Kill()
	addr := w.server.Addr()
	for _, args := range looks {
		t.Run(args[0], func(t *testing.T) {
			t.Parallel()
			j := w.run(args...)
			require.Equal(t, 123, j.code)
			require.Empty(t, j.stdout.String())
			require.Equal(t, "lockctl: waiting for "+addr+": connection refused\n"+
				"lockctl: gave up: "+undone[args[0]]+" within 5 s: connection refused by "+addr+"\n", j.stderr.String())

			j = w.run(append([]string{args[0], "--timeout", "300ms"}, args[1:]...)...)
			require.Equal(t, 123, j.code)
			require.Regexp(t, "^lockctl: gave up: "+undone[args[0]]+` within 0\.(3|29\d) s: connection refused by `+addr+"\n$", j.stderr.String())
		})
	}
	for _, args := range looks {
		j := w.run(append([]string{args[0], "--timeout", "0"}, args[1:]...)...)
		require.Equal(t, 125, j.code)
		require.Contains(t, j.stderr.String(), "allowed: more than 0")
	}
}

// An answer that comes late is an answer.
func TestAskingASlowServer(t *testing.T) {
	w := newWorld(t)
	for _, args := range [][]string{{"ls", "--timeout", "29"}, {"show", "--timeout", "29", "r"}} {
		require.NoError(t, w.server.Freeze())
		j := w.start(args...)
		require.Eventually(t, func() bool { return strings.Contains(j.stderr.String(), "\n") }, patience, tick)
		require.Equal(t, "lockctl: waiting for "+w.server.Addr()+": no answer\n", j.stderr.String())
		require.NoError(t, w.server.Thaw())
		require.Less(t, j.wait(), 2, j.stderr)
		require.Equal(t, 1, strings.Count(j.stderr.String(), "waiting for "))
	}
}

// A force release that was sent and not answered may have had its effect.
func TestForceReleaseWithoutAnAnswer(t *testing.T) {
	w := standIn(t, func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() })
	j := w.run("force-release", "--yes", "--timeout", "500ms", "r")
	require.Equal(t, 123, j.code)
	require.Regexp(t, `^lockctl: cannot reach 127\.0\.0\.1:\d+: no answer; it may have been taken from o all the same: lockctl show tells\n$`, j.stderr)
}

func TestMessagesOfRun(t *testing.T) {
	w := newWorld(t)
	holder := w.start("run", "--note", "big job", "r", "--", "sh", "-c", "echo up; exec sleep 600")
	holder.says("up")
	l, _ := w.show("r")
	held := `"r" is held by ` + regexp.QuoteMeta(l.Holders[0].Owner)
	reader := w.start("run", "--shared", "book", "--", "sh", "-c", "echo up; exec sleep 600")
	reader.says("up")
	require.NoError(t, os.WriteFile(w.file("no-format"), []byte{0, 1, 2}, 0o700))
	down := startWorld(t)
	down.server.Kill()
	for _, c := range []struct {
		w    *world
		code int
		args []string
		says string
	}{
		{w, 120, []string{"--no-wait", "r", "--", "true"}, held + ` for \S+s.*`},
		{w, 121, []string{"--timeout", "0", "r", "--", "true"}, held + `.*`},
		{w, 121, []string{"--timeout", "300ms", "r", "--", "true"}, `gave up: resource "r" was not granted within 0\.(3|29\d) s: held by ` + regexp.QuoteMeta(l.Holders[0].Owner) + ` for \S+ s`},
		{w, 121, []string{"outer", "--", binaries().lockctl, "run", "--timeout", "300ms", "outer", "--", "true"}, `gave up: .* held by .*, and this command runs under that very lock`},
		{w, 123, []string{"--no-wait", "--limit", "3", "r", "--", "true"}, `"r" is held or awaited as another kind of lock: .*`},
		{w, 125, []string{strings.Repeat("x", 600), "--", "true"}, `.*resource.*512 bytes.*`},
		{w, 126, []string{"free", "--", "/"}, `command "/" cannot be executed: (permission denied|is a directory)`},
		{w, 126, []string{"free", "--", "./no-format"}, `command "\./no-format" cannot be executed: exec format error`},
		{down, 121, []string{"--timeout", "300ms", "r", "--", "true"}, `gave up: resource "r" was not granted within 0\.(3|29\d) s: connection refused by HOST`},
		{w.with("LOCKSERVER_SECRET=wrong"), 123, []string{"r", "--", "true"}, `HOST refuses the secret: LOCKSERVER_SECRET must be the server's`},
		{w.with("LOCKSERVER_SECRET="), 123, []string{"r", "--", "true"}, `the secret is missing, .*: set LOCKSERVER_SECRET in the environment or in \.env`},
		{w.with("LOCKSERVER_ADDR=https://" + w.server.Addr()), 123, []string{"r", "--", "true"}, `cannot reach HOST: it does not speak TLS: is LOCKSERVER_ADDR to begin with http:// \?`},
	} {
		j := c.w.run(append([]string{"run"}, c.args...)...)
		require.Equal(t, c.code, j.code, "%q: %s", c.args, j.stderr)
		addr := regexp.QuoteMeta(c.w.server.Addr())
		require.Regexp(t, `^lockctl: `+strings.ReplaceAll(c.says, "HOST", addr)+`\n$`, j.stderr.String(), "%q", c.args)
		noInternals(t, j)
	}
}

// noInternals checks that nothing of how lockctl is made shows.
func noInternals(t *testing.T, j *job) {
	t.Helper()
	for _, word := range []string{"lockserver:", "context", "dial tcp", "fork/exec", "lock_timeout", "connection_failed", "With"} {
		require.NotContains(t, j.stderr.String(), word)
	}
}

// What answers is no lockserver.
func TestMessagesAboutStrangers(t *testing.T) {
	w := newWorld(t)
	answer := func(status int, body string) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Location", "/elsewhere")
			w.WriteHeader(status)
			fmt.Fprint(w, body)
		}
	}
	for _, c := range []struct {
		status int
		body   string
		says   string
	}{
		{400, "<html>", "answered 400 without a lockserver's code: is this the address of a lockserver?"},
		{401, "", "refuses the secret: LOCKSERVER_SECRET must be the server's"},
		{404, "404 page not found", "answered 404 without a lockserver's code: is this the address of a lockserver?"},
		{302, "", "answered 302 without a lockserver's code: is this the address of a lockserver?"},
		{200, "<html>", "answered 200 with no JSON object: is this the address of a lockserver?"},
	} {
		server := httptest.NewServer(answer(c.status, c.body))
		defer server.Close()
		for _, args := range [][]string{{"ls"}, {"run", "r", "--", "true"}} {
			j := w.with("LOCKSERVER_ADDR=" + server.URL).run(args...)
			require.Equal(t, 123, j.code, "%d %q: %s", c.status, args, j.stderr)
			require.Equal(t, "lockctl: "+strings.TrimPrefix(server.URL, "http://")+" "+c.says+"\n", j.stderr.String())
		}
	}
	server := httptest.NewServer(answer(503, `{"code":"draining"}`))
	defer server.Close()
	addr := strings.TrimPrefix(server.URL, "http://")
	j := w.with("LOCKSERVER_ADDR="+server.URL).run("ls", "--timeout", "300ms")
	require.Equal(t, 123, j.code)
	require.Regexp(t, `^lockctl: gave up: the list did not come within 0\.(3|29\d) s: `+addr+" answered 503 draining\n$", j.stderr.String())

	secure := httptest.NewUnstartedServer(answer(200, "{}"))
	secure.Config.ErrorLog = log.New(io.Discard, "", 0)
	secure.StartTLS()
	defer secure.Close()
	addr = strings.TrimPrefix(secure.URL, "https://")
	require.Equal(t, "lockctl: cannot reach "+addr+": its certificate is signed by an authority that this machine does not know\n",
		w.with("LOCKSERVER_ADDR="+secure.URL).run("ls").stderr.String())
	require.Equal(t, "lockctl: "+addr+" answered 400 without a lockserver's code: is this the address of a lockserver?\n",
		w.with("LOCKSERVER_ADDR="+addr).run("ls").stderr.String())
}
