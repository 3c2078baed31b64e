package disk

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
)

// pebbleFormat has checksums that tell a torn end of the log, which a crash leaves, from damage inside it.
const pebbleFormat = pebble.FormatTableFormatV6

// slowDisk is when an operation that has not returned is worth a warning.
const slowDisk = 5 * time.Second

// options are those of a database that is written all the time, read once at start, and mostly deleted again within seconds.
func options(fs vfs.FS, log pebbleLog) *pebble.Options {
	o := &pebble.Options{
		FS:                 fs,
		FormatMajorVersion: pebbleFormat,
		Logger:             log,
		EventListener:      log.events(),

		// Nothing is read between two starts.
		CacheSize:    1 << 20,
		MaxOpenFiles: 128,

		// A grant that is released before its memtable is flushed never reaches a table. Memtables grow to this size only under load.
		MemTableSize:                8 << 20,
		MemTableStopWritesThreshold: 4,
		MaxManifestFileSize:         1 << 20,
	}
	o.Experimental.FileCacheShards = 1
	return o
}

// pebbleLog takes what Pebble has to say. What Pebble takes for fatal, and work that it could not do behind the scenes, fails the store.
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
		BackgroundError: l.failure.halt,
		// Also called while the database is loaded, by the loader's own goroutine: it gets the error too, and has to return.
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
