package lockserver_test

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// snippets returns the Go code in the README, with the one complete program first.
func snippets(t *testing.T) []string {
	t.Helper()
	text, err := os.ReadFile("README.md")
	require.NoError(t, err)
	var found []string
	for _, match := range regexp.MustCompile("(?s)```go\n(.*?)```").FindAllStringSubmatch(string(text), -1) {
		found = append(found, match[1])
	}
	require.Greater(t, len(found), 8)
	require.True(t, strings.HasPrefix(found[0], "package main\n"))
	return found
}

// Every snippet of the README stands in an example that runs; the one with a database runs in e2e/sqlfence.
func TestReadmeSnippetsAreRun(t *testing.T) {
	examples, err := os.ReadFile("example_test.go")
	require.NoError(t, err)
	fence, err := os.ReadFile(filepath.Join("e2e", "sqlfence", "fence_test.go"))
	require.NoError(t, err)
	for _, snippet := range snippets(t)[1:] {
		require.Contains(t, flush(string(examples)), flush(snippet))
		if strings.Contains(snippet, "UPDATE") {
			_, body, found := strings.Cut(snippet, "\ttoken := ")
			require.True(t, found)
			require.Contains(t, flush(string(fence)), flush("\ttoken := "+body))
		}
	}
	// The other way round: no example is one that only compiles, but the one with a database.
	require.Equal(t, strings.Count(string(examples), "\nfunc Example")-1, strings.Count(string(examples), "// Output:"))
}

// flush takes the indentation away.
func flush(code string) string {
	lines := strings.Split(code, "\n")
	for i, line := range lines {
		lines[i] = strings.TrimLeft(line, "\t")
	}
	return strings.Join(lines, "\n")
}

// A module of its own, outside of the repository, builds the README's program as it stands, and runs it.
func TestReadmeProgramInANewModule(t *testing.T) {
	sdk, err := os.Getwd()
	require.NoError(t, err)
	dir := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(dir, "main.go"), []byte(snippets(t)[0]), 0o600))
	command := func(args ...string) string {
		t.Helper()
		c := exec.CommandContext(within(t, 15*soon), args[0], args[1:]...)
		c.Dir = dir
		c.Env = append(os.Environ(), "GOWORK=off", "GOFLAGS=")
		var stdout, stderr bytes.Buffer
		c.Stdout, c.Stderr = &stdout, &stderr
		require.NoError(t, c.Run(), "%v\n%s", args, &stderr)
		return stdout.String()
	}
	command("go", "mod", "init", "example.com/invoices")
	command("go", "mod", "edit", "-replace", "github.com/lockserver/lockserver/sdk-go="+sdk)
	command("go", "mod", "tidy")
	command("go", "build", "-o", "invoices", ".")
	require.Equal(t, "nobody else writes invoices now\n", command(filepath.Join(dir, "invoices")))
	require.NotContains(t, command("go", "list", "-deps", "."), "testify")
}
