package disk

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
)

// pebbleFormat has checksums that distinguish a torn end of the log, which a crash leaves, from damage inside it.
const pebbleFormat = pebble.FormatTableFormatV6

// slowDisk is how long a disk operation may take before it is logged as slow.
const slowDisk = 5 * time.Second

// options returns options for a database that is written all the time and read once at start, and whose records are mostly deleted
// within seconds.
func options(fs vfs.FS, log pebbleLog) *pebble.Options {
	o := &pebble.Options{
		FS:                 fs,
		FormatMajorVersion: pebbleFormat,
		Logger:             log,
		EventListener:      log.events(),

		// Nothing is read after the start.
		CacheSize:    1 << 20,
		MaxOpenFiles: 128,

		// A grant that is released before its memtable is flushed never reaches a table. Memtables get this large only under load.
		MemTableSize:                8 << 20,
		MemTableStopWritesThreshold: 4,
		MaxManifestFileSize:         1 << 20,
	}
	o.Experimental.FileCacheShards = 1
	return o
}

// pebbleLog is Pebble's logger. A fatal error of Pebble, or background work that it could not do, makes the store fail.
type pebbleLog struct {
	log     *slog.Logger
	failure *failure
}

func (l pebbleLog) Infof(format string, args ...any)  { l.write(slog.LevelDebug, format, args) }
func (l pebbleLog) Errorf(format string, args ...any) { l.write(slog.LevelError, format, args) }

func (l pebbleLog) Fatalf(format string, args ...any) { l.failure.halt(fmt.Errorf(format, args...)) }

func (l pebbleLog) write(level slog.Level, format string, args []any) {
	if l.log.Enabled(context.Background(), level) {
		l.log.Log(context.Background(), level, "disk store: "+fmt.Sprintf(format, args...))
	}
}

func (l pebbleLog) events() *pebble.EventListener {
	return &pebble.EventListener{
		BackgroundError: func(err error) {
			if noRoom(err) { // a compaction, which can be done later
				l.log.Warn("disk store: no room for a compaction", "error", err)
				return
			}
			l.failure.halt(err)
		},
		// The loader's own goroutine calls this too. It gets the error as well, so this must return.
		DataCorruption: func(info pebble.DataCorruptionInfo) { _ = l.failure.set(fmt.Errorf("corruption: %s", info)) },
		LowDiskSpace: func(info pebble.LowDiskSpaceInfo) {
			l.log.Warn("disk store: the disk is filling up", "available_bytes", info.AvailBytes, "total_bytes", info.TotalBytes)
		},
		WriteStallBegin: func(info pebble.WriteStallBeginInfo) {
			l.log.Warn("disk store: commits wait for the disk to catch up", "reason", info.Reason)
		},
	}
}

func (l pebbleLog) diskSlow(info vfs.DiskSlowInfo) {
	l.log.Warn("disk store: the disk is slow", "operation", info.OpType.String(), "file", info.Path, "duration", info.Duration)
}
