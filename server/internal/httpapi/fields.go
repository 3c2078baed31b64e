package httpapi

import (
	"strings"
	"time"
	"unicode"

	"github.com/lockserver/lockserver/server/internal/lock"
)

// field is a member of a request, in its body or its query.
type field uint8

const (
	fieldResource field = iota
	fieldOwner
	fieldExpire
	fieldWait
	fieldID
	fieldMode
	fieldLimit
	fieldNote
	fieldToken
	fieldPrefix
	fieldCursor
	fieldPageLimit
	fieldCount
)

// fieldSet is a set of fields.
type fieldSet uint16

func setOf(fields ...field) fieldSet {
	var s fieldSet
	for _, f := range fields {
		s |= 1 << f
	}
	return s
}

func (s fieldSet) has(f field) bool { return s&(1<<f) != 0 }

func (s fieldSet) String() string {
	var names []string
	for f := range fieldCount {
		if s.has(f) {
			names = append(names, f.String())
		}
	}
	if len(names) == 0 {
		return "none"
	}
	return strings.Join(names, ", ")
}

const (
	maxResource = 512
	maxOwner    = 256
	maxID       = 64
	maxNote     = 1024
	maxCursor   = 2048
	maxPermits  = 1_000_000
	maxToken    = 1<<53 - 1
	maxExpireMS = 10 * 365 * 24 * 3600 * 1000
	maxPage     = 1000
	defaultPage = 100
)

func (f field) String() string {
	switch f {
	case fieldResource:
		return "resource"
	case fieldOwner:
		return "owner"
	case fieldExpire:
		return "expire"
	case fieldWait:
		return "wait"
	case fieldID:
		return "id"
	case fieldMode:
		return "mode"
	case fieldLimit, fieldPageLimit:
		return "limit"
	case fieldNote:
		return "note"
	case fieldToken:
		return "token"
	case fieldPrefix:
		return "prefix"
	case fieldCursor:
		return "cursor"
	}
	return "body"
}

// allowed says what a field may be, for the person who got it wrong.
func (f field) allowed() string {
	switch f {
	case fieldResource:
		return "a string of 1 to 512 bytes of UTF-8 without control characters"
	case fieldOwner:
		return "a string of 1 to 256 bytes of UTF-8 without control characters"
	case fieldExpire:
		return "a number of seconds greater than 0 and at most 315360000 (10 years), or null"
	case fieldWait:
		return "a number of seconds, 0 or more, or null"
	case fieldID:
		return "a string of 1 to 64 bytes of UTF-8, or null"
	case fieldMode:
		return `"exclusive", "shared" or null`
	case fieldLimit:
		return "a whole number from 1 to 1000000, or null"
	case fieldNote:
		return "a string of at most 1024 bytes of UTF-8, or null"
	case fieldToken:
		return "a whole number from 1 to 9007199254740991, or null"
	case fieldPrefix:
		return "at most 512 bytes of UTF-8 without control characters"
	case fieldCursor:
		return "what next was on the page before"
	case fieldPageLimit:
		return "a whole number from 1 to 1000"
	}
	return "one JSON object in UTF-8"
}

// fields are the members of a request, each checked by itself. Those that are absent have their zero value.
type fields struct {
	given    fieldSet
	resource string
	owner    string
	id       string
	note     string
	expire   time.Duration
	wait     time.Duration
	mode     lock.Mode
	limit    int32
	token    int64
}

// acquire checks the fields together, and makes a request of them.
func (f *fields) acquire() (lock.Request, *invalid) {
	if err := f.require(fieldResource, fieldOwner); err != nil {
		return lock.Request{}, err
	}
	req := lock.Request{
		Resource: f.resource, Owner: f.owner, ID: f.id, Note: f.note,
		Mode: f.mode, Limit: f.limit, Expire: f.expire, Wait: f.wait,
	}
	if f.given.has(fieldLimit) {
		if f.given.has(fieldMode) {
			return lock.Request{}, &invalid{"limit", "is given together with mode", "one of limit and mode"}
		}
		req.Mode = lock.Semaphore
	}
	return req, nil
}

// ref checks the fields together, and makes of them the name of a grant.
func (f *fields) ref() (lock.Ref, *invalid) {
	if err := f.require(fieldResource, fieldOwner); err != nil {
		return lock.Ref{}, err
	}
	return lock.Ref{Resource: f.resource, Owner: f.owner, ID: f.id, Token: f.token}, nil
}

func (f *fields) require(required ...field) *invalid {
	for _, r := range required {
		if !f.given.has(r) {
			return &invalid{r.String(), "is missing", r.allowed()}
		}
	}
	return nil
}

// setString takes over the string of a field if the field allows it. s may be reused by the caller.
func (f *fields) setString(which field, s []byte) bool {
	switch which {
	case fieldResource:
		f.resource = string(s)
		return len(s) >= 1 && len(s) <= maxResource && !hasControl(f.resource)
	case fieldOwner:
		f.owner = string(s)
		return len(s) >= 1 && len(s) <= maxOwner && !hasControl(f.owner)
	case fieldID:
		f.id = string(s)
		return len(s) >= 1 && len(s) <= maxID
	case fieldNote:
		f.note = string(s)
		return len(s) <= maxNote
	case fieldMode:
		switch string(s) {
		case "exclusive":
			f.mode = lock.Exclusive
			return true
		case "shared":
			f.mode = lock.Shared
			return true
		}
	}
	return false
}

// setNumber takes over the number of a field if the field allows it.
func (f *fields) setNumber(which field, n number) bool {
	switch which {
	case fieldExpire:
		ms, ok := n.ceilMillis(maxExpireMS)
		f.expire = time.Duration(ms) * time.Millisecond
		return ok && ms > 0
	case fieldWait:
		// The engine caps a wait anyway, so one that is longer than the longest lease is as good as that.
		ms, ok := n.ceilMillis(maxExpireMS)
		f.wait = time.Duration(ms) * time.Millisecond
		return ok || !n.negative
	case fieldLimit:
		v, ok := n.integer(maxPermits)
		f.limit = int32(v)
		return ok && v >= 1
	case fieldToken:
		v, ok := n.integer(maxToken)
		f.token = v
		return ok && v >= 1
	}
	return false
}

func hasControl(s string) bool {
	for i := range len(s) {
		if c := s[i]; c < ' ' || c >= 0x7f {
			return strings.ContainsFunc(s[i:], unicode.IsControl)
		}
	}
	return false
}

func (f field) isString() bool {
	return setOf(fieldResource, fieldOwner, fieldID, fieldMode, fieldNote).has(f)
}
