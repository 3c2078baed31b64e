package lockserver

import (
	"encoding/json"
	"strconv"
)

// The requests that a program makes most are encoded here, as encoding/json would: it takes several times as long.

// encoder is a request that encodes itself.
type encoder interface {
	appendTo(b []byte) []byte
}

// appendRequest appends a request as a JSON object.
func appendRequest(b []byte, request any) ([]byte, error) {
	if e, ok := request.(encoder); ok {
		return e.appendTo(b), nil
	}
	body, err := json.Marshal(request)
	return append(b, body...), err
}

func (r *acquireRequest) appendTo(b []byte) []byte {
	b = appendNames(b, r.Resource, r.Owner)
	b = appendSeconds(b, `,"expire":`, r.Expire)
	b = appendSeconds(b, `,"wait":`, r.Wait)
	b = appendMember(b, `,"id":`, r.ID)
	b = appendMember(b, `,"mode":`, r.Mode)
	b = appendNumber(b, `,"limit":`, int64(r.Limit))
	b = appendMember(b, `,"note":`, r.Note)
	return append(b, '}')
}

func (r *releaseRequest) appendTo(b []byte) []byte {
	b = appendNames(b, r.Resource, r.Owner)
	b = appendNumber(b, `,"token":`, r.Token)
	b = appendMember(b, `,"id":`, r.ID)
	return append(b, '}')
}

func (r *renewRequest) appendTo(b []byte) []byte {
	b = appendNames(b, r.Resource, r.Owner)
	b = appendNumber(b, `,"token":`, r.Token)
	b = appendMember(b, `,"id":`, r.ID)
	b = appendSeconds(b, `,"expire":`, r.Expire)
	return append(b, '}')
}

func appendNames(b []byte, resource, owner string) []byte {
	b = appendString(append(b, `{"resource":`...), resource)
	return appendString(append(b, `,"owner":`...), owner)
}

func appendMember(b []byte, name, value string) []byte {
	if value == "" {
		return b
	}
	return appendString(append(b, name...), value)
}

func appendNumber(b []byte, name string, n int64) []byte {
	if n == 0 {
		return b
	}
	return strconv.AppendInt(append(b, name...), n, 10)
}

func appendSeconds(b []byte, name string, seconds float64) []byte {
	if seconds == 0 {
		return b
	}
	return strconv.AppendFloat(append(b, name...), seconds, 'f', -1, 64)
}

func appendString(b []byte, s string) []byte {
	for i := range len(s) {
		if c := s[i]; c < ' ' || c > '~' || c == '"' || c == '\\' {
			text, err := json.Marshal(s)
			if err != nil {
				panic(err) // it has no way to fail with a string
			}
			return append(b, text...)
		}
	}
	return append(append(append(b, '"'), s...), '"')
}
