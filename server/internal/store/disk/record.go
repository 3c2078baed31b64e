package disk

import (
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/lockserver/lockserver/server/internal/lock"
	"github.com/lockserver/lockserver/server/internal/store/record"
)

// A key is a kind, followed by the token for a grant. Tokens are unique and rise, so new keys come last, and a grant that is soon over
// is deleted near where it was put. That keeps the files small and loading fast.
//
//	'g' token:8       → grant, see package record
//	'm'               → mark: the highest token ever committed
//
// A mark is version:1 token:8 crc:4.
const (
	kindGrant = 'g'
	kindMark  = 'm'

	grantKeyLen = 1 + 8
	markLen     = 1 + 8 + record.SumLen
)

func markKey() []byte { return []byte{kindMark} }

func putGrantKey(dst []byte, token int64) {
	dst[0] = kindGrant
	binary.BigEndian.PutUint64(dst[1:], uint64(token))
}

func decodeGrant(key, value []byte) (lock.Record, error) {
	if len(key) != grantKeyLen || key[0] != kindGrant {
		return lock.Record{}, errors.New("not the key of a grant")
	}
	return record.Decode(key, int64(binary.BigEndian.Uint64(key[1:])), value)
}

func putMark(dst, key []byte, token int64) {
	dst[0] = record.Version
	binary.BigEndian.PutUint64(dst[1:], uint64(token))
	record.Seal(dst, key)
}

func decodeMark(key, value []byte) (int64, error) {
	body, err := record.Open(key, value)
	if err != nil {
		return 0, err
	}
	if len(value) != markLen {
		return 0, fmt.Errorf("value has %d bytes, not %d", len(value), markLen)
	}
	token := int64(binary.BigEndian.Uint64(body[1:]))
	if token <= 0 {
		return 0, fmt.Errorf("token %d is not positive", token)
	}
	return token, nil
}
