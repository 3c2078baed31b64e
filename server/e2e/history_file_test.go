package e2e

import (
	"encoding/json"
	"net/http"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// history returns what the server has kept of a resource, as "kind owner".
func history(t *testing.T, p *process, resource string) (kinds []string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, p.url+"/history?resource="+resource, nil)
	require.NoError(t, err)
	req.Header.Set("Authorization", "Bearer "+secret)
	resp, err := http.DefaultClient.Do(req)
	require.NoError(t, err)
	defer resp.Body.Close()
	require.Equal(t, http.StatusOK, resp.StatusCode)
	var got struct {
		Events []struct{ Kind, Owner string }
	}
	require.NoError(t, json.NewDecoder(resp.Body).Decode(&got))
	for _, e := range got.Events {
		kinds = append(kinds, e.Kind+" "+e.Owner)
	}
	return kinds
}

// The history file has who asked for what, over HTTP and over a session, and after a crash the server knows its events.
func TestTheHistoryFileSurvivesACrash(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	l := launch{args: []string{"--store", "disk:" + dir + "/data", "--history", "1000", "--history-file", dir + "/history"}}
	p := l.start(t)
	c := newClient(t, p.url)
	require.Equal(t, 200, c.acquire(t, fields{"resource": "r", "owner": "first"}).status)
	require.Equal(t, 409, c.acquire(t, fields{"resource": "r", "owner": "second"}).status)
	require.Equal(t, 200, c.release(t, fields{"resource": "r", "owner": "first"}).status)
	s := p.session()
	require.NoError(t, s.write(s.request("acquire", fields{"resource": "r", "owner": "third", "id": "i"})))
	got, err := s.read()
	require.NoError(t, err)
	require.Equal(t, 200, got[0].Status)
	file := func() string {
		text, err := os.ReadFile(dir + "/history")
		require.NoError(t, err)
		return string(text)
	}
	require.Eventually(t, func() bool {
		return strings.Contains(file(), `"result":"granted"`) && strings.Count(file(), `"kind":"granted"`) == 2 && strings.Contains(file(), `"owner":"third","id":"i"`)
	}, patience, 5*time.Millisecond)
	for _, want := range []string{
		`"resource":"r","owner":"first","id":null,"token":`, `"resource":"r","owner":"second","id":null,"token":null,"result":"locked"}`,
		`"result":"released"}`, `"from":"127.0.0.1:`,
	} {
		require.Contains(t, file(), want)
	}
	p.kill()

	p = l.start(t)
	require.Equal(t, []string{"granted first", "released first", "granted third"}, history(t, p, "r"))
	require.Equal(t, 200, newClient(t, p.url).release(t, fields{"resource": "r", "owner": "third"}).status)
	require.Eventually(t, func() bool { return len(history(t, p, "r")) == 4 }, patience, 5*time.Millisecond)
	require.Zero(t, scrape(t, p)["lockserver_history_file_missed_total"])
	p.signal(syscall.SIGTERM)
	require.Zero(t, p.exitCode())

	bad := launch{args: []string{"--history-file", dir + "/data"}, env: []string{"LOCKSERVER_SECRET=" + secret}}
	p, _ = bad.run(t)
	go func() { p.end(p.cmd.Wait()) }()
	require.Equal(t, 1, p.exitCode())
	p.logged("--history-file " + dir + "/data: ")
}
