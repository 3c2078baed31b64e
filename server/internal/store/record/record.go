// Package record is how stores write a grant as bytes.
package record

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"math"
	"time"

	"github.com/lockserver/lockserver/server/internal/lock"
)

// Numbers are big-endian. Every value ends with the CRC-32C of its key and of the value up to there:
//
//	grant: version:1 mode:1 limit:4 expire:8 lease:8 len(resource):2 len(owner):2 len(id):2 len(note):2 resource owner id note crc:4
//
// A grant with a longest hold has version 2, and hold:8 before its crc. All others are as ever, and servers that know of none read them.
const (
	// Version is the first byte of every value but a grant's with a longest hold.
	Version = 1
	// held is that of such a grant.
	held = 2
	// SumLen is the length of the checksum at its end.
	SumLen = 4

	header  = 1 + 1 + 4 + 8 + 8 + 4*2
	holdLen = 8
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// Check rejects a record that Decode would not return unchanged. Otherwise the store could not be loaded again.
func Check(r *lock.Record) error {
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
	case r.MaxHold < 0:
		return fmt.Errorf("longest hold %v is negative", r.MaxHold)
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

// Len returns the length of the value of r.
func Len(r *lock.Record) int {
	n := header + len(r.Resource) + len(r.Owner) + len(r.ID) + len(r.Note) + SumLen
	if r.MaxHold != 0 {
		n += holdLen
	}
	return n
}

// Put writes the value of r to dst, which has Len bytes. Check must have accepted r.
func Put(dst, key []byte, r *lock.Record) {
	be := binary.BigEndian
	dst[0] = Version
	dst[1] = byte(r.Mode)
	be.PutUint32(dst[2:], uint32(r.Limit))
	be.PutUint64(dst[6:], uint64(r.Expire))
	be.PutUint64(dst[14:], uint64(r.Lease))
	be.PutUint16(dst[22:], uint16(len(r.Resource)))
	be.PutUint16(dst[24:], uint16(len(r.Owner)))
	be.PutUint16(dst[26:], uint16(len(r.ID)))
	be.PutUint16(dst[28:], uint16(len(r.Note)))
	n := header
	n += copy(dst[n:], r.Resource)
	n += copy(dst[n:], r.Owner)
	n += copy(dst[n:], r.ID)
	n += copy(dst[n:], r.Note)
	if r.MaxHold != 0 {
		dst[0] = held
		be.PutUint64(dst[n:], uint64(r.MaxHold))
	}
	Seal(dst, key)
}

// Decode decodes the grant with that token. The record keeps no part of key and value. Its strings share one allocation.
func Decode(key []byte, token int64, value []byte) (lock.Record, error) {
	body, version, err := open(key, value)
	if err != nil {
		return lock.Record{}, err
	}
	if len(body) < header {
		return lock.Record{}, fmt.Errorf("value has %d bytes, fewer than a grant's", len(value))
	}
	be := binary.BigEndian
	resource := int(be.Uint16(body[22:]))
	owner := resource + int(be.Uint16(body[24:]))
	id := owner + int(be.Uint16(body[26:]))
	note := id + int(be.Uint16(body[28:]))
	end, want := header+note, header+note
	switch version {
	case Version:
	case held:
		want += holdLen
	default:
		return lock.Record{}, wrongVersion(version)
	}
	if len(body) != want {
		return lock.Record{}, fmt.Errorf("value has %d bytes, its lengths say %d", len(value), want+SumLen)
	}
	text := string(body[header:end])
	r := lock.Record{
		Resource: text[:resource],
		Owner:    text[resource:owner],
		ID:       text[owner:id],
		Note:     text[id:note],
		Token:    token,
		Mode:     lock.Mode(body[1]),
		Limit:    int32(be.Uint32(body[2:])),
		Expire:   time.Duration(be.Uint64(body[6:])),
		Lease:    time.Duration(be.Uint64(body[14:])),
	}
	if version == held {
		r.MaxHold = time.Duration(be.Uint64(body[end:]))
		if r.MaxHold == 0 {
			return lock.Record{}, fmt.Errorf("a longest hold of 0 has record version %d", version)
		}
	}
	if err := Check(&r); err != nil {
		return lock.Record{}, err
	}
	return r, nil
}

// Seal writes the checksum to the end of dst.
func Seal(dst, key []byte) {
	n := len(dst) - SumLen
	binary.BigEndian.PutUint32(dst[n:], Checksum(key, dst[:n]))
}

// Open returns value, which is none of a grant, without its checksum.
func Open(key, value []byte) ([]byte, error) {
	body, version, err := open(key, value)
	if err == nil && version != Version {
		return nil, wrongVersion(version)
	}
	return body, err
}

func wrongVersion(version byte) error {
	return fmt.Errorf("record version is %d, not %d", version, Version)
}

// open returns value without its checksum, and its version.
func open(key, value []byte) (body []byte, version byte, err error) {
	if len(value) < 1+SumLen {
		return nil, 0, fmt.Errorf("value has %d bytes", len(value))
	}
	body, sum := value[:len(value)-SumLen], binary.BigEndian.Uint32(value[len(value)-SumLen:])
	if want := Checksum(key, body); sum != want {
		return nil, 0, fmt.Errorf("checksum is %08x, of the bytes %08x", sum, want)
	}
	return body, body[0], nil
}

// Checksum returns the CRC-32C of both.
func Checksum(key, body []byte) uint32 {
	return crc32.Update(crc32.Checksum(key, castagnoli), castagnoli, body)
}
