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
	n       uint32
	turn    uint32 // the generation's when the part was used last; if that was an earlier one, the part is empty
}

type entry struct {
	key   uint64
	value uint64 // 0: free
}

func (g *generation) part(key uint64) *part { return &g.parts[key>>(64-partBits)] }

// empty empties it for the same number of entries. Each part is cleared when it is used again, as all of them would take long.
func (g *generation) empty() {
	g.n = 0
	g.turn++
}

func (g *generation) get(key uint64) (value uint64) {
	p := g.part(key)
	if p.n == 0 || p.turn != g.turn {
		return 0
	}
	return p.at(key).value
}

// put sets the value, which must not be 0.
func (g *generation) put(key, value uint64) {
	p := g.part(key)
	if p.turn != g.turn {
		clear(p.entries)
		p.n, p.turn = 0, g.turn
	}
	if 4*int(p.n) >= 3*len(p.entries) {
		p.grow()
	}
	e := p.at(key)
	if e.value == 0 {
		p.n++
		g.n++
	}
	*e = entry{key, value}
}

// at returns the entry with the key, or the free one for it.
func (p *part) at(key uint64) *entry {
	mask := uint64(len(p.entries) - 1)
	for i := key & mask; ; i = (i + 1) & mask {
		if e := &p.entries[i]; e.key == key || e.value == 0 {
			return e
		}
	}
}

func (p *part) grow() {
	smaller := p.entries
	p.entries = make([]entry, max(8, 2*len(smaller)))
	for _, e := range smaller {
		if e.value != 0 {
			*p.at(e.key) = e
		}
	}
}
