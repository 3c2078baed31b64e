package bench_test

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"
)

const secret = "correct-horse-battery"

// patience bounds whatever is waited for.
const patience = 60 * time.Second

// process is a server that runs.
type process struct {
	b    *testing.B
	pid  int
	addr string
}

// lockserver starts the server on a store: the binary that LOCKSERVER_BIN names, else one built here.
func lockserver(b *testing.B, store string, more ...string) *process {
	b.Helper()
	binary := os.Getenv("LOCKSERVER_BIN")
	if binary == "" {
		binary = build(b, "..", "./cmd/lockserver")
	}
	return run(b, binary, append([]string{"--port", "0", "--store", store, "--log-level", "warn"}, more...)...)
}

func build(b *testing.B, dir, what string) string {
	b.Helper()
	binary := filepath.Join(b.TempDir(), "server")
	cmd := exec.Command("go", "build", "-o", binary, what)
	cmd.Dir = dir
	if out, err := cmd.CombinedOutput(); err != nil {
		b.Fatalf("go build %s: %v\n%s", what, err, out)
	}
	return binary
}

// run starts a server and waits for its first line, whose last word is its URL.
func run(b *testing.B, binary string, args ...string) *process {
	b.Helper()
	cmd := exec.Command(binary, args...)
	cmd.Dir = b.TempDir() // no .env
	cmd.Env = append(os.Environ(), "LOCKSERVER_SECRET="+secret)
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	must(b, err)
	must(b, cmd.Start())
	b.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	line, err := bufio.NewReader(out).ReadString('\n')
	must(b, err)
	_, addr, found := strings.Cut(strings.TrimSpace(line), "http://")
	if !found {
		b.Fatalf("%s: not a ready line: %q", binary, line)
	}
	return &process{b: b, pid: cmd.Process.Pid, addr: addr}
}

// cpu is the time that the process has used, its own and the kernel's for it.
func (p *process) cpu() time.Duration {
	p.b.Helper()
	const tick = 10 * time.Millisecond // USER_HZ is 100 on Linux
	content, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", p.pid))
	must(p.b, err)
	fields := strings.Fields(string(content[bytes.LastIndexByte(content, ')')+1:]))
	var sum time.Duration
	for _, f := range fields[11:13] {
		n, err := strconv.Atoi(f)
		must(p.b, err)
		sum += time.Duration(n) * tick
	}
	return sum
}

// meter tells how much CPU something has used.
type meter interface{ cpu() time.Duration }

// processes are metered together.
type processes []*process

func (all processes) cpu() (sum time.Duration) {
	for _, p := range all {
		sum += p.cpu()
	}
	return sum
}

// resident is the memory of the process, in bytes.
func (p *process) resident() int {
	p.b.Helper()
	content, err := os.ReadFile(fmt.Sprintf("/proc/%d/statm", p.pid))
	must(p.b, err)
	pages, err := strconv.Atoi(strings.Fields(string(content))[1])
	must(p.b, err)
	return pages * os.Getpagesize()
}

// metrics are the values of the server's gauges and counters that have no labels.
func (p *process) metrics() map[string]int {
	p.b.Helper()
	req, err := http.NewRequest(http.MethodGet, "http://"+p.addr+"/metrics", nil)
	must(p.b, err)
	req.Header.Set("X-Lockserver-Secret", secret)
	req.Close = true
	resp, err := (&http.Client{Timeout: patience}).Do(req)
	must(p.b, err)
	defer resp.Body.Close()
	content, err := io.ReadAll(resp.Body)
	must(p.b, err)
	values := make(map[string]int)
	for line := range strings.Lines(string(content)) {
		name, value, _ := strings.Cut(strings.TrimSpace(line), " ")
		if n, err := strconv.ParseFloat(value, 64); err == nil {
			values[name] = int(n)
		}
	}
	return values
}

// until asks for the metrics until they are as wanted.
func (p *process) until(what string, is func(map[string]int) bool) map[string]int {
	p.b.Helper()
	for end := time.Now().Add(patience); ; time.Sleep(100 * time.Millisecond) {
		m := p.metrics()
		if is(m) {
			return m
		}
		if time.Now().After(end) {
			p.b.Fatalf("not in %v: %s; goroutines %d, file descriptors %d, waiters %d",
				patience, what, m["go_goroutines"], m["process_open_fds"], m["lockserver_waiters"])
		}
	}
}

func must(b *testing.B, err error) {
	b.Helper()
	if err != nil {
		b.Fatal(err)
	}
}
