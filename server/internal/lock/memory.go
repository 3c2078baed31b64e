package lock

import (
	"hash/maphash"
	"math/bits"
	"time"
)

// rememberFor is how long an ended acquisition is remembered at least, unless there are too many.
const rememberFor = int64(time.Minute)

// memory remembers how acquisitions ended, so that a delayed duplicate of a request cannot bring one back. Each has an entry of 16
// bytes for its token, and one for its id, in two generations. The older generation is dropped when the younger is full or a minute
// old. An id is taken for another with the same 64-bit hash: with a million remembered, once in 10^13 look-ups.
type memory struct {
	seed       maphash.Seed
	young, old *generation
	started    int64 // when young was begun
	full       int   // entries of a generation; with two for each acquisition, both generations hold max of them
}

// Of an entry's value the lowest bits say how it ended, the others the token.
const kindBits = 4

func newMemory(full int) memory {
	return memory{seed: maphash.MakeSeed(), young: &generation{}, old: &generation{}, full: full}
}

func (m *memory) idKey(resource, owner, id string) uint64 {
	return mix(m.names(resource, owner), m.hash(id))
}

func (m *memory) tokenKey(resource, owner string, token int64) uint64 {
	// A token is below 2^53, and the hash of an id hardly ever is.
	return mix(m.names(resource, owner), uint64(token))
}

func (m *memory) names(resource, owner string) uint64 {
	return mix(m.hash(resource), m.hash(owner))
}

func (m *memory) hash(s string) uint64 { return maphash.String(m.seed, s) }

// mix makes one hash of two, whose order counts.
func mix(a, b uint64) uint64 {
	hi, lo := bits.Mul64(a^0x9e3779b97f4a7c15, bits.RotateLeft64(b, 32)^0xc2b2ae3d27d4eb4f)
	return hi ^ lo
}

func (m *memory) put(now int64, key uint64, how EventKind, token int64) {
	switch {
	case m.young.n >= m.full && m.old.n >= m.full: // there is a use for as much memory
		m.old.empty()
		m.old, m.young, m.started = m.young, m.old, now
	case m.young.n >= m.full || now-m.started >= rememberFor:
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
