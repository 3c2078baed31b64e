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

// Those that take a key append one member of an object. The key comes with what stands around it: `,"owner":`.

func appendText(b []byte, key, s string) []byte { return AppendString(append(b, key...), s) }

func appendInt(b []byte, key string, n int64) []byte {
	return strconv.AppendInt(append(b, key...), n, 10)
}

// appendOptional appends s, or null for "".
func appendOptional(b []byte, key, s string) []byte {
	if s == "" {
		return append(append(b, key...), "null"...)
	}
	return appendText(b, key, s)
}

// appendToken appends a token, or null for 0.
func appendToken(b []byte, key string, token int64) []byte {
	if token == 0 {
		return append(append(b, key...), "null"...)
	}
	return appendInt(b, key, token)
}

// appendSeconds appends d in seconds, rounded down to 1 ms.
func appendSeconds(b []byte, key string, d time.Duration) []byte {
	ms := max(d.Milliseconds(), 0)
	b = appendInt(b, key, ms/1000)
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
func appendTimeLeft(b []byte, key string, d time.Duration) []byte {
	if d == lock.NoLease {
		return append(append(b, key...), "null"...)
	}
	return appendSeconds(b, key, d)
}

// appendKind appends the members mode and limit: one of them, the other null.
func appendKind(b []byte, mode lock.Mode, limit int32) []byte {
	switch mode {
	case lock.Semaphore:
		return appendInt(b, `,"mode":null,"limit":`, int64(limit))
	case lock.Shared:
		return append(b, `,"mode":"shared","limit":null`...)
	default:
		return append(b, `,"mode":"exclusive","limit":null`...)
	}
}

// AppendGrant appends the answer to an acquire or renew that holds the lock.
func AppendGrant(b []byte, resource, owner string, a *lock.Answer) []byte {
	b = appendText(b, `{"resource":`, resource)
	b = appendText(b, `,"owner":`, owner)
	b = appendOptional(b, `,"id":`, a.ID)
	b = appendToken(b, `,"token":`, a.Token)
	b = appendKind(b, a.Mode, a.Limit)
	b = appendTimeLeft(b, `,"expires_in":`, a.ExpiresIn)
	b = appendSeconds(b, `,"waited":`, a.Waited)
	b = appendHoldLeft(b, a.HoldLeft)
	if a.YieldTo != "" {
		b = appendText(b, `,"yield_to":`, a.YieldTo)
	}
	return append(b, "}\n"...)
}

// AppendQueued appends the answer to an acquire that keeps its place.
func AppendQueued(b []byte, id string, a *lock.Answer) []byte {
	b = appendText(b, `{"id":`, id)
	b = appendInt(b, `,"position":`, int64(a.Position))
	b = appendSeconds(b, `,"place_kept":`, a.PlaceKept)
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
	b = appendText(b, `{"resource":`, resource)
	b = appendText(b, `,"owner":`, owner)
	b = appendToken(b, `,"token":`, a.Token)
	b = appendText(b, `,"outcome":`, ReleaseOutcome(a))
	return append(b, "}\n"...)
}

// appendHolder appends a holder as GET /lock shows it.
func appendHolder(b []byte, h *lock.Holder) []byte {
	b = appendText(b, `{"owner":`, h.Owner)
	b = appendOptional(b, `,"id":`, h.ID)
	b = appendToken(b, `,"token":`, h.Token)
	b = appendOptional(b, `,"note":`, h.Note)
	return appendHeld(b, h)
}

// appendRival appends a holder as a client that did not get the lock sees it: without the id.
func appendRival(b []byte, h *lock.Holder) []byte {
	b = appendText(b, `{"owner":`, h.Owner)
	b = appendToken(b, `,"token":`, h.Token)
	b = appendOptional(b, `,"note":`, h.Note)
	return appendHeld(b, h)
}

func appendHeld(b []byte, h *lock.Holder) []byte {
	b = appendSeconds(b, `,"held_for":`, h.HeldFor)
	b = appendTimeLeft(b, `,"expires_in":`, h.ExpiresIn)
	b = appendHoldLeft(appendTimeLeft(b, `,"renewed_ago":`, h.Renewed), h.HoldLeft)
	if h.Stuck {
		b = append(b, `,"stuck":true`...)
	}
	return append(b, '}')
}

// appendHoldLeft appends nothing if there is no longest hold.
func appendHoldLeft(b []byte, left time.Duration) []byte {
	if left == 0 {
		return b
	}
	return appendSeconds(b, `,"max_hold_left":`, left)
}

// appendInTheWay appends the members that tell a client that did not get the lock who holds it, who waits before it, and how long that
// may take.
func appendInTheWay(b []byte, d *lock.Detail) []byte {
	b = appendHolders(b, `,"holders":`, d.Holders, appendRival)
	b = appendCounts(b, d.HoldersTotal, d.Waiters)
	b = append(b, `,"ahead":[`...)
	for i := range d.Ahead {
		w := &d.Ahead[i]
		if i > 0 {
			b = append(b, ',')
		}
		b = appendText(b, `{"owner":`, w.Owner)
		b = append(appendWaiting(b, w), '}')
	}
	return appendEstimate(b, `],"estimate":`, d.Estimate)
}

func appendWaiting(b []byte, w *lock.Waiter) []byte {
	b = appendOptional(b, `,"note":`, w.Note)
	b = appendSeconds(b, `,"waited":`, w.Waited)
	return strconv.AppendBool(append(b, `,"present":`...), w.Present)
}

// appendEstimate appends what the last holds say about a time, or null if they say nothing.
func appendEstimate(b []byte, key string, e lock.Estimate) []byte {
	if e.Holds == 0 {
		return append(append(b, key...), "null"...)
	}
	b = appendSeconds(append(b, key...), `{"p50":`, e.P50)
	b = appendSeconds(b, `,"p90":`, e.P90)
	return append(appendInt(b, `,"holds":`, int64(e.Holds)), '}')
}

func appendHolders(b []byte, key string, holders []lock.Holder, one func([]byte, *lock.Holder) []byte) []byte {
	b = append(append(b, key...), '[')
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
	b = appendInt(b, `,"holders_total":`, int64(holders))
	return appendInt(b, `,"waiters":`, int64(waiters))
}

// appendLock appends a lock as GET /locks shows it, but for the closing brace.
func appendLock(b []byte, l *lock.Lock) []byte {
	b = appendText(b, `{"resource":`, l.Resource)
	b = appendKind(b, l.Mode, l.Limit)
	b = appendHolders(b, `,"holders":`, l.Holders, appendHolder)
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
		b = appendInt(b, `{"position":`, int64(w.Position))
		b = appendText(b, `,"owner":`, w.Owner)
		b = appendOptional(b, `,"id":`, w.ID)
		b = append(appendEstimate(appendWaiting(b, w), `,"estimate":`, w.Estimate), '}')
	}
	b = appendEstimate(b, `],"held":`, d.Held)
	b = appendEstimate(b, `,"estimate":`, d.Estimate)
	return append(b, "}\n"...)
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
	b = appendOptional(b, `],"next":`, d.Next)
	return append(b, "}\n"...)
}

// AppendTold appends the answer to what was done to holders: evicted or asked.
func AppendTold(b []byte, resource, what string, d *lock.Detail) []byte {
	b = appendText(b, `{"resource":`, resource)
	b = appendHolders(b, `,"`+what+`":`, d.Holders, appendHolder)
	return append(b, "}\n"...)
}
