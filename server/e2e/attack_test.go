package e2e

import (
	"bufio"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// siege is the time that each attack is kept up, and how many connections it may use: short by default. SIEGE=10s,10000 is a long one.
func siege(t *testing.T) (time.Duration, int) {
	given := os.Getenv("SIEGE")
	if given == "" {
		return 400 * time.Millisecond, 1000
	}
	length, connections, _ := strings.Cut(given, ",")
	d, err := time.ParseDuration(length)
	require.NoError(t, err, "SIEGE is %q; allowed: a time and a number of connections, such as 10s,10000", given)
	n, err := strconv.Atoi(connections)
	require.NoError(t, err, "SIEGE is %q; allowed: a time and a number of connections, such as 10s,10000", given)
	return d, n
}

// bystander takes and frees a lock until ctx ends, once at least, and returns how long each request took, in order. None may fail.
func bystander(ctx context.Context, c *client, resource string) (took []time.Duration, err error) {
	for len(took) == 0 || ctx.Err() == nil {
		for _, path := range []string{"/acquire", "/release"} {
			began := time.Now()
			got, err := c.try(context.WithoutCancel(ctx), "POST", path, fields{"resource": resource, "owner": "o"})
			spent := time.Since(began)
			if err != nil {
				return took, fmt.Errorf("%s, the %d. request, after %v: %w", path, len(took)+1, spent, err)
			}
			if got.status != 200 {
				return took, fmt.Errorf("%s, the %d. request, after %v: %d %s", path, len(took)+1, spent, got.status, got.text)
			}
			took = append(took, spent)
		}
	}
	slices.Sort(took)
	return took, nil
}

// spread says of sorted times how long most took.
func spread(took []time.Duration) string {
	return fmt.Sprintf("%6d, p50 %7.2f ms, p99 %7.2f ms, slowest %7.2f ms", len(took), took[len(took)/2].Seconds()*1e3, took[len(took)*99/100].Seconds()*1e3, took[len(took)-1].Seconds()*1e3)
}

// strangers dials from addresses that are no valid client's, where loopback has several.
func strangers(ctx context.Context, addr string) (net.Conn, error) {
	var from net.Dialer
	if runtime.GOOS == "linux" {
		from.LocalAddr = &net.TCPAddr{IP: net.IPv4(127, 1, 0, byte(1+rand.IntN(4)))}
	}
	return from.DialContext(ctx, "tcp", addr)
}

// memoryOf is the memory that a process has, in MB.
func memoryOf(t *testing.T, p *process) int {
	if runtime.GOOS != "linux" {
		return 0
	}
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.cmd.Process.Pid))
	require.NoError(t, err)
	_, rest, _ := strings.Cut(string(text), "VmRSS:")
	kb, err := strconv.Atoi(strings.Fields(rest)[0])
	require.NoError(t, err)
	return kb >> 10
}

// clientHello is what a client sends first.
func clientHello(t *testing.T) []byte {
	ours, theirs := net.Pipe()
	defer ours.Close()
	go func() { _ = tls.Client(theirs, &tls.Config{ServerName: "127.0.0.1"}).HandshakeContext(t.Context()) }()
	record := make([]byte, 16<<10)
	n, err := ours.Read(record)
	require.NoError(t, err)
	return record[:n]
}

// Whatever strangers do to a server, and what a client with the secret does wrong, stops no valid client and fills no memory.
func TestAttacks(t *testing.T) {
	length, connections := siege(t)
	dir := t.TempDir()
	pool := certify(t, dir, "server")
	plain := launch{args: []string{"--store", "memory", "--header-timeout", "2s"}}.start(t)
	encrypted := encrypted(t, dir)

	head := func(secret string, more string) string {
		return "POST /acquire HTTP/1.1\r\nHost: x\r\nX-LOCKSERVER-SECRET: " + secret + "\r\n" + more
	}
	// feed sends what next returns until the server has had enough, and counts it. Then it returns the status, or 0.
	feed := func(ctx context.Context, addr, first string, next []byte, sent *atomic.Int64) int {
		conn, err := strangers(ctx, addr)
		if err != nil {
			return 0
		}
		defer conn.Close()
		defer context.AfterFunc(ctx, func() { _ = conn.Close() })()
		go func() {
			_, err := io.WriteString(conn, first)
			for err == nil && len(next) > 0 {
				var n int
				n, err = conn.Write(next)
				sent.Add(int64(n))
			}
		}()
		resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
		if err != nil {
			return 0
		}
		_, _ = io.Copy(io.Discard, resp.Body)
		return resp.StatusCode
	}
	gigabyte := "Content-Length: 1073741824\r\n\r\n"
	block := []byte(strings.Repeat(" ", 64<<10))
	hello := clientHello(t)
	lines := []byte(strings.Repeat("X-Flood: "+strings.Repeat("f", 100)+"\r\n", 100))

	for _, attack := range []struct {
		name    string
		on      *process
		workers int
		do      func(ctx context.Context, note func(string, int))
	}{
		{"nothing", plain, 0, nil},
		{"silent connections", plain, connections, func(ctx context.Context, note func(string, int)) {
			conn, err := strangers(ctx, plain.addr)
			if err != nil {
				return
			}
			defer conn.Close()
			note("connections", 1)
			<-ctx.Done()
		}},
		{"slowloris", plain, connections, func(ctx context.Context, note func(string, int)) {
			conn, err := strangers(ctx, plain.addr)
			if err != nil {
				return
			}
			defer conn.Close()
			note("connections", 1)
			_, err = io.WriteString(conn, head("wrong", ""))
			for tick := time.NewTicker(300 * time.Millisecond); err == nil; {
				select {
				case <-tick.C:
					_, err = io.WriteString(conn, "X")
				case <-ctx.Done():
					return
				}
			}
			note("cut off", 1)
		}},
		{"1 GB bodies without the secret", plain, 8, func(ctx context.Context, note func(string, int)) {
			var sent atomic.Int64
			note(fmt.Sprint("status ", feed(ctx, plain.addr, head("wrong", gigabyte), block, &sent)), 1)
			note("kB sent", int(sent.Load()>>10))
		}},
		{"1 GB bodies with the secret", plain, 8, func(ctx context.Context, note func(string, int)) {
			var sent atomic.Int64
			note(fmt.Sprint("status ", feed(ctx, plain.addr, head(secret, gigabyte), block, &sent)), 1)
			note("kB sent", int(sent.Load()>>10))
		}},
		{"header floods", plain, 8, func(ctx context.Context, note func(string, int)) {
			var sent atomic.Int64
			note(fmt.Sprint("status ", feed(ctx, plain.addr, head("wrong", ""), lines, &sent)), 1)
			note("kB sent", int(sent.Load()>>10))
		}},
		{"wrong secrets", plain, 8, func(ctx context.Context, note func(string, int)) {
			var sent atomic.Int64
			note(fmt.Sprint("status ", feed(ctx, plain.addr, head("wrong", "Connection: close\r\nContent-Length: 0\r\n\r\n"), nil, &sent)), 1)
		}},
		{"nothing, over TLS", encrypted, 0, nil},
		{"handshakes begun and left, over TLS", encrypted, connections, func(ctx context.Context, note func(string, int)) {
			conn, err := strangers(ctx, strings.TrimPrefix(encrypted.url, "https://"))
			if err != nil {
				return
			}
			defer conn.Close()
			note("connections", 1)
			_, _ = io.WriteString(conn, "\x16\x03\x01\x02\x00\x01") // the first bytes of a hello
			<-ctx.Done()
		}},
		{"handshakes left once they cost the server, over TLS", encrypted, 32, func(ctx context.Context, note func(string, int)) {
			conn, err := strangers(ctx, strings.TrimPrefix(encrypted.url, "https://"))
			if err != nil {
				return
			}
			defer conn.Close()
			_, _ = conn.Write(hello)
			if n, _ := conn.Read(make([]byte, 1)); n == 1 { // its own hello, with what it signed
				note("handshakes", 1)
			}
		}},
		{"handshakes, one after the other, over TLS", encrypted, 8, func(ctx context.Context, note func(string, int)) {
			conn, err := strangers(ctx, strings.TrimPrefix(encrypted.url, "https://"))
			if err != nil {
				return
			}
			defer conn.Close()
			if tls.Client(conn, &tls.Config{RootCAs: pool, ServerName: "127.0.0.1"}).HandshakeContext(ctx) == nil {
				note("handshakes", 1)
			}
		}},
	} {
		t.Run(attack.name, func(t *testing.T) {
			steady, fresh := newClient(t, attack.on.url), newClient(t, attack.on.url)
			fresh.transport.DisableKeepAlives = true // a connection, and a handshake, for each request
			for _, c := range []*client{steady, fresh} {
				c.transport.TLSClientConfig = &tls.Config{RootCAs: pool}
			}
			ctx, end := context.WithCancel(t.Context())
			var mu sync.Mutex
			notes := map[string]int{}
			var attackers sync.WaitGroup
			once := attack.workers >= connections
			for range attack.workers {
				attackers.Go(func() {
					for ctx.Err() == nil {
						attack.do(ctx, func(what string, n int) {
							mu.Lock()
							defer mu.Unlock()
							notes[what] += n
						})
						if once {
							return
						}
					}
				})
			}
			measured, stop := context.WithTimeout(ctx, length)
			var others []time.Duration
			var othersErr error
			var second sync.WaitGroup
			second.Go(func() { others, othersErr = bystander(measured, fresh, "fresh") })
			took, err := bystander(measured, steady, "steady")
			second.Wait()
			stop()
			memory := memoryOf(t, attack.on)
			end()
			attackers.Wait()
			for what, err := range map[string]error{"a valid client": err, "a valid client that connects for each request": othersErr} {
				require.NoError(t, err, "%s, during %q; attackers: %v; server: %d MB, its log: %s", what, attack.name, notes, memory, attack.on.stderr.String())
			}
			t.Logf("%-52s requests: %s; with a new connection each: %s; server: %d MB; attackers: %v", attack.name, spread(took), spread(others), memory, notes)
			require.Less(t, memory, 700)
			if strings.Contains(attack.name, "1 GB") {
				require.Less(t, notes["kB sent"], 20_000*(notes["status 401"]+notes["status 429"]+notes["status 413"]+notes["status 0"]), "the bodies are not read")
			}
		})
	}
	for _, p := range []*process{plain, encrypted} {
		p.signal(syscall.SIGTERM)
		require.Equal(t, 0, p.exitCode())
		require.NotContains(t, p.stderr.String(), "goroutine ")
	}
}
