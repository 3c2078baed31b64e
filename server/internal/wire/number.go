package wire

import "math"

// number is a JSON number: digits × 10^exponent, exactly. Floating point would round 4.35 s up to 4.351 s.
type number struct {
	negative bool
	digits   uint64 // the first significant ones
	exponent int
	more     bool // further digits follow that are not all zero
}

// maxExponent bounds the exponent, so that adding a few of them cannot overflow. A number beyond it is practically 0 or infinite.
const maxExponent = 1 << 20

// scanNumber reads a JSON number at the start of b. The length is 0 if there is none.
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

// push appends a digit. shift is 0 before the decimal point and -1 after it.
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

// scaled returns the number × 10^shift, truncated to an integer, and whether digits were cut off.
// If it is greater than most, scaled returns most and ok is false. If it is negative, ok is false too.
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

// ceilMillis converts a number of seconds to milliseconds, rounded up. ok is false if the result is negative or more than most.
func (n number) ceilMillis(most int64) (ms int64, ok bool) {
	ms, rest, ok := n.scaled(3, most)
	if rest {
		ms++
	}
	return ms, ok && ms <= most
}

// integer returns the number if it is an integer from 0 to most. 3.0 and 3e0 are integers.
func (n number) integer(most int64) (int64, bool) {
	v, rest, ok := n.scaled(0, most)
	return v, ok && !rest
}
