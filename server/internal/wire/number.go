package wire

import "math"

// number is a JSON number: digits × 10^exponent, exactly. Floating point would round 4.35 s up to 4.351 s.
type number struct {
	negative bool
	digits   uint64 // the first significant ones
	exponent int
	more     bool // further digits follow that are not all zero
}

// maxExponent bounds the exponent, so that sums of a few stay far from overflow. Beyond it a number is as good as 0 or endless.
const maxExponent = 1 << 20

// scanNumber reads a number by JSON's grammar from the start of b. Its length is 0 if there is none.
func scanNumber(b []byte) (n number, length int) {
	i := 0
	if i < len(b) && b[i] == '-' {
		n.negative = true
		i++
	}
	start := i
	for ; i < len(b) && isDigit(b[i]); i++ {
		n.push(b[i], 0)
	}
	if i == start || (b[start] == '0' && i > start+1) {
		return number{}, 0
	}
	if i < len(b) && b[i] == '.' {
		i++
		start = i
		for ; i < len(b) && isDigit(b[i]); i++ {
			n.push(b[i], -1)
		}
		if i == start {
			return number{}, 0
		}
	}
	if i < len(b) && (b[i] == 'e' || b[i] == 'E') {
		i++
		down := false
		if i < len(b) && (b[i] == '+' || b[i] == '-') {
			down = b[i] == '-'
			i++
		}
		start = i
		e := 0
		for ; i < len(b) && isDigit(b[i]); i++ {
			e = min(e*10+int(b[i]-'0'), maxExponent)
		}
		if i == start {
			return number{}, 0
		}
		if down {
			e = -e
		}
		n.exponent += e
	}
	return n, i
}

// push appends a digit; shift is what its place does to the exponent: 0 before the point, -1 behind it.
func (n *number) push(digit byte, shift int) {
	d := uint64(digit - '0')
	if n.digits < math.MaxUint64/100 {
		n.digits = n.digits*10 + d
		n.exponent += shift
		return
	}
	n.more = n.more || d != 0
	n.exponent += shift + 1
}

func isDigit(c byte) bool { return c >= '0' && c <= '9' }

// scaled returns the number × 10^shift without its sign, cut to a whole one, and whether anything was cut off.
// ok is false if it is negative, and where it is greater than most, which is then returned instead.
func (n number) scaled(shift int, most int64) (whole int64, rest, ok bool) {
	if n.digits == 0 {
		return 0, false, true // -0 is 0
	}
	v, e := n.digits, n.exponent+shift
	rest = n.more
	for ; e < 0 && v > 0; e++ {
		rest = rest || v%10 != 0
		v /= 10
	}
	for ; e > 0 && v > 0; e-- {
		if v > uint64(most) {
			break
		}
		v *= 10
	}
	if n.negative {
		return 0, false, false
	}
	if v > uint64(most) {
		return most, false, false
	}
	return int64(v), rest, true
}

// ceilMillis takes the number for seconds, and returns milliseconds, rounded up. ok is false if they are negative or more than most.
func (n number) ceilMillis(most int64) (ms int64, ok bool) {
	ms, rest, ok := n.scaled(3, most)
	if rest {
		ms++
	}
	return ms, ok && ms <= most
}

// integer returns the number if it is a whole one from 0 to most. 3.0 and 3e0 are 3.
func (n number) integer(most int64) (int64, bool) {
	v, rest, ok := n.scaled(0, most)
	return v, ok && !rest
}
