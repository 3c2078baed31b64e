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
	capped   bool     // a greater number is taken for max
	control  bool     // control characters may be in it
	of       []string // what a choice is among
	absent   int64    // what stands for it if it is absent, unless that is 0
	allowed  string   // for the person who got it wrong
}

func (f Field) String() string { return fieldRows[f].name }

// fieldSet is a set of fields.
type fieldSet uint16

func (s fieldSet) has(f Field) bool { return s&(1<<f) != 0 }

// first returns the first field of the set that is accepted.
func (s fieldSet) first(accept func(Field) bool) (Field, bool) {
	for ; s != 0; s &= s - 1 {
		if f := Field(bits.TrailingZeros16(uint16(s))); accept(f) {
			return f, true
		}
	}
	return 0, false
}

// named returns the field of the set that has this name.
func (s fieldSet) named(name []byte) (Field, bool) {
	return s.first(func(f Field) bool { return fieldRows[f].name == string(name) })
}

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

// Has tells whether the field was given, and not as null.
func (f *Fields) Has(which Field) bool { return f.given.has(which) }

// Text is a string; "" if it is absent.
func (f *Fields) Text(which Field) string { return f.text[which] }

// Number is a whole number, or which one of its choices a choice is; if it is absent, what stands for that in the contract, else 0.
func (f *Fields) Number(which Field) int64 {
	if !f.Has(which) {
		return fieldRows[which].absent
	}
	return f.number[which]
}

// Duration is a time, rounded up to 1 ms; 0 if it is absent.
func (f *Fields) Duration(which Field) time.Duration {
	return time.Duration(f.number[which]) * time.Millisecond
}

// Acquire checks the fields together, and makes a request of them.
func (f *Fields) Acquire() (lock.Request, *Problem) {
	req := lock.Request{
		Resource: f.Text(FieldResource), Owner: f.Text(FieldOwner), ID: f.Text(FieldID), Note: f.Text(FieldNote),
		Limit: int32(f.Number(FieldLimit)), Expire: f.Duration(FieldExpire), Wait: f.Duration(FieldWait),
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

// Ref makes of the fields the name of a grant.
func (f *Fields) Ref() lock.Ref {
	return lock.Ref{Resource: f.Text(FieldResource), Owner: f.Text(FieldOwner), ID: f.Text(FieldID), Token: f.Number(FieldToken)}
}

// Query makes of the fields a question about many locks.
func (f *Fields) Query() lock.Query {
	return lock.Query{
		Owner: f.Text(FieldOwner), Prefix: f.Text(FieldPrefix), Cursor: f.Text(FieldCursor), Limit: int(f.Number(FieldPageLimit)),
	}
}

// require says which of the fields is missing.
func (f *Fields) require(required fieldSet) *Problem {
	for missing := required &^ f.given; missing != 0; {
		which := Field(bits.TrailingZeros16(uint16(missing)))
		return invalid(which.String(), "is missing", fieldRows[which].allowed)
	}
	return nil
}

// setText takes over the string or choice of a field if the field allows it. s may be reused by the caller.
func (f *Fields) setText(which Field, s []byte) bool {
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
	f.text[which] = string(s)
	return row.control || !hasControl(f.text[which])
}

// setNumber takes over the number of a field if the field allows it.
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
