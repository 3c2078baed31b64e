package lockctl

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/lockserver/lockserver/sdk-go/internal/servertest"
)

// section returns the README's section about cron jobs.
func section(t *testing.T) string {
	t.Helper()
	readme, err := os.ReadFile(filepath.Join("..", "..", "..", "README.md"))
	require.NoError(t, err)
	_, text, found := strings.Cut(string(readme), "\n## Guard a cron job\n")
	require.True(t, found, "README.md has no section")
	text, _, _ = strings.Cut(text, "\n## ")
	return text
}

// block returns the one code block of a language.
func block(t *testing.T, text, language string) string {
	t.Helper()
	blocks := regexp.MustCompile("(?s)```"+language+"\n(.*?)```").FindAllStringSubmatch(text, -1)
	require.Len(t, blocks, 1, language)
	return blocks[0][1]
}

// reader is a world as the README assumes it: lockctl in the path, the settings in ~/app/.env, and commands in ~/app.
func reader(t *testing.T) (w *world, app string, sh func(script string) *job) {
	t.Helper()
	w = newWorld(t)
	home, bin := t.TempDir(), t.TempDir()
	app = filepath.Join(home, "app")
	require.NoError(t, os.Mkdir(app, 0o700))
	require.NoError(t, os.Symlink(binaries().lockctl, filepath.Join(bin, "lockctl")))
	settings := "LOCKSERVER_ADDR=" + w.server.URL + "\nLOCKSERVER_SECRET=" + servertest.Secret + "\n"
	require.NoError(t, os.WriteFile(filepath.Join(app, ".env"), []byte(settings), 0o600))
	for _, name := range []string{"report", "train"} {
		require.NoError(t, os.WriteFile(filepath.Join(app, name), []byte("#!/bin/sh\necho $LOCKSERVER_RESOURCE >> runs\n"), 0o700))
	}
	return w, app, func(script string) *job {
		cmd := exec.Command("/bin/sh", "-c", script)
		cmd.Dir, cmd.Env = home, []string{"HOME=" + home, "LOGNAME=me", "USER=me", "SHELL=/bin/sh", "PATH=" + bin + ":/usr/bin:/bin"}
		return w.startCommand(cmd)
	}
}

// The crontab of the README works as pasted, in what cron gives its jobs.
func TestReadmeCrontab(t *testing.T) {
	w, app, cron := reader(t)
	require.NoError(t, syscall.Mkfifo(filepath.Join(app, "go"), 0o600))
	require.NoError(t, os.WriteFile(filepath.Join(app, "report"), []byte("#!/bin/sh\necho run >> runs\nread line < go\n"), 0o700))
	text := section(t)
	require.Contains(t, text, "install bin/lockctl /usr/local/bin/")
	path, line, _ := strings.Cut(strings.TrimSpace(block(t, text, "crontab")), "\n")
	require.Regexp(t, `^PATH=/usr/local/bin:`, path)
	fields := regexp.MustCompile(`^(?:[0-9*/,-]+\s+){5}([^%]+)$`).FindStringSubmatch(line)
	require.NotNil(t, fields, "no crontab line: %s", line)

	first := cron(fields[1])
	w.dir = app
	w.appears("runs")
	overlap := cron(fields[1])
	require.Equal(t, 120, overlap.wait(), overlap.stderr)
	require.NoError(t, os.WriteFile(filepath.Join(app, "go"), []byte("\n"), 0o600))
	require.Zero(t, first.wait(), first.stderr)
	runs, err := os.ReadFile(filepath.Join(app, "runs"))
	require.NoError(t, err)
	require.Equal(t, "run\n", string(runs))
}

func TestReadmeExamples(t *testing.T) {
	_, app, sh := reader(t)
	j := sh("set -e; cd ~/app\n" + block(t, section(t), "sh"))
	require.Zero(t, j.wait(), j.stderr)
	runs, err := os.ReadFile(filepath.Join(app, "runs"))
	require.NoError(t, err)
	require.Equal(t, "nightly-report\ngpu\n", string(runs))
}

// The codes that the README promises are those of the help, which are tested.
func TestReadmeExitCodes(t *testing.T) {
	help, text := newWorld(t).run("--help").stdout.String(), section(t)
	for _, code := range []string{"120  held by another (--no-wait)", "121  gave up waiting (--timeout)", "122  lock lost, the command was ended"} {
		require.Contains(t, help, code)
		row := "| " + strings.Replace(code, "  ", " | ", 1) + " |"
		require.Contains(t, strings.NewReplacer("`", "").Replace(text), row)
	}
}
