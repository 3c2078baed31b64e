package wire

import (
	"strconv"
	"time"
	"unicode/utf8"

	"github.com/lockserver/lockserver/server/internal/lock"
)

// The functions here append JSON to b and return it, as those of strconv do.

// AppendString appends s, which need not be valid UTF-8, as a JSON string.
func AppendString(b []byte, s string) []byte {
	const hex = "0123456789abcdef"
	b = append(b, '"')
	start := 0
	for i := 0; i < len(s); {
		c := s[i]
		if c >= utf8.RuneSelf {
			r, size := utf8.DecodeRuneInString(s[i:])
			if r == utf8.RuneError && size == 1 {
				b = append(b, s[start:i]...)
				b = append(b, "\ufffd"...)
				start = i + 1
			}
			i += size
			continue
		}
		if c >= ' ' && c != '"' && c != '\\' && c != 0x7f {
			i++
			continue
		}
		b = append(b, s[start:i]...)
		switch c {
		case '"', '\\':
			b = append(b, '\\', c)
		case '\n':
			b = append(b, '\\', 'n')
		case '\t':
			b = append(b, '\\', 't')
		default:
			b = append(b, '\\', 'u', '0', '0', hex[c>>4], hex[c&15])
		}
		i++
		start = i
	}
	b = append(b, s[start:]...)
	return append(b, '"')
}

// appendOptional appends s, or null for "".
func appendOptional(b []byte, s string) []byte {
	if s == "" {
		return append(b, "null"...)
	}
	return AppendString(b, s)
}

// appendSeconds appends d in seconds, rounded down to 1 ms.
func appendSeconds(b []byte, d time.Duration) []byte {
	ms := max(d.Milliseconds(), 0)
	b = strconv.AppendInt(b, ms/1000, 10)
	if ms %= 1000; ms == 0 {
		return b
	}
	b = append(b, '.', byte('0'+ms/100), byte('0'+ms/10%10), byte('0'+ms%10))
	for b[len(b)-1] == '0' {
		b = b[:len(b)-1]
	}
	return b
}

// appendTimeLeft appends the time left of a lease, or null if the lock has none.
func appendTimeLeft(b []byte, d time.Duration) []byte {
	if d == lock.NoLease {
		return append(b, "null"...)
	}
	return appendSeconds(b, d)
}

// appendToken appends a token, or null for 0.
func appendToken(b []byte, token int64) []byte {
	if token == 0 {
		return append(b, "null"...)
	}
	return strconv.AppendInt(b, token, 10)
}

// appendKind appends the members mode and limit: one of them, the other null.
func appendKind(b []byte, mode lock.Mode, limit int32) []byte {
	switch mode {
	case lock.Semaphore:
		b = append(b, `"mode":null,"limit":`...)
		return strconv.AppendInt(b, int64(limit), 10)
	case lock.Shared:
		return append(b, `"mode":"shared","limit":null`...)
	default:
		return append(b, `"mode":"exclusive","limit":null`...)
	}
}

// AppendGrant appends the answer to an acquire or renew that holds the lock.
func AppendGrant(b []byte, resource, owner string, a *lock.Answer) []byte {
	b = append(b, `{"resource":`...)
	b = AppendString(b, resource)
	b = append(b, `,"owner":`...)
	b = AppendString(b, owner)
	b = append(b, `,"id":`...)
	b = appendOptional(b, a.ID)
	b = append(b, `,"token":`...)
	b = appendToken(b, a.Token)
	b = append(b, ',')
	b = appendKind(b, a.Mode, a.Limit)
	b = append(b, `,"expires_in":`...)
	b = appendTimeLeft(b, a.ExpiresIn)
	b = append(b, `,"waited":`...)
	b = appendSeconds(b, a.Waited)
	return append(b, "}\n"...)
}

// AppendQueued appends the answer to an acquire that keeps its place.
func AppendQueued(b []byte, id string, a *lock.Answer) []byte {
	b = append(b, `{"id":`...)
	b = AppendString(b, id)
	b = append(b, `,"position":`...)
	b = strconv.AppendInt(b, int64(a.Position), 10)
	b = append(b, `,"place_kept":`...)
	b = appendSeconds(b, a.PlaceKept)
	b = appendInTheWay(b, a.Detail)
	return append(b, "}\n"...)
}

// ReleaseOutcome says what a release did.
func ReleaseOutcome(a *lock.Answer) string {
	if a.Code == lock.Cancelled {
		return "cancelled"
	}
	return "released"
}

// AppendReleased appends the answer to a successful release.
func AppendReleased(b []byte, resource, owner string, a *lock.Answer) []byte {
	b = append(b, `{"resource":`...)
	b = AppendString(b, resource)
	b = append(b, `,"owner":`...)
	b = AppendString(b, owner)
	b = append(b, `,"token":`...)
	b = appendToken(b, a.Token)
	b = append(b, `,"outcome":`...)
	b = AppendString(b, ReleaseOutcome(a))
	return append(b, "}\n"...)
}

// appendHolder appends a holder as GET /lock shows it.
func appendHolder(b []byte, h *lock.Holder) []byte {
	b = append(b, `{"owner":`...)
	b = AppendString(b, h.Owner)
	b = append(b, `,"id":`...)
	b = appendOptional(b, h.ID)
	b = append(b, `,"token":`...)
	b = appendToken(b, h.Token)
	b = append(b, `,"note":`...)
	b = appendOptional(b, h.Note)
	b = append(b, `,"held_for":`...)
	b = appendSeconds(b, h.HeldFor)
	b = append(b, `,"expires_in":`...)
	b = appendTimeLeft(b, h.ExpiresIn)
	return append(b, '}')
}

// appendRival appends a holder as a client that did not get the lock sees it: without id and note.
func appendRival(b []byte, h *lock.Holder) []byte {
	b = append(b, `{"owner":`...)
	b = AppendString(b, h.Owner)
	b = append(b, `,"token":`...)
	b = appendToken(b, h.Token)
	b = append(b, `,"held_for":`...)
	b = appendSeconds(b, h.HeldFor)
	b = append(b, `,"expires_in":`...)
	b = appendTimeLeft(b, h.ExpiresIn)
	return append(b, '}')
}

// appendInTheWay appends the members that tell a client that did not get the lock who holds it and how many wait.
func appendInTheWay(b []byte, d *lock.Detail) []byte {
	b = append(b, `,"holders":`...)
	b = appendHolders(b, d.Holders, appendRival)
	return appendCounts(b, d.HoldersTotal, d.Waiters)
}

func appendHolders(b []byte, holders []lock.Holder, one func([]byte, *lock.Holder) []byte) []byte {
	b = append(b, '[')
	for i := range holders {
		if i > 0 {
			b = append(b, ',')
		}
		b = one(b, &holders[i])
	}
	return append(b, ']')
}

// appendCounts appends the members that say how many hold a lock and wait for it.
func appendCounts(b []byte, holders, waiters int) []byte {
	b = append(b, `,"holders_total":`...)
	b = strconv.AppendInt(b, int64(holders), 10)
	b = append(b, `,"waiters":`...)
	return strconv.AppendInt(b, int64(waiters), 10)
}

// appendLock appends a lock as GET /locks shows it, but for the closing brace.
func appendLock(b []byte, l *lock.Lock) []byte {
	b = append(b, `{"resource":`...)
	b = AppendString(b, l.Resource)
	b = append(b, ',')
	b = appendKind(b, l.Mode, l.Limit)
	b = append(b, `,"holders":`...)
	b = appendHolders(b, l.Holders, appendHolder)
	return appendCounts(b, l.HoldersTotal, l.Waiters)
}

// AppendLockAndQueue appends the answer to a look at one lock.
func AppendLockAndQueue(b []byte, d *lock.Detail) []byte {
	b = appendLock(b, &d.Locks[0])
	b = append(b, `,"queue":[`...)
	for i := range d.Queue {
		w := &d.Queue[i]
		if i > 0 {
			b = append(b, ',')
		}
		b = append(b, `{"position":`...)
		b = strconv.AppendInt(b, int64(w.Position), 10)
		b = append(b, `,"owner":`...)
		b = AppendString(b, w.Owner)
		b = append(b, `,"id":`...)
		b = appendOptional(b, w.ID)
		b = append(b, `,"note":`...)
		b = appendOptional(b, w.Note)
		b = append(b, `,"waited":`...)
		b = appendSeconds(b, w.Waited)
		b = append(b, `,"present":`...)
		b = strconv.AppendBool(b, w.Present)
		b = append(b, '}')
	}
	return append(b, "]}\n"...)
}

// AppendPage appends the answer to a look at many locks.
func AppendPage(b []byte, d *lock.Detail) []byte {
	b = append(b, `{"locks":[`...)
	for i := range d.Locks {
		if i > 0 {
			b = append(b, ',')
		}
		b = append(appendLock(b, &d.Locks[i]), '}')
	}
	b = append(b, `],"next":`...)
	b = appendOptional(b, d.Next)
	return append(b, "}\n"...)
}

// AppendEvicted appends the answer to a force release.
func AppendEvicted(b []byte, resource string, d *lock.Detail) []byte {
	b = append(b, `{"resource":`...)
	b = AppendString(b, resource)
	b = append(b, `,"evicted":`...)
	b = appendHolders(b, d.Holders, appendHolder)
	return append(b, "}\n"...)
}
