package wire

import (
	"math/bits"
	"strings"
	"time"
	"unicode"

	"github.com/lockserver/lockserver/server/internal/lock"
)

// Field is a member of a request, in its body or its query. The table of fields is generated from the contract.
type Field uint8

type fieldKind uint8

const (
	kindString fieldKind = iota
	kindChoice
	kindInteger
	kindSeconds
)

type fieldRow struct {
	name     string
	kind     fieldKind
	min, max int64    // bytes of a string; least and greatest number; seconds: least in ms, greatest in s
	capped   bool     // a greater number counts as max
	control  bool     // control characters may be in it
	of       []string // what a choice is among
	absent   int64    // the value of a field that is absent
	allowed  string   // for the error message
}

func (f Field) String() string { return fieldRows[f].name }

// fieldSet is a set of fields.
type fieldSet uint32

func (s fieldSet) has(f Field) bool { return s&(1<<f) != 0 }

// first returns the first field of the set that is accepted.
func (s fieldSet) first(accept func(Field) bool) (Field, bool) {
	for ; s != 0; s &= s - 1 {
		if f := Field(bits.TrailingZeros32(uint32(s))); accept(f) {
			return f, true
		}
	}
	return 0, false
}

// named returns the field of the set that has this name.
func (s fieldSet) named(name []byte) (Field, bool) {
	if len(name) >= len(ofLength) {
		return 0, false
	}
	for s &= ofLength[len(name)]; s != 0; s &= s - 1 {
		if f := Field(bits.TrailingZeros32(uint32(s))); fieldRows[f].name == string(name) {
			return f, true
		}
	}
	return 0, false
}

// ofLength are the fields whose names have that many bytes.
var ofLength = func() (sets []fieldSet) {
	for f := range fieldRows {
		n := len(fieldRows[f].name)
		sets = append(sets, make([]fieldSet, max(0, n+1-len(sets)))...)
		sets[n] |= 1 << f
	}
	return sets
}()

func (s fieldSet) String() string {
	var names []string
	s.first(func(f Field) bool { names = append(names, f.String()); return false })
	if names == nil {
		return "none"
	}
	return strings.Join(names, ", ")
}

// Fields are the members of a request, each checked by itself.
type Fields struct {
	given  fieldSet
	text   [fieldCount]string
	number [fieldCount]int64 // choices: which one of them; seconds: in ms
}

// Has reports whether the field was given and is not null.
func (f *Fields) Has(which Field) bool { return f.given.has(which) }

// Text returns a string field, or "" if it is absent.
func (f *Fields) Text(which Field) string {
	if !f.Has(which) {
		return ""
	}
	return f.text[which]
}

// reset makes all fields absent. The texts stay: if the next request has the same, it needs no copy.
func (f *Fields) reset() {
	f.given = 0
	clear(f.number[:])
}

// Number returns an integer, or the index of a choice. For a field that is absent it returns the contract's default, which is mostly 0.
func (f *Fields) Number(which Field) int64 {
	if !f.Has(which) {
		return fieldRows[which].absent
	}
	return f.number[which]
}

// Duration returns a number of seconds, rounded up to 1 ms, or 0 if it is absent.
func (f *Fields) Duration(which Field) time.Duration {
	return time.Duration(f.number[which]) * time.Millisecond
}

// Acquire checks that the fields fit together, and returns the request they make.
func (f *Fields) Acquire() (lock.Request, *Problem) {
	req := lock.Request{
		Resource: f.Text(FieldResource), Owner: f.Text(FieldOwner), ID: f.Text(FieldID), Note: f.Text(FieldNote),
		Limit: int32(f.Number(FieldLimit)), Expire: f.Duration(FieldExpire), Wait: f.Duration(FieldWait),
		MaxHold: f.Duration(FieldMaxHold),
	}
	switch {
	case f.Has(FieldLimit) && f.Has(FieldMode):
		return req, invalid(FieldLimit.String(), "is given together with mode", "one of limit and mode")
	case f.Has(FieldLimit):
		req.Mode = lock.Semaphore
	case f.Number(FieldMode) == 1:
		req.Mode = lock.Shared
	}
	return req, nil
}

// Ref returns the grant that the fields name.
func (f *Fields) Ref() lock.Ref {
	return lock.Ref{Resource: f.Text(FieldResource), Owner: f.Text(FieldOwner), ID: f.Text(FieldID), Token: f.Number(FieldToken)}
}

// Query returns the question about many locks that the fields make.
func (f *Fields) Query() lock.Query {
	return lock.Query{
		Owner: f.Text(FieldOwner), Prefix: f.Text(FieldPrefix), Cursor: f.Text(FieldCursor), Size: int(f.Number(FieldPageLimit)),
	}
}

// require returns a problem if one of the fields is missing.
func (f *Fields) require(required fieldSet) *Problem {
	for missing := required &^ f.given; missing != 0; {
		which := Field(bits.TrailingZeros32(uint32(missing)))
		return invalid(which.String(), "is missing", fieldRows[which].allowed)
	}
	return nil
}

// setText sets a string or choice, which may be known to be plain, and reports whether the field allows it. The caller may reuse s.
func (f *Fields) setText(which Field, s []byte, isPlain bool) bool {
	row := &fieldRows[which]
	if row.kind == kindChoice {
		for i, choice := range row.of {
			if choice == string(s) {
				f.number[which] = int64(i)
				return true
			}
		}
		return false
	}
	if int64(len(s)) < row.min || int64(len(s)) > row.max {
		return false
	}
	if f.text[which] != string(s) {
		f.text[which] = string(s)
	}
	return isPlain || row.control || !hasControl(f.text[which])
}

// setNumber sets a number and reports whether the field allows it.
func (f *Fields) setNumber(which Field, n number) (ok bool) {
	row := &fieldRows[which]
	v := &f.number[which]
	if row.kind == kindSeconds {
		*v, ok = n.ceilMillis(row.max * 1000)
	} else {
		*v, ok = n.integer(row.max)
	}
	return (ok || row.capped && !n.negative) && *v >= row.min
}

func (f Field) isText() bool { return fieldRows[f].kind <= kindChoice }

func hasControl(s string) bool {
	for i := range len(s) {
		if c := s[i]; c < ' ' || c >= 0x7f {
			return strings.ContainsFunc(s[i:], unicode.IsControl)
		}
	}
	return false
}
