package lock

import (
	"hash/maphash"
	"math/bits"
	"time"
)

// rememberFor is how long an ended id is remembered at least, unless there are too many.
const rememberFor = int64(time.Minute)

// memory remembers how ids and tokens ended, so that a delayed duplicate of a request can't bring one back. An acquisition has an
// entry for its token and one for its id, of 16 bytes each, in two generations: the older goes when the younger is a minute old, or
// full. Of two different ids with the same 64-bit hash one may be taken for the other: with a million remembered, once in 10^13
// look-ups.
type memory struct {
	seed       maphash.Seed
	young, old *generation
	started    int64 // when young was begun
	full       int   // entries of a generation: both hold twice as many, for max acquisitions
}

// Of an entry's value the lowest bits say how it ended, the others the token.
const kindBits = 4

func newMemory(full int) memory {
	return memory{seed: maphash.MakeSeed(), young: &generation{}, old: &generation{}, full: full}
}

func (m *memory) idKey(resource, owner, id string) uint64 {
	return mix(m.names(resource, owner), maphash.String(m.seed, id))
}

func (m *memory) tokenKey(resource, owner string, token int64) uint64 {
	// A token is below 2^53, the hash of an id hardly ever.
	return mix(m.names(resource, owner), uint64(token))
}

func (m *memory) names(resource, owner string) uint64 {
	return mix(maphash.String(m.seed, resource), maphash.String(m.seed, owner))
}

// mix makes one hash of two. Their order counts.
func mix(a, b uint64) uint64 {
	hi, lo := bits.Mul64(a^0x9e3779b97f4a7c15, bits.RotateLeft64(b, 32)^0xc2b2ae3d27d4eb4f)
	return hi ^ lo
}

func (m *memory) put(now int64, key uint64, how EventKind, token int64) {
	if m.young.n >= m.full || now-m.started >= rememberFor {
		m.old, m.young, m.started = m.young, &generation{}, now
	}
	m.young.put(key, uint64(token)<<kindBits|uint64(how))
}

// get returns 0 for a key that is not remembered.
func (m *memory) get(key uint64) (how EventKind, token int64) {
	v := m.young.get(key)
	if v == 0 {
		v = m.old.get(key)
	}
	return EventKind(v & (1<<kindBits - 1)), int64(v >> kindBits)
}
