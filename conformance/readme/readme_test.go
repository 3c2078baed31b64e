// Package readme runs what the README of the project shows, as a newcomer would: in a fresh clone, as pasted.
package readme

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/lockserver/lockserver/conformance/internal/driver"
)

// patience is how long a command may take, on a busy machine that has to build first.
const patience = 5 * time.Minute

// newcomer is somebody with a fresh clone, in which `make run` runs.
type newcomer struct {
	t       *testing.T
	project string // the checkout that is tested
	clone   string
	addr    string
	printed string // what `make run` said before it was ready
}

func arrive(t *testing.T) *newcomer {
	t.Helper()
	project, err := filepath.Abs("../..")
	require.NoError(t, err)
	n := &newcomer{t: t, project: project, clone: filepath.Join(t.TempDir(), "lockserver")}
	n.command(t.TempDir(), "git", "clone", "--quiet", "--depth", "1", "file://"+project, n.clone)
	n.addr = freeAddress(t)

	_, port, err := net.SplitHostPort(n.addr)
	require.NoError(t, err)
	run := exec.Command("make", "run")
	run.Dir, run.Env = n.clone, append(clean(os.Environ()), "LOCKSERVER_PORT="+port)
	run.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	var log strings.Builder
	run.Stderr = &log
	stdout, err := run.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, run.Start())
	ready, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		lines := bufio.NewScanner(stdout)
		for lines.Scan() && !strings.HasPrefix(lines.Text(), "lockserver ready on ") {
			n.printed += lines.Text() + "\n"
		}
		if lines.Err() == nil && lines.Text() != "" {
			close(ready)
		}
		_, _ = io.Copy(io.Discard, stdout)
		_ = run.Wait() // ended by our signal
	}()
	end := func() {
		_ = syscall.Kill(-run.Process.Pid, syscall.SIGTERM)
		<-ended // from here on the log is whole
	}
	t.Cleanup(end)
	select {
	case <-ready:
	case <-ended:
		require.Fail(t, "make run ended", log.String())
	case <-time.After(patience):
		end()
		require.Fail(t, "make run is not ready", log.String())
	}
	return n
}

// clean drops what a newcomer's environment does not have.
func clean(env []string) []string {
	var kept []string
	for _, e := range env {
		if !strings.HasPrefix(e, "LOCKSERVER_") && !strings.HasPrefix(e, "MAKE") && !strings.HasPrefix(e, "MFLAGS") && !strings.HasPrefix(e, "TOXIPROXY_") {
			kept = append(kept, e)
		}
	}
	return kept
}

// freeAddress is an address on which nobody listens. Its port is below those that the system lends to clients: until the server is built,
// which takes its time, a client of another test would have taken one of them.
func freeAddress(t *testing.T) string {
	t.Helper()
	var err error
	for range 100 {
		var l net.Listener
		if l, err = net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", 20_000+rand.N(10_000))); err == nil {
			require.NoError(t, l.Close())
			return l.Addr().String()
		}
	}
	require.NoError(t, err, "no port is free")
	return ""
}

// build builds what a snippet needs in the checkout, while nobody else in the suite builds there.
func (n *newcomer) build(argv ...string) {
	n.t.Helper()
	unlock, err := driver.Lock(n.t.Context(), driver.SDKs(filepath.Join(n.project, "conformance", ".build")))
	require.NoError(n.t, err)
	n.command(n.project, argv...)
	require.NoError(n.t, unlock())
}

// command runs a command in dir and returns its output.
func (n *newcomer) command(dir string, argv ...string) string {
	n.t.Helper()
	ctx, cancel := context.WithTimeout(n.t.Context(), patience)
	defer cancel()
	cmd := exec.CommandContext(ctx, argv[0], argv[1:]...)
	cmd.Dir, cmd.Env = dir, append(clean(os.Environ()), "LOCKSERVER_ADDR="+n.addr)
	out, err := cmd.CombinedOutput()
	require.NoError(n.t, err, "%q:\n%s", argv, out)
	return string(out)
}

// snippets are the blocks of a language in the README, for the address of this server.
func (n *newcomer) snippets(language string) []string {
	n.t.Helper()
	content, err := os.ReadFile(filepath.Join(n.project, "README.md"))
	require.NoError(n.t, err)
	var blocks []string
	for _, m := range regexp.MustCompile("(?s)```"+language+"\n(.*?)```").FindAllStringSubmatch(string(content), -1) {
		blocks = append(blocks, strings.ReplaceAll(m[1], "127.0.0.1:8080", n.addr))
	}
	require.NotEmpty(n.t, blocks, "the README has no block of %s", language)
	return blocks
}

// with returns the one block that has the text.
func (n *newcomer) with(language, text string) string {
	n.t.Helper()
	var found []string
	for _, block := range n.snippets(language) {
		if strings.Contains(block, text) {
			found = append(found, block)
		}
	}
	require.Len(n.t, found, 1, "blocks of %s with %q", language, text)
	return found[0]
}

func (n *newcomer) write(dir, name, content string) {
	n.t.Helper()
	require.NoError(n.t, os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600))
}

func TestReadme(t *testing.T) {
	n := arrive(t)
	secret, err := os.ReadFile(filepath.Join(n.clone, ".env"))
	require.NoError(t, err)
	info, err := os.Stat(filepath.Join(n.clone, ".env"))
	require.NoError(t, err)
	require.Equal(t, os.FileMode(0o600), info.Mode().Perm())
	_, value, _ := strings.Cut(strings.TrimSpace(string(secret)), "=")
	require.NotContains(t, n.printed, value, "make run shows the secret")

	t.Run("the two commands", func(t *testing.T) {
		commands := n.with("sh", "make run")
		for _, target := range []string{"run", "test"} {
			require.Contains(t, commands, "make "+target+" ")
			n.command(n.clone, "make", "-n", target)
		}
	})
	t.Run("the line that make run prints", func(t *testing.T) {
		line := regexp.MustCompile(`(?m)^curl .*$`).FindString(n.printed)
		require.NotEmpty(t, line, n.printed)
		require.Contains(t, n.command(n.clone, "sh", "-c", line), `"token":`)
	})
	t.Run("curl", func(t *testing.T) {
		out := n.command(n.clone, "sh", "-ec", n.with("sh", "/release"))
		require.Regexp(t, `(?s)"token":\d+.*"outcome":"released"`, out)
	})
	t.Run("Go", func(t *testing.T) {
		dir := t.TempDir()
		n.write(dir, "main.go", fmt.Sprintf(`package main

import (
	"context"
	"fmt"
	"os"

	lockserver "github.com/lockserver/lockserver/sdk-go"
)

func makeReport(context.Context) error { fmt.Println("report made"); return nil }

func run(ctx context.Context) error {
%s}

func main() {
	if err := run(context.Background()); err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
}
`, n.snippets("go")[0]))
		n.write(dir, "go.mod", fmt.Sprintf("module example.org/newcomer\n\ngo 1.26\n\nrequire github.com/lockserver/lockserver/sdk-go v0.0.0\n\nreplace github.com/lockserver/lockserver/sdk-go => %s\n", filepath.Join(n.project, "sdk-go")))
		n.command(dir, "env", "GOWORK=off", "go", "mod", "tidy")
		n.command(dir, "env", "GOWORK=off", "go", "build", "-o", "newcomer", ".")
		require.Equal(t, "report made\n", n.command(n.clone, filepath.Join(dir, "newcomer")))
	})
	t.Run("Node.js", func(t *testing.T) {
		n.build("make", "-C", "sdk-js", "build")
		dir := t.TempDir()
		require.NoError(t, os.Mkdir(filepath.Join(dir, "node_modules"), 0o700))
		require.NoError(t, os.Symlink(filepath.Join(n.project, "sdk-js"), filepath.Join(dir, "node_modules", "lockserver-client")))
		n.write(dir, "newcomer.mjs", n.snippets("js")[0]+"\nasync function makeReport() { console.log('report made') }\n")
		require.Equal(t, "report made\n", n.command(n.clone, "node", filepath.Join(dir, "newcomer.mjs")))
	})
	t.Run("Python", func(t *testing.T) {
		n.build("make", "-C", "sdk-python", ".venv/ready")
		dir := t.TempDir()
		n.write(dir, "newcomer.py", "def make_report():\n    print('report made')\n\n\n"+n.snippets("python")[0])
		require.Equal(t, "report made\n", n.command(n.clone, filepath.Join(n.project, "sdk-python", ".venv", "bin", "python"), filepath.Join(dir, "newcomer.py")))
	})
	t.Run("links", func(t *testing.T) {
		content, err := os.ReadFile(filepath.Join(n.project, "README.md"))
		require.NoError(t, err)
		for _, m := range regexp.MustCompile(`\]\(([^)#]+)[^)]*\)`).FindAllStringSubmatch(string(content), -1) {
			if !strings.Contains(m[1], "://") {
				require.FileExists(t, filepath.Join(n.project, m[1]))
			}
		}
	})
}
