package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// smallDisk is a file system of its own, of 48 MB.
func smallDisk(t *testing.T) string {
	t.Helper()
	mount := filepath.Join(t.TempDir(), "small")
	require.NoError(t, os.Mkdir(mount, 0o700))
	if out, err := exec.Command("mount", "-t", "tmpfs", "-o", "size=48m", "tmpfs", mount).CombinedOutput(); err != nil {
		t.Skipf("SKIPPED: no small file system for this test; mounting one needs root on Linux: %v: %s", err, out)
	}
	t.Cleanup(func() { require.NoError(t, exec.Command("umount", mount).Run()) })
	return mount
}

// hog takes all the space that is left on a disk, and returns the file that has it.
func hog(t *testing.T, mount string) string {
	t.Helper()
	path := filepath.Join(mount, "hog")
	f, err := os.OpenFile(path, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	require.NoError(t, err)
	for zeros := make([]byte, 4096); err == nil; {
		_, err = f.Write(zeros)
	}
	require.ErrorIs(t, err, syscall.ENOSPC)
	require.NoError(t, f.Close())
	return path
}

// book is what clients were told about their locks.
type book struct {
	mu      sync.Mutex
	held    map[string]int64 // tokens of grants that were answered
	unknown map[string]bool  // what was asked for without an answer, or with an unclear one
	granted int
	full    int
	freed   int
}

// work takes locks, and releases three of four of them, until ctx ends.
func (b *book) work(ctx context.Context, t *testing.T, c *client, worker string) {
	for i := 0; ctx.Err() == nil; i++ {
		name := fmt.Sprint(worker, " ", i)
		got, err := c.try(context.WithoutCancel(ctx), "POST", "/acquire", fields{"resource": name, "owner": worker, "note": strings.Repeat("n", 900)})
		b.mu.Lock()
		switch {
		case err != nil || got.status == 503:
			b.unknown[name] = true
		case got.status == 200:
			b.held[name] = got.Token
			b.granted++
		case got.Code == "storage_full":
			b.full++
		default:
			t.Errorf("acquire: %d %s", got.status, got.text)
		}
		b.mu.Unlock()
		if err != nil || got.status != 200 || i%4 == 0 {
			continue
		}
		got, err = c.try(context.WithoutCancel(ctx), "POST", "/release", fields{"resource": name, "owner": worker, "token": got.Token})
		b.mu.Lock()
		switch {
		case err != nil || got.status == 503:
			delete(b.held, name)
			b.unknown[name] = true
		case got.Outcome == "released":
			delete(b.held, name)
			b.freed++
		default:
			t.Errorf("release: %d %s", got.status, got.text)
		}
		b.mu.Unlock()
	}
}

// check compares what clients were told with what the server holds.
func (b *book) check(t *testing.T, c *client) {
	t.Helper()
	held := map[string]int64{}
	var page struct {
		Locks []struct {
			Resource string
			Holders  []holder
		}
		Next string
	}
	for more := true; more; more = page.Next != "" {
		got := c.do(t, "GET", "/locks?limit=1000&cursor="+url.QueryEscape(page.Next), nil)
		require.Equal(t, 200, got.status)
		page.Next = ""
		page.Locks = nil
		require.NoError(t, json.Unmarshal(got.text, &page))
		for _, l := range page.Locks {
			held[l.Resource] = l.Holders[0].Token
		}
	}
	for name, token := range b.held {
		require.Equal(t, token, held[name], "%s was granted, and not released", name)
		delete(held, name)
	}
	for name := range held {
		require.True(t, b.unknown[name], "%s is held, though no client has it", name)
	}
}

// A disk that others fill stops no release, no renewal and no restart; only new locks have to wait until there is room again.
func TestFullDisk(t *testing.T) {
	t.Parallel()
	mount := smallDisk(t)
	data := filepath.Join(mount, "data")
	server := launch{args: []string{"--store", "disk:" + data, "--disk-reserve", fmt.Sprint(4 << 20)}}
	s := server.start(t)
	c := newClient(t, s.url)
	require.Eventually(t, func() bool { _, err := os.Stat(filepath.Join(data, "RESERVE")); return err == nil }, patience, time.Millisecond)

	b := &book{held: map[string]int64{}, unknown: map[string]bool{}}
	load := func() (stop func()) {
		ctx, cancel := context.WithCancel(t.Context())
		var workers sync.WaitGroup
		for i := range 8 {
			workers.Go(func() { b.work(ctx, t, c, fmt.Sprintf("%s-%d", filepath.Base(s.addr), i)) })
		}
		return func() { cancel(); workers.Wait() }
	}
	seen := func(count *int) func() bool {
		b.mu.Lock()
		defer b.mu.Unlock()
		before := *count
		return func() bool {
			b.mu.Lock()
			defer b.mu.Unlock()
			return *count > before+20
		}
	}
	await := func(what func() bool) { t.Helper(); require.Eventually(t, what, patience, time.Millisecond) }

	held := c.acquire(t, fields{"resource": "held", "owner": "a", "expire": 300})
	require.Equal(t, 200, held.status)
	b.held["held"] = held.Token
	stop := load()
	await(seen(&b.granted))
	file := hog(t, mount)
	await(seen(&b.full))
	stop()
	require.EqualValues(t, 1, scrape(t, s)["lockserver_store_full"])
	require.Equal(t, 200, c.do(t, "GET", "/readyz", nil).status)
	b.check(t, c)

	refused := c.acquire(t, fields{"resource": "new", "owner": "a", "wait": 10})
	require.Equal(t, 507, refused.status)
	require.Equal(t, "storage_full", refused.Code)
	require.Equal(t, "1", refused.header.Get("Retry-After"))
	renew := fields{"resource": "held", "owner": "a", "token": held.Token}
	require.Equal(t, 200, c.do(t, "POST", "/renew", renew).status)
	renew["expire"] = 3000
	require.Equal(t, "storage_full", c.do(t, "POST", "/renew", renew).Code)

	// Half of the locks go back, over a restart of each kind.
	freed := 0
	free := func(most int) {
		t.Helper()
		for name, token := range b.held {
			if name == "held" {
				continue
			}
			if most--; most < 0 {
				return
			}
			got := c.release(t, fields{"resource": name, "owner": strings.Fields(name)[0], "token": token})
			require.Equal(t, "released", got.Outcome, "%s", got.text)
			delete(b.held, name)
			freed++
		}
	}
	part := len(b.held)/4 + 1
	free(part)
	for _, end := range []func(){
		func() { s.signal(syscall.SIGTERM); require.Equal(t, 0, s.exitCode()) },
		func() { s.kill() },
	} {
		end()
		hog(t, mount) // what the end has freed
		s = server.start(t)
		c = newClient(t, s.url)
		await(func() bool {
			hog(t, mount) // what the start has freed
			got := c.acquire(t, fields{"resource": "new", "owner": "a"})
			if got.status == 200 {
				require.Equal(t, "released", c.release(t, fields{"resource": "new", "owner": "a"}).Outcome)
			}
			return got.Code == "storage_full"
		})
		b.check(t, c)
		free(part)
	}
	waiter := c.later(t, fields{"resource": "held", "owner": "b", "wait": 60})
	c.parked(t, "held", 1)
	require.Equal(t, "released", c.release(t, fields{"resource": "held", "owner": "a", "token": held.Token}).Outcome)

	stop = load()
	await(seen(&b.full))
	require.NoError(t, os.Remove(file))
	got := <-waiter
	require.Equal(t, 200, got.status, "%s", got.text)
	await(seen(&b.granted))
	stop()
	require.EqualValues(t, 0, scrape(t, s)["lockserver_store_full"])
	b.held["held"] = got.Token
	b.check(t, c)
	require.Empty(t, b.unknown, "every request had its answer")
	t.Logf("%d granted, %d refused and %d released under load; %d released by hand while the disk was full", b.granted, b.full, b.freed, freed)
	s.signal(syscall.SIGTERM)
	require.Equal(t, 0, s.exitCode())
	require.NotContains(t, s.stderr.String(), "goroutine ")
}
