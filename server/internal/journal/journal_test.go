package journal

import (
	"bytes"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/lockserver/lockserver/server/internal/lock"
	"github.com/lockserver/lockserver/server/internal/wire"
)

func open(t *testing.T, cfg Config) *Journal {
	t.Helper()
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	j, err := Open(cfg)
	require.NoError(t, err)
	t.Cleanup(func() { _ = j.Close() })
	return j
}

// events are one of each kind, with all that they may have.
func events() (all []wire.Event) {
	at := time.Date(2026, 3, 1, 3, 12, 0, 5e6, time.UTC)
	for i, kind := range lock.EventKinds() {
		e := wire.Event{Number: int64(i + 1), Time: at, Event: lock.Event{
			Kind: kind, Resource: "r\n", Owner: "o", ID: "i", Note: "n", Token: 7, Waiters: 2, ExpiresIn: 1500 * time.Millisecond, Mode: lock.Shared,
		}}
		if kind != lock.EventQueued {
			e.Lasted = time.Minute
		}
		switch kind {
		case lock.EventLeft:
			e.Why, e.Mode = lock.WhyPlaceLost, lock.Exclusive
		case lock.EventEvicted:
			e.By, e.ExpiresIn, e.Mode, e.Limit = "10.0.0.1:5", lock.NoLease, lock.Semaphore, 3
		}
		all = append(all, e)
	}
	return all
}

func TestEventsAreReadBack(t *testing.T) {
	path := filepath.Join(t.TempDir(), "history")
	j := open(t, Config{Path: path, Size: 1 << 20, Files: 2})
	want := events()
	for i := range want {
		j.Event(&want[i])
		j.Done(&wire.Done{Op: wire.Acquire, Time: want[i].Time, From: "10.0.0.2:6", Resource: "r", Owner: "o", Result: "locked"})
	}
	j.Missed(3)
	require.NoError(t, j.Close())
	text, err := os.ReadFile(path)
	require.NoError(t, err)
	require.Contains(t, string(text), `{"op":"acquire","time":"2026-03-01T03:12:00.005Z","from":"10.0.0.2:6","resource":"r","owner":"o","id":null,"token":null,"result":"locked"}`+"\n")
	require.Contains(t, string(text), `{"missed":3,"time":"`)

	// A crash cut the last line short.
	f, err := os.OpenFile(path, os.O_APPEND|os.O_WRONLY, 0)
	require.NoError(t, err)
	_, err = f.WriteString(`{"event":9,"kind":"gra` + strings.Repeat("x", 10_000))
	require.NoError(t, err)
	require.NoError(t, f.Close())
	j = open(t, Config{Path: path, Size: 1 << 20, Files: 2})
	got, err := j.Events(100)
	require.NoError(t, err)
	require.Equal(t, want, got)
	got, err = j.Events(2)
	require.NoError(t, err)
	require.Equal(t, want[len(want)-2:], got)
	j.Event(&want[0])
	require.NoError(t, j.Close())
	got, err = open(t, Config{Path: path, Size: 1 << 20, Files: 2}).Events(1)
	require.NoError(t, err)
	require.Equal(t, want[:1], got)
}

func TestFilesAreRotated(t *testing.T) {
	path := filepath.Join(t.TempDir(), "history")
	e := events()[2]
	for i := range 100 {
		j := open(t, Config{Path: path, Size: 2000, Files: 3})
		e.Number = int64(i + 1)
		j.Event(&e)
		require.NoError(t, j.Close())
	}
	files, err := filepath.Glob(path + "*")
	require.NoError(t, err)
	require.Equal(t, []string{path, path + ".1", path + ".2"}, files)
	for _, f := range files {
		info, err := os.Stat(f)
		require.NoError(t, err)
		require.LessOrEqual(t, info.Size(), int64(2000))
	}
	got, err := open(t, Config{Path: path, Size: 2000, Files: 3}).Events(1000)
	require.NoError(t, err)
	require.Greater(t, len(got), 10)
	for i, e := range got {
		require.EqualValues(t, 100-len(got)+1+i, e.Number)
	}
}

// Who writes faster than the disk is not held up, and the file tells how much it lacks.
func TestWhatComesTooFastIsLeftOut(t *testing.T) {
	path := filepath.Join(t.TempDir(), "history")
	j := &Journal{cfg: Config{Path: path, Size: 1 << 30, Files: 1}, news: make(chan struct{}, 1), done: make(chan struct{})}
	require.NoError(t, j.open())
	e := events()[2]
	for range queued + 5 {
		j.Event(&e)
	}
	require.EqualValues(t, 5, j.Lost())
	go j.run()
	require.NoError(t, j.Close())
	text, err := os.ReadFile(path)
	require.NoError(t, err)
	require.Equal(t, queued, strings.Count(string(text), `"kind":"granted"`))
	require.Contains(t, string(text), "\n{\"missed\":5,")
}

// A full disk is told once, costs the lines that come meanwhile, and no more.
func TestAFullDisk(t *testing.T) {
	full, err := os.OpenFile("/dev/full", os.O_RDWR, 0)
	if err != nil {
		t.Skip("SKIPPED: without /dev/full, as on Linux, no full disk can be had here: ", err)
	}
	var log bytes.Buffer
	path := filepath.Join(t.TempDir(), "history")
	j := &Journal{
		cfg: Config{Path: path, Size: 1 << 20, Files: 1, Logger: slog.New(slog.NewTextHandler(&log, nil))}, news: make(chan struct{}, 1),
	}
	require.NoError(t, j.open())
	good := j.file
	defer good.Close()
	e := events()[2]
	j.file = full
	for range 3 {
		j.Event(&e)
		j.write()
	}
	require.EqualValues(t, 3, j.Lost())
	require.Equal(t, 1, strings.Count(log.String(), "lines are left out"))
	j.file = good
	require.NoError(t, full.Close())
	j.Event(&e)
	j.write()
	text, err := os.ReadFile(path)
	require.NoError(t, err)
	require.Equal(t, 1, strings.Count(string(text), `"kind":"granted"`))
	require.Contains(t, string(text), "\n{\"missed\":3,")
	require.Contains(t, log.String(), "it is written again")
}
