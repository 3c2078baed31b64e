package disk

import (
	"log/slog"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/lockserver/lockserver/server/internal/lock"
	"github.com/lockserver/lockserver/server/internal/store"
	"github.com/lockserver/lockserver/server/internal/store/record"
)

// For tests that break the disk, and for the fuzzing of records.

func OpenFS(dir string, fs vfs.FS, logger *slog.Logger) (store.Store, error) {
	return open(dir, fs, 0, logger)
}

func EncodeGrant(r *lock.Record) (key, value []byte, err error) {
	if err := record.Check(r); err != nil {
		return nil, nil, err
	}
	key, value = make([]byte, grantKeyLen), make([]byte, record.Len(r))
	putGrantKey(key, r.Token)
	record.Put(value, key, r)
	return key, value, nil
}

func EncodeMark(token int64) (key, value []byte) {
	value = make([]byte, markLen)
	putMark(value, markKey(), token)
	return markKey(), value
}

const PebbleVersion = pebbleVersion

var (
	DecodeGrant = decodeGrant
	DecodeMark  = decodeMark
	Checksum    = record.Checksum
)

func OpenWithReserve(dir string, fs vfs.FS, reserve int64, logger *slog.Logger) (store.Store, error) {
	return open(dir, fs, reserve, logger)
}
