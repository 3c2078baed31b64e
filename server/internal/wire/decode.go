// Package wire reads the requests of the contract and writes its answers, whatever carries them.
package wire

import (
	"strings"
	"unicode"
	"unicode/utf16"
	"unicode/utf8"
)

// DecodeBody decodes the body of a request for op, which must be one JSON object. It is strict about what JSON allows but is
// probably a mistake: unknown and repeated fields, lone surrogates and trailing data are errors. A null counts as absent. The fields
// do not refer to body.
func (f *Fields) DecodeBody(op Operation, body []byte) *Problem {
	d := decoder{b: body, allowed: operationRows[op].fields, fields: f}
	if p := d.body(); p != nil {
		return p
	}
	return f.require(operationRows[op].required)
}

type decoder struct {
	b       []byte
	i       int
	allowed fieldSet
	seen    fieldSet
	scratch []byte // strings that have escapes
	fields  *Fields
}

// body reads one object and makes sure that nothing follows it.
func (d *decoder) body() *Problem {
	if p := d.object(); p != nil {
		return p
	}
	d.space()
	if d.i < len(d.b) {
		return InvalidBody("goes on behind the object with " + d.excerpt(d.i))
	}
	return nil
}

func (d *decoder) object() *Problem {
	d.space()
	if d.i == len(d.b) {
		return InvalidBody("is empty")
	}
	if d.b[d.i] != '{' {
		return InvalidBody("begins with " + d.excerpt(d.i))
	}
	d.i++
	d.space()
	if d.peek() == '}' {
		d.i++
		return nil
	}
	for {
		which, err := d.name()
		if err != nil {
			return err
		}
		if err := d.value(which); err != nil {
			return err
		}
		d.space()
		switch d.peek() {
		case ',':
			d.i++
			d.space()
		case '}':
			d.i++
			return nil
		default:
			return invalid(which.String(), "is followed by "+d.excerpt(d.i), "a comma or the end of the object")
		}
	}
}

// name reads the name of a field and the colon after it.
func (d *decoder) name() (Field, *Problem) {
	start := d.i
	s, _, problem := d.string()
	if problem != "" {
		return 0, InvalidBody("has " + d.excerpt(start) + " where the name of a field belongs (" + problem + ")")
	}
	if len(s) == 0 {
		return 0, InvalidBody("has a field without a name")
	}
	which, known := d.allowed.named(s)
	if !known {
		return 0, invalid(Shorten(s), "is not a field of this request", "the fields "+d.allowed.String())
	}
	if d.seen.has(which) {
		return 0, invalid(which.String(), "is repeated", "each field once")
	}
	d.seen |= 1 << which
	d.space()
	if d.peek() != ':' {
		return 0, invalid(which.String(), "is followed by "+d.excerpt(d.i), "a colon and the value")
	}
	d.i++
	d.space()
	return which, nil
}

func (d *decoder) value(which Field) *Problem {
	start := d.i
	if d.peek() == 'n' && len(d.b)-d.i >= 4 && string(d.b[d.i:d.i+4]) == "null" {
		d.i += 4
		return nil
	}
	ok := false
	if which.isText() {
		s, isPlain, problem := d.string()
		if problem != "" {
			return invalid(which.String(), "is "+d.excerpt(start)+" ("+problem+")", fieldRows[which].allowed)
		}
		ok = d.fields.setText(which, s, isPlain)
	} else if n, length := scanNumber(d.b[d.i:]); length > 0 {
		d.i += length
		ok = d.fields.setNumber(which, n)
	}
	if !ok {
		return invalid(which.String(), "is "+d.excerpt(start), fieldRows[which].allowed)
	}
	d.fields.given |= 1 << which
	return nil
}

// plain are the characters that stand for themselves in a string, and are no control characters.
var plain = func() (set [256]bool) {
	for c := ' '; c <= '~'; c++ {
		set[c] = c != '"' && c != '\\'
	}
	return set
}()

// string reads a string. The result is valid until the next call, and has plain characters only, if it says so. The problem is "" if there
// is none.
func (d *decoder) string() (s []byte, isPlain bool, problem string) {
	if d.peek() != '"' {
		return nil, false, "not a string"
	}
	b := d.b[d.i+1:]
	for i, c := range b {
		if plain[c] {
			continue
		}
		start := d.i + 1
		if d.i += 1 + i; c == '"' {
			d.i++
			return b[:i], true, ""
		}
		s, problem = d.stringSlow(start)
		return s, false, problem
	}
	return nil, false, "it does not end"
}

// stringSlow reads the rest of a string once a character turns up that has to be unescaped or checked.
func (d *decoder) stringSlow(start int) (s []byte, problem string) {
	d.scratch = append(d.scratch[:0], d.b[start:d.i]...)
	for d.i < len(d.b) {
		switch c := d.b[d.i]; {
		case c == '"':
			d.i++
			return d.scratch, ""
		case c == '\\':
			if problem := d.escape(); problem != "" {
				return nil, problem
			}
		case c < ' ':
			return nil, "a control character in it is not escaped"
		case c < utf8.RuneSelf:
			d.scratch = append(d.scratch, c)
			d.i++
		default:
			r, size := utf8.DecodeRune(d.b[d.i:])
			if r == utf8.RuneError && size == 1 {
				return nil, "it is not valid UTF-8"
			}
			d.scratch = append(d.scratch, d.b[d.i:d.i+size]...)
			d.i += size
		}
	}
	return nil, "it does not end"
}

// escape reads a backslash and what belongs to it.
func (d *decoder) escape() (problem string) {
	const unknown = "it has an unknown escape"
	if d.i+1 >= len(d.b) {
		return "it does not end"
	}
	c := d.b[d.i+1]
	d.i += 2
	switch c {
	case '"', '\\', '/':
	case 'b':
		c = '\b'
	case 'f':
		c = '\f'
	case 'n':
		c = '\n'
	case 'r':
		c = '\r'
	case 't':
		c = '\t'
	case 'u':
		r, ok := d.hex4()
		if !ok {
			return unknown
		}
		if utf16.IsSurrogate(r) {
			low := rune(-1)
			if d.i+1 < len(d.b) && d.b[d.i] == '\\' && d.b[d.i+1] == 'u' {
				d.i += 2
				low, _ = d.hex4()
			}
			if r = utf16.DecodeRune(r, low); r == utf8.RuneError {
				return "it has half of a surrogate pair"
			}
		}
		d.scratch = utf8.AppendRune(d.scratch, r)
		return ""
	default:
		return unknown
	}
	d.scratch = append(d.scratch, c)
	return ""
}

func (d *decoder) hex4() (rune, bool) {
	if d.i+4 > len(d.b) {
		return -1, false
	}
	var r rune
	for _, c := range d.b[d.i : d.i+4] {
		switch {
		case isDigit(c):
			c -= '0'
		case c >= 'a' && c <= 'f':
			c -= 'a' - 10
		case c >= 'A' && c <= 'F':
			c -= 'A' - 10
		default:
			return -1, false
		}
		r = r<<4 | rune(c)
	}
	d.i += 4
	return r, true
}

// peek returns the next byte, 0 at the end (which no JSON has outside of a string).
func (d *decoder) peek() byte {
	if d.i < len(d.b) {
		return d.b[d.i]
	}
	return 0
}

func (d *decoder) space() {
	if d.peek() <= ' ' { // mostly there is none, and no call is needed to see that
		d.spaces()
	}
}

func (d *decoder) spaces() {
	for d.i < len(d.b) {
		switch d.b[d.i] {
		case ' ', '\t', '\n', '\r':
			d.i++
		default:
			return
		}
	}
}

// excerpt shows what is at i, as much of it as a person wants to see: a string or word whole if it is short.
func (d *decoder) excerpt(i int) string {
	if i >= len(d.b) {
		return "the end of the body"
	}
	b := d.b[i:]
	end := 0
	if b[0] == '"' {
		for end = 1; end < len(b) && b[end] != '"'; end++ {
			if b[end] == '\\' {
				end++
			}
		}
		end = min(end+1, len(b))
	} else {
		for end < len(b) && b[end] != ',' && b[end] != '}' && b[end] > ' ' {
			end++
		}
		end = max(end, 1)
	}
	return Shorten(b[:end])
}

// Shorten makes of b what can be shown in a line of text.
func Shorten(b []byte) string {
	const most = 48
	tail := ""
	if len(b) > most {
		b, tail = b[:most], "…"
	}
	return strings.Map(func(r rune) rune {
		if unicode.IsControl(r) {
			return utf8.RuneError
		}
		return r
	}, strings.ToValidUTF8(string(b), "\ufffd")) + tail
}
