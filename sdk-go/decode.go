package lockserver

import (
	"bytes"
	"encoding/json"
	"strconv"
	"unicode/utf8"
)

// The answers that a program gets most are decoded here where they are written plainly, as a lockserver does. All others are left to
// encoding/json, which takes several times as long.

// plainReply is a reply that can decode itself.
type plainReply interface {
	// readPlain does what encoding/json would, or returns false and does nothing.
	readPlain(body []byte) bool
}

func (g *grantAnswer) readPlain(body []byte) bool {
	token, waited, expiresIn, ever := g.Token, g.Waited, 0.0, g.ExpiresIn != nil
	if ever {
		expiresIn = *g.ExpiresIn
	}
	if !plainMembers(body, func(name, value []byte) (ok bool) {
		switch string(name) {
		case "seq", "status", "resource", "owner", "id", "mode", "limit":
			ok = true
		case "token":
			token, ok = plainInteger(value)
		case "waited":
			waited, ok = plainSeconds(value)
		case "expires_in":
			if ever = string(value) != "null"; !ever {
				return true
			}
			expiresIn, ok = plainSeconds(value)
		}
		return ok
	}) {
		return false
	}
	g.Token, g.Waited = token, waited
	g.ExpiresIn = nil
	if ever {
		g.seconds, g.ExpiresIn = expiresIn, &g.seconds
	}
	return true
}

func (r *releaseAnswer) readPlain(body []byte) bool {
	outcome := r.Outcome
	if !plainMembers(body, func(name, value []byte) bool {
		switch string(name) {
		case "seq", "status", "resource", "owner", "token":
			return true
		case "outcome":
			switch string(value) {
			case `"released"`:
				outcome = "released"
				return true
			case `"cancelled"`:
				outcome = "cancelled"
				return true
			}
		}
		return false
	}) {
		return false
	}
	r.Outcome = outcome
	return true
}

// plainMembers calls take with the members of an object. It returns false if take does, or if there is anything but strings without
// escapes, numbers without exponents, and null, or any space between them.
func plainMembers(b []byte, take func(name, value []byte) bool) bool {
	if len(b) == 0 || b[0] != '{' || !utf8.Valid(b) {
		return false
	}
	rest := b
	for rest[0] != '}' {
		name, after := cutString(rest[1:]) // behind the bracket or a comma
		if name == nil || len(after) == 0 || after[0] != ':' {
			return false
		}
		value, after := cutScalar(after[1:])
		if value == nil || len(after) == 0 || after[0] != ',' && after[0] != '}' || !take(name[1:len(name)-1], value) {
			return false
		}
		rest = after
	}
	return len(rest) == 1 || string(rest) == "}\n"
}

// cutScalar cuts off a string, a number, or null; its value is nil if there is none.
func cutScalar(b []byte) (value, rest []byte) {
	if bytes.HasPrefix(b, []byte("null")) {
		return b[:4], b[4:]
	}
	if value, rest = cutString(b); value != nil {
		return value, rest
	}
	n := digits(b)
	if n == 0 || n > 1 && b[0] == '0' {
		return nil, nil
	}
	if n < len(b) && b[n] == '.' {
		fraction := digits(b[n+1:])
		if fraction == 0 {
			return nil, nil
		}
		n += 1 + fraction
	}
	return b[:n], b[n:]
}

// cutString cuts off a string with its quotes.
func cutString(b []byte) (value, rest []byte) {
	if len(b) == 0 || b[0] != '"' {
		return nil, nil
	}
	for i := 1; i < len(b); i++ {
		switch c := b[i]; {
		case c == '"':
			return b[:i+1], b[i+1:]
		case c == '\\' || c < ' ':
			return nil, nil
		}
	}
	return nil, nil
}

// digits counts those at the beginning.
func digits(b []byte) int {
	for i, c := range b {
		if c < '0' || c > '9' {
			return i
		}
	}
	return len(b)
}

func plainInteger(value []byte) (n int64, ok bool) {
	if digits(value) < len(value) {
		return 0, false
	}
	n, err := strconv.ParseInt(string(value), 10, 64)
	return n, err == nil
}

func plainSeconds(value []byte) (seconds float64, ok bool) {
	if digits(value) == 0 {
		return 0, false
	}
	seconds, err := strconv.ParseFloat(string(value), 64)
	return seconds, err == nil
}

// onlyOurNames drops the members, at any depth, that have other names than the contract's, which are in lower case: encoding/json would
// take "Token" for "token".
func onlyOurNames(body []byte) []byte {
	if !hasForeignName(body) || !json.Valid(body) {
		return body
	}
	var object any
	members := json.NewDecoder(bytes.NewReader(body))
	members.UseNumber()
	if members.Decode(&object) != nil {
		return body
	}
	dropForeign(object)
	ours, err := json.Marshal(object)
	if err != nil {
		return body
	}
	return ours
}

// hasForeignName looks at what stands between a quote and one that a colon follows. It may be wrong about a name with a quote in it,
// which is none of ours either way.
func hasForeignName(body []byte) bool {
	for {
		open := bytes.IndexByte(body, '"')
		if open < 0 {
			return false
		}
		body = body[open+1:]
		length := bytes.IndexByte(body, '"')
		if length < 0 {
			return false
		}
		if after := bytes.TrimLeft(body[length+1:], " \t\r\n"); len(after) > 0 && after[0] == ':' && isForeign(string(body[:length])) {
			return true
		}
		body = body[length:]
	}
}

func dropForeign(value any) {
	switch value := value.(type) {
	case []any:
		for _, element := range value {
			dropForeign(element)
		}
	case map[string]any:
		for name, member := range value {
			if isForeign(name) {
				delete(value, name)
			}
			dropForeign(member)
		}
	}
}

func isForeign(name string) bool {
	for i := range len(name) {
		if c := name[i]; (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '_' {
			return true
		}
	}
	return false
}
