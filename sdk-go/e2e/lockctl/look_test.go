package lockctl

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestLsAndShow(t *testing.T) {
	w := newWorld(t)
	for _, args := range [][]string{{"jobs/b"}, {"--shared", "jobs/a"}, {"--limit", "3", "jobs/c"}, {"other"}} {
		j := w.start(append(append([]string{"run"}, args...), "--", "sh", "-c", "echo up; exec sleep 600")...)
		j.says("up")
	}
	waiter := w.start("run", "--note", "me too", "jobs/b", "--", "true")
	require.Eventually(t, func() bool { l, _ := w.show("jobs/b"); return len(l.Queue) == 1 }, patience, 5*time.Millisecond)

	lines := strings.Split(strings.TrimSpace(w.run("ls", "--prefix", "jobs/").stdout.String()), "\n")
	require.Len(t, lines, 4)
	for i, want := range [][]string{{"RESOURCE", "HOLDER", "WAITING"}, {"jobs/a", "shared"}, {"jobs/b", "exclusive"}, {"jobs/c", "1 of 3 permits"}} {
		for _, text := range want {
			require.Contains(t, lines[i], text)
		}
	}
	require.Regexp(t, `1$`, lines[2])
	require.Len(t, strings.Split(strings.TrimSpace(w.run("ls").stdout.String()), "\n"), 5)

	var page struct{ Locks []struct{ Resource string } }
	require.NoError(t, json.Unmarshal([]byte(w.run("ls", "--json").stdout.String()), &page))
	require.Equal(t, "jobs/a jobs/b jobs/c other", fmt.Sprint(page.Locks[0].Resource, " ", page.Locks[1].Resource, " ", page.Locks[2].Resource, " ", page.Locks[3].Resource))

	var lock map[string]any
	require.NoError(t, json.Unmarshal([]byte(w.run("show", "--json", "other").stdout.String()), &lock))
	require.Equal(t, []any{}, lock["queue"], "as the server tells it")

	shown := w.run("show", "jobs/b").stdout.String()
	require.Regexp(t, `(?s)jobs/b +exclusive.*HOLDER +TOKEN.*PLACE +WAITER.*1 .* me too`, shown)

	empty := w.run("ls", "--prefix", "nothing")
	require.Zero(t, empty.code)
	require.Empty(t, empty.stdout.String())
	require.Contains(t, empty.stderr.String(), "nothing is locked")
	_ = waiter
}

// What a client chose as its name does nothing to the terminal of who looks.
func TestNamesAreShownSafely(t *testing.T) {
	w := newWorld(t)
	j := w.start("run", "--note", "\x1b[31mred\x07", "r", "--", "sh", "-c", "echo up; exec sleep 600")
	j.says("up")
	shown := w.run("show", "r").stdout.String()
	require.Contains(t, shown, "red")
	require.NotContains(t, shown, "\x1b")
	require.NotContains(t, shown, "\x07")
}

// A force release is for the holder that was seen, and no successor.
func TestForceReleaseSendsTheTokenItSaw(t *testing.T) {
	w := newWorld(t)
	j := w.start("run", "--expire", "60", "r", "--", "sh", "-c", "echo up; exec sleep 600")
	j.says("up")
	l, _ := w.show("r")
	stale := w.run("force-release", "--yes", "--token", fmt.Sprint(l.Holders[0].Token-1), "r")
	require.Equal(t, 1, stale.code, stale.stderr)
	require.True(t, w.held("r"))
	var gone struct {
		Evicted []struct{ Token int64 }
	}
	taken := w.run("force-release", "--yes", "--json", "r")
	require.Zero(t, taken.code, taken.stderr)
	require.NoError(t, json.Unmarshal([]byte(taken.stdout.String()), &gone))
	require.Len(t, gone.Evicted, 1)
	require.Equal(t, l.Holders[0].Token, gone.Evicted[0].Token)
	require.False(t, w.held("r"))
}

// standIn is a world in which a lock is shown as held by several, and taking it from the one that is shown is answered so.
func standIn(t *testing.T, taking http.HandlerFunc) *world {
	t.Helper()
	w := newWorld(t)
	routes := http.NewServeMux()
	routes.HandleFunc("GET /lock", func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprint(w, `{"resource":"r","limit":3,"holders":[{"owner":"o","token":7}],"holders_total":3}`)
	})
	routes.HandleFunc("DELETE /lock", taking)
	server := httptest.NewServer(routes)
	t.Cleanup(server.Close)
	w.env = append(w.env, "LOCKSERVER_ADDR="+server.URL)
	return w
}

// Where the holder went between the look and the taking, nothing was taken, also in JSON.
func TestForceReleaseThatCameTooLate(t *testing.T) {
	w := standIn(t, func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusNotFound)
		fmt.Fprint(w, `{"code":"not_found"}`)
	})
	for _, args := range [][]string{{"force-release", "--yes", "r"}, {"force-release", "--yes", "--json", "r"}} {
		j := w.run(args...)
		require.Equal(t, 1, j.code, j.stderr)
		require.Empty(t, j.stdout.String())
		require.Contains(t, j.stderr.String(), `nobody holds "r" any more`)
	}
}

// The server shows a part of very many holders: the others are not taken for gone.
func TestForceReleaseTellsOfHoldersThatItDidNotSee(t *testing.T) {
	w := standIn(t, func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprintf(w, `{"resource":"r","evicted":[{"owner":"o","token":%s}]}`, r.URL.Query().Get("token"))
	})
	j := w.run("force-release", "--yes", "r")
	require.Zero(t, j.code, j.stderr)
	require.Equal(t, "taken from o (token 7)\n", j.stdout.String())
	require.Contains(t, j.stderr.String(), `2 more hold "r"`)
	require.Empty(t, w.run("force-release", "--yes", "--token", "7", "r").stderr.String())
}

// The secret is never an argument, nor shown.
func TestTheSecretIsNotTold(t *testing.T) {
	w := newWorld(t)
	for _, args := range [][]string{{"--help"}, {"ls"}, {"run", "--secret", "x", "r", "--", "true"}} {
		j := w.run(args...)
		require.NotContains(t, j.stdout.String()+j.stderr.String(), "a-secret-for")
	}
	require.Equal(t, 125, w.run("run", "--secret", "x", "r", "--", "true").code)
}
