package main

import (
	"bytes"
	"encoding/json"
	"encoding/xml"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/lockserver/lockserver/conformance/internal/report"
)

// command runs the command and gives its exit status and output.
func command(t *testing.T, args ...string) (status int, stdout, stderr string) {
	t.Helper()
	var out, errors bytes.Buffer
	status = run(t.Context(), args, &out, &errors)
	return status, out.String(), errors.String()
}

func TestUsage(t *testing.T) {
	status, _, stderr := command(t, "run", "--help")
	require.Zero(t, status)
	require.Contains(t, stderr, "-tolerance duration")
	for _, args := range [][]string{{}, {"walk"}, {"run", "--nothing"}, {"run", "--format=xml", "--", "true"}, {"run", "--server", "/nowhere", "--", "true"}, {"run", "--docker", "--", "true"}, {"run", "--server", "/bin/true", "--cluster", "--etcd", "/nowhere", "--", "true"}, {"run", "--list", "--case", "nowhere/"}} {
		status, stdout, stderr := command(t, args...)
		require.Equal(t, 2, status, args)
		require.Empty(t, stdout, args)
		require.NotEmpty(t, stderr, args)
	}
}

func TestList(t *testing.T) {
	status, stdout, stderr := command(t, "run", "--list", "--case", "secrets/wrong,nonblocking/")
	require.Zero(t, status, stderr)
	require.Regexp(t, `^nonblocking/[^\n]+\t[^\n]+\n(.*\n)*secrets/wrong\t.*\nsecrets/wrong-once\t.*\n$`, stdout)
}

// TestRun tests a driver as somebody from elsewhere does: with the command, in another directory, without this repository's drivers.
func TestRun(t *testing.T) {
	dir := t.TempDir()
	server := filepath.Join(dir, "lockserver")
	out, err := exec.CommandContext(t.Context(), "go", "build", "-C", "../../../server", "-o", server, "./cmd/lockserver").CombinedOutput()
	require.NoError(t, err, "%s", out)
	here, err := filepath.Abs("../../drivers")
	require.NoError(t, err)
	t.Chdir(dir)
	require.NoError(t, os.Symlink(here, "theirs"))
	play := func(format, fault string) (int, string) {
		status, stdout, stderr := command(t, "run", "--server", "lockserver", "--format", format, "--report", "report", "--case", "secrets/right", "--", "python3", "theirs/broken/driver.py", fault)
		require.Empty(t, stderr)
		return status, stdout
	}

	status, stdout := play("text", "none")
	require.Zero(t, status, stdout)
	require.Contains(t, stdout, "| secrets | 1/1 |")
	for _, name := range []string{"report.md", "report.json", "junit.xml"} {
		require.FileExists(t, filepath.Join("report", name))
	}

	status, stdout = play("json", "sends-no-secret")
	require.Equal(t, 1, status)
	var rep report.Report
	require.NoError(t, json.Unmarshal([]byte(stdout), &rep))
	require.Len(t, rep.Results, 1)
	require.Equal(t, report.Fail, rep.Results[0].Verdict)
	require.Contains(t, rep.Results[0].Failure, "unauthorized")

	status, stdout = play("junit", "sends-no-secret")
	require.Equal(t, 1, status)
	var suites struct {
		Suites []struct {
			Failures int `xml:"failures,attr"`
		} `xml:"testsuite"`
	}
	require.NoError(t, xml.Unmarshal([]byte(stdout), &suites))
	require.Len(t, suites.Suites, 1)
	require.Equal(t, 1, suites.Suites[0].Failures)
}
