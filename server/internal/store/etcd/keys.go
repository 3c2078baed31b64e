package etcd

import (
	"encoding/binary"
	"errors"
	"fmt"
	"strconv"
	"strings"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/lockserver/lockserver/server/internal/store"
	"github.com/lockserver/lockserver/server/internal/store/record"
)

// keys names everything by the prefix of the cluster:
//
//	PREFIX/leader/LEASE   → URL of a candidate; the oldest leads
//	PREFIX/sequence       → sequence
//	PREFIX/key            → what the servers know and their clients do not, for Config.Key
//	PREFIX/grant/TOKEN    → grant, see package record; the token has 16 hexadecimal digits
type keys string

func (k keys) candidates() string { return string(k) + "/leader/" }
func (k keys) candidate(lease clientv3.LeaseID) string {
	return k.candidates() + strconv.FormatInt(int64(lease), 16)
}
func (k keys) sequence() string         { return string(k) + "/sequence" }
func (k keys) key() string              { return string(k) + "/key" }
func (k keys) grants() string           { return string(k) + "/grant/" }
func (k keys) grant(token int64) string { return fmt.Sprintf("%s%016x", k.grants(), uint64(token)) }
func (k keys) token(grant []byte) (token int64, err error) {
	digits, found := strings.CutPrefix(string(grant), k.grants())
	if !found || len(digits) != 16 {
		return 0, errors.New("not the key of a grant")
	}
	return strconv.ParseInt(digits, 16, 64)
}

// sequence counts the transactions that put something, of all leaders, and is put by each of them:
//
//	version:1 number:8 token:8 crc:4
type sequence struct {
	number uint64
	token  int64 // the highest ever committed
}

const sequenceLen = 1 + 8 + 8 + record.SumLen

func (s sequence) encode(key string) string {
	value := make([]byte, sequenceLen)
	value[0] = record.Version
	binary.BigEndian.PutUint64(value[1:], s.number)
	binary.BigEndian.PutUint64(value[9:], uint64(s.token))
	record.Seal(value, []byte(key))
	return string(value)
}

func decodeSequence(key, value []byte) (sequence, error) {
	if len(value) > 0 && value[0] > record.Version {
		return sequence{}, fmt.Errorf("%w: version %d of %q", store.ErrFormat, value[0], key)
	}
	body, err := record.Open(key, value)
	if err == nil && len(value) != sequenceLen {
		err = fmt.Errorf("value has %d bytes, not %d", len(value), sequenceLen)
	}
	if err != nil {
		return sequence{}, fmt.Errorf("%w: key %q: %w", store.ErrCorrupt, key, err)
	}
	return sequence{binary.BigEndian.Uint64(body[1:]), int64(binary.BigEndian.Uint64(body[9:]))}, nil
}
