package session

import (
	"math/bits"
	"math/rand/v2"
	"time"

	"github.com/lockserver/lockserver/server/internal/service"
	"github.com/lockserver/lockserver/server/internal/wire"
)

// call is a request that is unanswered, or whose answer is not written yet. There may be a hundred thousand that wait, so it is small.
type call struct {
	seq    int64         // 0 once it is answered
	began  time.Duration // since the start of the server
	ticket service.Ticket
	named  uint32 // index of its names, plus 1; 0 once it is parked or answered
	op     wire.Operation
	taken  bool // false once the answer is written
	parked bool
}

// names are what a request names. Those of a parked one are kept by the engine.
type names struct{ resource, owner, id string }

// calls are the calls of a session. The engine knows a call by its slot.
type calls struct {
	blocks     []*[blockCalls]call // they never move: a slice that grows has slack
	slots      uint32              // how many were ever used
	free       []uint32            // slots without a call
	names      []names
	spare      []uint32 // indexes, plus 1, of names without a call
	seqs       []uint32 // a hash table of the slots, plus 1, of unanswered calls by seq; 0 is a free place
	unanswered int
	parked     int // how many of these wait for a lock that others hold
}

const (
	blockCalls = 10 // 480 B: one with pointers that is larger than 512 B takes the allocator more
	fewestSeqs = 8
)

func (s *calls) at(slot uint32) *call { return &s.blocks[slot/blockCalls][slot%blockCalls] }

// begin makes a call. It returns false if its seq is in use.
func (s *calls) begin(c call, named names) (slot uint32, ok bool) {
	if 4*(s.unanswered+1) > 3*len(s.seqs) {
		s.grow()
	}
	place := s.find(c.seq)
	if s.seqs[place] != 0 {
		return 0, false
	}
	if n := len(s.free); n > 0 {
		slot, s.free = s.free[n-1], s.free[:n-1]
	} else {
		slot = s.slots
		s.slots++
		if slot%blockCalls == 0 {
			s.blocks = append(s.blocks, new([blockCalls]call))
		}
	}
	if n := len(s.spare); n > 0 {
		c.named, s.spare = s.spare[n-1], s.spare[:n-1]
	} else {
		s.names = append(s.names, names{})
		c.named = uint32(len(s.names))
	}
	*s.namesOf(&c) = named
	s.seqs[place] = slot + 1
	s.unanswered++
	*s.at(slot) = c
	return slot, true
}

// namesOf returns the names of a call, or nil if it is parked or answered.
func (s *calls) namesOf(c *call) *names {
	if c.named == 0 {
		return nil
	}
	return &s.names[c.named-1]
}

// park notes that a call waits.
func (s *calls) park(c *call) {
	c.parked = true
	s.parked++
	s.unname(c)
}

// unname takes the names of a call for another.
func (s *calls) unname(c *call) {
	if named := s.namesOf(c); named != nil {
		*named = names{}
		s.spare = append(s.spare, c.named)
		c.named = 0
	}
}

// answered notes that a call has its answer. Its seq may be used again, and its slot once end was called.
func (s *calls) answered(c *call) {
	s.forget(s.find(c.seq))
	s.unanswered--
	c.seq = 0
	if c.parked {
		c.parked = false
		s.parked--
	}
	s.unname(c)
}

// end frees slots whose answers were written.
func (s *calls) end(slots []uint32) {
	for _, slot := range slots {
		*s.at(slot) = call{}
	}
	s.free = append(s.free, slots...)
}

// hashed makes the hash of a seq, so that no client can choose seqs that collide.
var hashed = [2]uint64{rand.Uint64(), rand.Uint64() | 1}

// home is the place of a seq in the table if no other has taken it.
func (s *calls) home(seq int64) int {
	hi, lo := bits.Mul64(uint64(seq)^hashed[0], hashed[1])
	return int(hi^lo) & (len(s.seqs) - 1)
}

// find returns the place of a seq in the table, or the free place for it.
func (s *calls) find(seq int64) int {
	i := s.home(seq)
	for s.seqs[i] != 0 && s.at(s.seqs[i]-1).seq != seq {
		i = (i + 1) & (len(s.seqs) - 1)
	}
	return i
}

// forget frees a place in the table. What lies behind it moves up, unless it would then be before its home.
func (s *calls) forget(hole int) {
	mask := len(s.seqs) - 1
	for i := (hole + 1) & mask; s.seqs[i] != 0; i = (i + 1) & mask {
		if away := i - s.home(s.at(s.seqs[i]-1).seq); away&mask >= (i-hole)&mask {
			s.seqs[hole] = s.seqs[i]
			hole = i
		}
	}
	s.seqs[hole] = 0
}

// grow doubles the table.
func (s *calls) grow() {
	before := s.seqs
	s.seqs = make([]uint32, max(2*len(before), fewestSeqs))
	for _, entry := range before {
		if entry != 0 {
			s.seqs[s.find(s.at(entry-1).seq)] = entry
		}
	}
}

// each calls do for every call.
func (s *calls) each(do func(*call)) {
	for slot := range s.slots {
		do(s.at(slot))
	}
}
