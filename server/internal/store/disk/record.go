package disk

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"math"
	"time"

	"github.com/lockserver/lockserver/server/internal/lock"
)

// A key is a kind, followed by the token for a grant. Tokens are unique and rise, so new keys come last, and a grant that is soon over
// is deleted near where it was put. That keeps the files small and loading fast.
//
//	'g' token:8       → grant
//	'm'               → mark: the highest token ever committed
//
// Numbers are big-endian. Every value ends with the CRC-32C of its key and of the value up to there:
//
//	grant: version:1 mode:1 limit:4 expire:8 lease:8 len(resource):2 len(owner):2 len(id):2 len(note):2 resource owner id note crc:4
//	mark:  version:1 token:8 crc:4
const (
	kindGrant = 'g'
	kindMark  = 'm'

	grantKeyLen = 1 + 8

	recordVersion = 1
	crcLen        = 4
	grantHeader   = 1 + 1 + 4 + 8 + 8 + 4*2
	markLen       = 1 + 8 + crcLen
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

func markKey() []byte { return []byte{kindMark} }

func putGrantKey(dst []byte, token int64) {
	dst[0] = kindGrant
	binary.BigEndian.PutUint64(dst[1:], uint64(token))
}

// checkRecord rejects a record that decodeGrant would not return unchanged. Otherwise the store could not be loaded again.
func checkRecord(r *lock.Record) error {
	switch {
	case r.Token <= 0:
		return fmt.Errorf("token %d is not positive", r.Token)
	case r.Mode > lock.Semaphore:
		return fmt.Errorf("mode %d is unknown", r.Mode)
	case r.Limit < 0:
		return fmt.Errorf("limit %d is negative", r.Limit)
	case r.Expire < 0:
		return fmt.Errorf("expire %v is negative", r.Expire)
	case r.Lease < 0:
		return fmt.Errorf("lease %v is negative", r.Lease)
	}
	for _, f := range [...]struct {
		name string
		len  int
	}{{"resource", len(r.Resource)}, {"owner", len(r.Owner)}, {"id", len(r.ID)}, {"note", len(r.Note)}} {
		if f.len > math.MaxUint16 {
			return fmt.Errorf("%s has %d bytes, more than %d", f.name, f.len, math.MaxUint16)
		}
	}
	return nil
}

func grantLen(r *lock.Record) int {
	return grantHeader + len(r.Resource) + len(r.Owner) + len(r.ID) + len(r.Note) + crcLen
}

// putGrant writes the value of r to dst, which has grantLen bytes. checkRecord must have accepted r.
func putGrant(dst, key []byte, r *lock.Record) {
	be := binary.BigEndian
	dst[0] = recordVersion
	dst[1] = byte(r.Mode)
	be.PutUint32(dst[2:], uint32(r.Limit))
	be.PutUint64(dst[6:], uint64(r.Expire))
	be.PutUint64(dst[14:], uint64(r.Lease))
	be.PutUint16(dst[22:], uint16(len(r.Resource)))
	be.PutUint16(dst[24:], uint16(len(r.Owner)))
	be.PutUint16(dst[26:], uint16(len(r.ID)))
	be.PutUint16(dst[28:], uint16(len(r.Note)))
	n := grantHeader
	n += copy(dst[n:], r.Resource)
	n += copy(dst[n:], r.Owner)
	n += copy(dst[n:], r.ID)
	n += copy(dst[n:], r.Note)
	be.PutUint32(dst[n:], checksum(key, dst[:n]))
}

// decodeGrant decodes a grant. The record keeps no part of key and value. Its strings share one allocation.
func decodeGrant(key, value []byte) (lock.Record, error) {
	if len(key) != grantKeyLen || key[0] != kindGrant {
		return lock.Record{}, errors.New("not the key of a grant")
	}
	body, err := checkValue(key, value)
	if err != nil {
		return lock.Record{}, err
	}
	if len(body) < grantHeader {
		return lock.Record{}, fmt.Errorf("value has %d bytes, fewer than a grant's", len(value))
	}
	be := binary.BigEndian
	resource := int(be.Uint16(body[22:]))
	owner := resource + int(be.Uint16(body[24:]))
	id := owner + int(be.Uint16(body[26:]))
	note := id + int(be.Uint16(body[28:]))
	if len(body) != grantHeader+note {
		return lock.Record{}, fmt.Errorf("value has %d bytes, its lengths say %d", len(value), grantHeader+note+crcLen)
	}
	text := string(body[grantHeader:])
	r := lock.Record{
		Resource: text[:resource],
		Owner:    text[resource:owner],
		ID:       text[owner:id],
		Note:     text[id:note],
		Token:    int64(be.Uint64(key[1:])),
		Mode:     lock.Mode(body[1]),
		Limit:    int32(be.Uint32(body[2:])),
		Expire:   time.Duration(be.Uint64(body[6:])),
		Lease:    time.Duration(be.Uint64(body[14:])),
	}
	if err := checkRecord(&r); err != nil {
		return lock.Record{}, err
	}
	return r, nil
}

func putMark(dst, key []byte, token int64) {
	dst[0] = recordVersion
	binary.BigEndian.PutUint64(dst[1:], uint64(token))
	binary.BigEndian.PutUint32(dst[9:], checksum(key, dst[:9]))
}

func decodeMark(key, value []byte) (int64, error) {
	body, err := checkValue(key, value)
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

// checkValue returns value without its checksum.
func checkValue(key, value []byte) ([]byte, error) {
	if len(value) < 1+crcLen {
		return nil, fmt.Errorf("value has %d bytes", len(value))
	}
	body, sum := value[:len(value)-crcLen], binary.BigEndian.Uint32(value[len(value)-crcLen:])
	if want := checksum(key, body); sum != want {
		return nil, fmt.Errorf("checksum is %08x, of the bytes %08x", sum, want)
	}
	if body[0] != recordVersion {
		return nil, fmt.Errorf("record version is %d, not %d", body[0], recordVersion)
	}
	return body, nil
}

func checksum(key, body []byte) uint32 {
	return crc32.Update(crc32.Checksum(key, castagnoli), castagnoli, body)
}
