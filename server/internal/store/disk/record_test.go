package disk_test

import (
	"encoding/binary"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/lockserver/lockserver/server/internal/lock"
	"github.com/lockserver/lockserver/server/internal/store/disk"
	"github.com/lockserver/lockserver/server/internal/store/storetest"
)

func TestRecordRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		want := storetest.Record().Draw(t, "record")
		key, value, err := disk.EncodeGrant(&want)
		require.NoError(t, err)
		got, err := disk.DecodeGrant(key, value)
		require.NoError(t, err)
		require.Equal(t, want, got)
	})
}

// The layout is what other versions read: a change of it is a new record version, and a new format if old servers can't read it.
func TestRecordLayout(t *testing.T) {
	key, value, err := disk.EncodeGrant(&lock.Record{
		Resource: "res", Owner: "own", ID: "id", Note: "n", Token: 0x0102030405060708,
		Mode: lock.Semaphore, Limit: 3, Expire: time.Second, Lease: 2 * time.Second,
	})
	require.NoError(t, err)
	require.Equal(t, "g\x01\x02\x03\x04\x05\x06\x07\x08", string(key))
	require.Equal(t, "\x01\x02\x00\x00\x00\x03"+"\x00\x00\x00\x00\x3b\x9a\xca\x00"+"\x00\x00\x00\x00\x77\x35\x94\x00"+
		"\x00\x03\x00\x03\x00\x02\x00\x01"+"resownidn", string(value[:len(value)-4]))
	require.Equal(t, disk.Checksum(key, value[:len(value)-4]), binary.BigEndian.Uint32(value[len(value)-4:]))

	_, value, err = disk.EncodeGrant(&lock.Record{Resource: "res", Owner: "own", Token: 1, MaxHold: 2 * time.Second})
	require.NoError(t, err)
	require.Equal(t, "\x02\x00\x00\x00\x00\x00"+strings.Repeat("\x00", 16)+"\x00\x03\x00\x03\x00\x00\x00\x00"+"resown"+
		"\x00\x00\x00\x00\x77\x35\x94\x00", string(value[:len(value)-4]), "a grant with a longest hold")
}

func TestEveryFlippedBitIsFound(t *testing.T) {
	want := lock.Record{
		Resource: "resource", Owner: "owner", ID: "id", Note: "note", Token: 77, Expire: time.Second, Lease: time.Second, MaxHold: time.Minute,
	}
	key, value, err := disk.EncodeGrant(&want)
	require.NoError(t, err)
	for _, data := range [][]byte{key, value} {
		for bit := range len(data) * 8 {
			data[bit/8] ^= 1 << (bit % 8)
			_, err := disk.DecodeGrant(key, value)
			require.Error(t, err, "bit %d", bit)
			data[bit/8] ^= 1 << (bit % 8)
		}
	}
	markKey, mark := disk.EncodeMark(77)
	for bit := range len(mark) * 8 {
		mark[bit/8] ^= 1 << (bit % 8)
		_, err := disk.DecodeMark(markKey, mark)
		require.Error(t, err, "bit %d", bit)
		mark[bit/8] ^= 1 << (bit % 8)
	}
	got, err := disk.DecodeGrant(key, value)
	require.NoError(t, err)
	require.Equal(t, want, got)
}

func TestDecodedRecordKeepsNothingOfTheBytes(t *testing.T) {
	key, value, err := disk.EncodeGrant(&lock.Record{Resource: "resource", Owner: "owner", Token: 1})
	require.NoError(t, err)
	r, err := disk.DecodeGrant(key, value)
	require.NoError(t, err)
	for i := range value {
		value[i] = '?'
	}
	require.Equal(t, "resource", r.Resource)
	require.Equal(t, "owner", r.Owner)
}

// FuzzDecodeGrant gives the decoder any bytes, as they are and under a checksum that fits: it must refuse them, or have
// understood every byte of them.
func FuzzDecodeGrant(f *testing.F) {
	for _, r := range []lock.Record{
		{Resource: "r", Owner: "o", Token: 1},
		{Resource: "a/b", Owner: "host-1", ID: "3f", Note: "nightly", Token: 1 << 52, Expire: time.Minute, Lease: time.Hour},
		{Resource: strings.Repeat("x", 512), Owner: "o", Token: 9, Mode: lock.Semaphore, Limit: 1_000_000, MaxHold: time.Hour},
	} {
		key, value, err := disk.EncodeGrant(&r)
		require.NoError(f, err)
		f.Add(key, value)
		f.Add(key, value[:len(value)-5])
	}
	f.Fuzz(func(t *testing.T, key, value []byte) {
		decodeBothWays(t, key, value)
		if len(value) >= 4 {
			sealed := append([]byte(nil), value...)
			n := len(sealed) - 4
			binary.BigEndian.PutUint32(sealed[n:], disk.Checksum(key, sealed[:n]))
			decodeBothWays(t, key, sealed)
		}
	})
}

func decodeBothWays(t *testing.T, key, value []byte) {
	if token, err := disk.DecodeMark(key, value); err == nil {
		_, again := disk.EncodeMark(token)
		require.Equal(t, value[:len(value)-4], again[:len(again)-4])
	}
	r, err := disk.DecodeGrant(key, value)
	if err != nil {
		require.Zero(t, r)
		return
	}
	keyAgain, valueAgain, err := disk.EncodeGrant(&r)
	require.NoError(t, err)
	require.Equal(t, key, keyAgain)
	require.Equal(t, value, valueAgain)
}
