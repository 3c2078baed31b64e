package wire

import (
	"maps"
	"net/url"
	"slices"
	"unicode/utf8"
)

// DecodeQuery decodes the query of a request for op as strictly as a body: unknown and repeated parameters are errors. An empty
// parameter counts as absent. An operation that has its fields in the body takes no parameters.
func (f *Fields) DecodeQuery(op Operation, raw string) *Problem {
	row := &operationRows[op]
	allowed := row.fields
	if row.inBody {
		allowed = 0
	}
	if raw != "" {
		if p := f.query(raw, allowed); p != nil {
			return p
		}
	}
	return f.require(row.required & allowed)
}

func (f *Fields) query(raw string, allowed fieldSet) *Problem {
	values, err := url.ParseQuery(raw)
	if err != nil {
		return invalid("query", "is "+Shorten([]byte(raw)), "name=value, joined by &, other characters as %XX")
	}
	for _, name := range slices.Sorted(maps.Keys(values)) { // so that the same query has the same error every time
		if name == "" {
			return invalid("query", "has a parameter without a name", "the parameters "+allowed.String())
		}
		which, known := allowed.named([]byte(name))
		if !known {
			return invalid(Shorten([]byte(name)), "is not a parameter of this request", "the parameters "+allowed.String())
		}
		if len(values[name]) > 1 {
			return invalid(name, "is repeated", "each parameter once")
		}
		value := []byte(values[name][0])
		if len(value) == 0 {
			continue
		}
		if !utf8.Valid(value) || !f.setParameter(which, value) {
			return invalid(name, "is "+Shorten(value), fieldRows[which].allowed)
		}
		f.given |= 1 << which
	}
	return nil
}

func (f *Fields) setParameter(which Field, value []byte) bool {
	if which.isText() {
		return f.setText(which, value, false)
	}
	n, length := scanNumber(value)
	return length == len(value) && f.setNumber(which, n)
}
