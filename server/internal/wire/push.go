package wire

import (
	"time"

	"github.com/lockserver/lockserver/server/internal/lock"
)

// Lost names a grant that ended although its holder did not release it.
type Lost struct {
	Resource, Owner, ID string
	Token               int64
	Reason              string
}

// AppendSessionAnswer appends the answer to a request of a session: the body that it would have over HTTP, with seq and status.
func AppendSessionAnswer(b []byte, seq int64, status int, body func(b []byte) []byte) []byte {
	b = appendInt(b, `{"seq":`, seq)
	if status < 400 { // a problem tells its status itself
		b = appendInt(b, `,"status":`, int64(status))
	}
	start := len(b)
	b = body(b)
	b[start] = ',' // instead of the brace that opens it
	if b[len(b)-1] == '\n' {
		b = b[:len(b)-1]
	}
	return b
}

// AppendLostEvent appends what tells a session that a grant of it is lost.
func AppendLostEvent(b []byte, l *Lost) []byte {
	b = append(b, `{"event":"lost",`...)
	return appendLost(b, l)
}

// AppendYieldEvent appends what tells a session that it is asked to give a lock back.
func AppendYieldEvent(b []byte, l *Lost, by string) []byte {
	b = append(b, `{"event":"yield",`...)
	b = appendGrantNames(b, l)
	return append(appendText(b, `,"by":`, by), '}')
}

// AppendDrainingEvent appends what tells a session that the server is shutting down.
func AppendDrainingEvent(b []byte) []byte { return append(b, `{"event":"draining"}`...) }

func appendLost(b []byte, l *Lost) []byte {
	b = appendText(appendGrantNames(b, l), `,"reason":`, l.Reason)
	return append(b, '}')
}

func appendGrantNames(b []byte, l *Lost) []byte {
	b = appendText(b, `"resource":`, l.Resource)
	b = appendText(b, `,"owner":`, l.Owner)
	b = appendOptional(b, `,"id":`, l.ID)
	return appendToken(b, `,"token":`, l.Token)
}

// AppendKept appends the answer to a keepalive. The shortest time left is null if no lease was renewed.
func AppendKept(b []byte, renewed int, shortest time.Duration, lost []Lost) []byte {
	b = appendInt(b, `{"renewed":`, int64(renewed))
	if renewed == 0 {
		shortest = lock.NoLease
	}
	b = appendTimeLeft(b, `,"shortest":`, shortest)
	b = append(b, `,"lost":[`...)
	for i := range lost {
		if i > 0 {
			b = append(b, ',')
		}
		b = appendLost(append(b, '{'), &lost[i])
	}
	return append(b, "]}\n"...)
}
