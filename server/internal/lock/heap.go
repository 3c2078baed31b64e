package lock

// noTimer marks a claim that is not in the heap.
const noTimer = -1

// timers is a heap of claims by the time they are due. It has four children a node, and the time beside the pointer, so that a step
// stays within one cache line. Each claim knows its index, so that it can be moved or removed.
type timers []timer

type timer struct {
	at int64
	c  *claim
}

// next returns the earliest time, or 0.
func (h timers) next() int64 {
	if len(h) == 0 {
		return 0
	}
	return h[0].at
}

// set makes c due at that time, or never if it is 0.
func (h *timers) set(c *claim, at int64) {
	i := int(c.timer)
	switch {
	case at == 0 && i == noTimer:
	case at == 0:
		h.remove(i)
	case i == noTimer:
		*h = append(*h, timer{at, c})
		h.up(len(*h) - 1)
	default:
		before := (*h)[i].at
		(*h)[i].at = at
		if at < before {
			h.up(i)
		} else if at > before {
			h.down(i)
		}
	}
}

func (h *timers) remove(i int) {
	s := *h
	last := len(s) - 1
	s[i].c.timer = noTimer
	moved := s[last]
	s[last] = timer{}
	*h = s[:last]
	if i == last {
		return
	}
	before := s[i].at
	s[i] = moved
	s[i].c.timer = int32(i)
	if moved.at < before {
		h.up(i)
	} else {
		h.down(i)
	}
}

func (h timers) up(i int) {
	t := h[i]
	for i > 0 {
		parent := (i - 1) / 4
		if h[parent].at <= t.at {
			break
		}
		h[i] = h[parent]
		h[i].c.timer = int32(i)
		i = parent
	}
	h[i] = t
	t.c.timer = int32(i)
}

func (h timers) down(i int) {
	t := h[i]
	for {
		first := 4*i + 1
		if first >= len(h) {
			break
		}
		least := first
		for j := first + 1; j < min(first+4, len(h)); j++ {
			if h[j].at < h[least].at {
				least = j
			}
		}
		if t.at <= h[least].at {
			break
		}
		h[i] = h[least]
		h[i].c.timer = int32(i)
		i = least
	}
	h[i] = t
	t.c.timer = int32(i)
}
