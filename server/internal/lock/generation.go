package lock

// generation is a hash table of hashes. It needs fewer memory accesses than a map: one for the part, one for the entry. It is in parts
// so that growing one of them does not take long.
type generation struct {
	parts [1 << partBits]part
	n     int
	turn  uint32 // rises when it is emptied
}

const partBits = 10

// part has each entry at the index that its key says, or at the next free one. At least a quarter of it is free.
type part struct {
	entries []entry
	tags    []uint8 // of each entry: 0 if it is free, else some bits of its key; they stay in a cache that the entries are too large for
	n       uint32
	turn    uint32 // the generation's when the part was used last; if that was an earlier one, the part is empty
}

type entry struct{ key, value uint64 }

func (g *generation) part(key uint64) *part { return &g.parts[key>>(64-partBits)] }

// empty empties it for the same number of entries. Each part is cleared when it is used again, as all of them would take long.
func (g *generation) empty() {
	g.n = 0
	g.turn++
}

// get returns 0 for a key that is not there.
func (g *generation) get(key uint64) (value uint64) {
	p := g.part(key)
	if p.n == 0 || p.turn != g.turn {
		return 0
	}
	if i := p.at(key); p.tags[i] != 0 {
		return p.entries[i].value
	}
	return 0
}

func (g *generation) put(key, value uint64) {
	p := g.part(key)
	if p.turn != g.turn {
		clear(p.tags)
		p.n, p.turn = 0, g.turn
	}
	if 4*int(p.n) >= 3*len(p.entries) {
		p.grow()
	}
	if p.set(key, value) {
		p.n++
		g.n++
	}
}

// tag is never 0, and of bits that neither the part nor the index is made of.
func tag(key uint64) uint8 { return 0x80 | uint8(key>>40) }

// at returns the index of the key, or the free one for it.
func (p *part) at(key uint64) uint64 {
	mask, tag := uint64(len(p.tags)-1), tag(key)
	for i := key & mask; ; i = (i + 1) & mask {
		if t := p.tags[i]; t == 0 || t == tag && p.entries[i].key == key {
			return i
		}
	}
}

// set reports whether the key is new.
func (p *part) set(key, value uint64) bool {
	i := p.at(key)
	isNew := p.tags[i] == 0
	p.tags[i], p.entries[i] = tag(key), entry{key, value}
	return isNew
}

func (p *part) grow() {
	smaller, tags := p.entries, p.tags
	n := max(8, 2*len(smaller))
	p.entries, p.tags = make([]entry, n), make([]uint8, n)
	for i, e := range smaller {
		if tags[i] != 0 {
			p.set(e.key, e.value)
		}
	}
}
