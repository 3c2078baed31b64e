package disk

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"io"
	"strconv"
	"strings"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/lockserver/lockserver/server/internal/store"
)

// pebbleVersion is the release of Pebble that the layout below was read from. A test fails if go.mod names another: compare the layout
// with that one's package record before this constant follows.
const pebbleVersion = "v2.1.7"

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// The layout of Pebble's write-ahead log, in format pebbleFormat and in the formats that a new database passes through before it: blocks
// of chunks. A chunk has a checksum, a length, a kind, the number of its log, and in the later format an offset.
const (
	logSuffix = ".log"
	logBlock  = 32 << 10

	chunkNumbered      = 5 // first kind of the format with a number: whole record, first, middle, last part of one
	chunkSynced        = 9 // first kind of the format with an offset too
	chunkKindsEnd      = 13
	chunkNumberedBytes = 4 + 2 + 1 + 4
	chunkSyncedBytes   = chunkNumberedBytes + 8
)

// checkLog finds damage in the newest log of the database in path, which Pebble would take for the end of the log. A crash leaves such
// an end too, but only in the commit that it cut short: a commit is one record, and begins only when the one before it is durable. So
// if a record begins after a chunk that cannot be read, durable commits are missing.
func checkLog(fs vfs.FS, path string) error {
	names, err := fs.List(path)
	if err != nil {
		return err
	}
	var newest string
	var number uint64
	for _, name := range names {
		digits, ok := strings.CutSuffix(name, logSuffix)
		if n, err := strconv.ParseUint(digits, 10, 64); ok && err == nil && (newest == "" || n > number) {
			newest, number = name, n
		}
	}
	if newest == "" {
		return nil
	}
	f, err := fs.Open(fs.PathJoin(path, newest))
	if err != nil {
		return err
	}
	defer f.Close()
	data, err := io.ReadAll(f)
	if err != nil {
		return err
	}
	end := readableLog(data, uint32(number))
	for at := end + 1; at < len(data); at++ {
		if kind, size := chunkAt(data, at, uint32(number)); size > 0 && beginsRecord(kind) {
			return fmt.Errorf("%w: %s can't be read at byte %d, but goes on at byte %d", store.ErrCorrupt, newest, end, at)
		}
	}
	return nil
}

// readableLog returns up to where the chunks of a log can be read one after the other.
func readableLog(data []byte, number uint32) int {
	at := 0
	for at < len(data) {
		kind, size := chunkAt(data, at, number)
		if size == 0 {
			break
		}
		at += size
		if left := logBlock - at%logBlock; left < headerBytes(kind) {
			at += left
		}
	}
	return at
}

// chunkAt returns the kind and the size of the chunk at an offset, or 0 if there is none.
func chunkAt(data []byte, at int, number uint32) (kind byte, size int) {
	block := data[at:min(len(data), (at/logBlock+1)*logBlock)]
	if len(block) < chunkNumberedBytes || binary.LittleEndian.Uint32(block[7:]) != number {
		return 0, 0
	}
	kind = block[6]
	if kind < chunkNumbered || kind >= chunkKindsEnd {
		return 0, 0
	}
	size = headerBytes(kind) + int(binary.LittleEndian.Uint16(block[4:]))
	if size > len(block) {
		return 0, 0
	}
	crc := crc32.Checksum(block[6:size], castagnoli)
	if (crc>>15|crc<<17)+0xa282ead8 != binary.LittleEndian.Uint32(block) {
		return 0, 0
	}
	return kind, size
}

func headerBytes(kind byte) int {
	if kind >= chunkSynced {
		return chunkSyncedBytes
	}
	return chunkNumberedBytes
}

func beginsRecord(kind byte) bool {
	const whole, first = 0, 1
	part := (kind - chunkNumbered) % 4
	return part == whole || part == first
}
