package httpapi

import (
	"net/http"
	"net/url"
	"slices"
	"unicode/utf8"

	"github.com/lockserver/lockserver/server/internal/lock"
)

// queryField tells which field a parameter of a request's query is, among those it may have.
func queryField(name string, allowed fieldSet) (field, bool) {
	for f := range fieldCount {
		if allowed.has(f) && f.String() == name {
			return f, true
		}
	}
	return 0, false
}

// query decodes the query of a request as strictly as a body: unknown and repeated parameters are errors. An empty one is absent.
func query(r *http.Request, allowed fieldSet) (fields, lock.Query, *invalid) {
	f, q := fields{}, lock.Query{Limit: defaultPage}
	if r.URL.RawQuery == "" {
		return f, q, nil
	}
	values, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil {
		return f, q, &invalid{"query", "is " + shorten([]byte(r.URL.RawQuery)), "name=value, joined by &, other characters as %XX"}
	}
	names := make([]string, 0, len(values))
	for name := range values {
		names = append(names, name)
	}
	slices.Sort(names) // so that the same query has the same error every time
	for _, name := range names {
		if name == "" {
			return f, q, &invalid{"query", "has a parameter without a name", "the parameters " + allowed.String()}
		}
		which, known := queryField(name, allowed)
		if !known {
			return f, q, &invalid{shorten([]byte(name)), "is not a parameter of this request", "the parameters " + allowed.String()}
		}
		if len(values[name]) > 1 {
			return f, q, &invalid{name, "is repeated", "each parameter once"}
		}
		value := values[name][0]
		if value == "" {
			continue
		}
		if !setParameter(&f, &q, which, value) {
			return f, q, &invalid{name, "is " + shorten([]byte(value)), which.allowed()}
		}
		f.given |= 1 << which
	}
	return f, q, nil
}

func setParameter(f *fields, q *lock.Query, which field, value string) bool {
	if !utf8.ValidString(value) {
		return false
	}
	switch which {
	case fieldPrefix:
		q.Prefix = value
		return len(value) <= maxResource && !hasControl(value)
	case fieldCursor:
		q.Cursor = value
		return len(value) <= maxCursor
	case fieldPageLimit:
		n, ok := wholeNumber(value, maxPage)
		q.Limit = int(n)
		return ok && n >= 1
	case fieldToken:
		n, ok := wholeNumber(value, maxToken)
		f.token = n
		return ok && n >= 1
	}
	return f.setString(which, []byte(value))
}

func wholeNumber(value string, most int64) (int64, bool) {
	n, length := scanNumber([]byte(value))
	if length != len(value) {
		return 0, false
	}
	return n.integer(most)
}

// noQuery refuses a query where the body says all.
func noQuery(r *http.Request) *invalid {
	if r.URL.RawQuery == "" {
		return nil
	}
	_, _, err := query(r, 0)
	return err
}
