package disk

import (
	"log/slog"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/lockserver/lockserver/server/internal/lock"
	"github.com/lockserver/lockserver/server/internal/store"
)

// For tests that break the disk, and for the fuzzing of records.

func OpenFS(dir string, fs vfs.FS, logger *slog.Logger) (store.Store, error) {
	return open(dir, fs, logger)
}

func EncodeGrant(r *lock.Record) (key, value []byte, err error) {
	if err := checkRecord(r); err != nil {
		return nil, nil, err
	}
	key, value = make([]byte, grantKeyLen), make([]byte, grantLen(r))
	putGrantKey(key, r.Token)
	putGrant(value, key, r)
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
	Checksum    = checksum
)
