package wire

import (
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/lockserver/lockserver/server/internal/lock"
)

// Event is something that happened, with its place in the order of all.
type Event struct {
	lock.Event
	Number int64     // rises from event to event
	Time   time.Time // when it was durable
}

// EventQuery selects events.
type EventQuery struct {
	Kinds    []lock.EventKind
	Prefix   string // of the resource
	Resource string // "" for all
}

// usualKinds are those of a reader that asks for none: all but renewals, of which there may be very many.
var usualKinds = []lock.EventKind{
	lock.EventQueued, lock.EventLeft, lock.EventGranted, lock.EventReleased, lock.EventExpired, lock.EventEvicted, lock.EventHandedBack,
	lock.EventYield, lock.EventStuck,
}

// EventQuery returns the choice among events that the fields make.
func (f *Fields) EventQuery() (EventQuery, *Problem) {
	q := EventQuery{Kinds: usualKinds, Prefix: f.Text(FieldPrefix), Resource: f.Text(FieldResource)}
	if list := f.Text(FieldKinds); list != "" {
		var ok bool
		if q.Kinds, ok = kindsIn(list); !ok {
			return q, invalid(FieldKinds.String(), "is "+Shorten([]byte(list)), fieldRows[FieldKinds].allowed)
		}
	}
	return q, nil
}

// kindsIn reads names of kinds with commas between them.
func kindsIn(list string) (kinds []lock.EventKind, ok bool) {
	for name := range strings.SplitSeq(list, ",") {
		i := slices.IndexFunc(lock.EventKinds(), func(k lock.EventKind) bool { return k.String() == name })
		if i < 0 {
			return nil, false
		}
		kinds = append(kinds, lock.EventKinds()[i])
	}
	return kinds, true
}

// AppendEvent appends what people see of an event.
func AppendEvent(b []byte, e *Event) []byte {
	b = appendInt(b, `{"event":`, e.Number)
	b = appendText(b, `,"kind":`, e.Kind.String())
	b = appendTime(b, `,"time":`, e.Time)
	b = appendText(b, `,"resource":`, e.Resource)
	b = appendText(b, `,"owner":`, e.Owner)
	b = appendOptional(b, `,"id":`, e.ID)
	b = appendToken(b, `,"token":`, e.Token)
	b = appendOptional(b, `,"note":`, e.Note)
	b = appendKind(b, e.Mode, e.Limit)
	b = appendTimeLeft(b, `,"expires_in":`, e.ExpiresIn)
	b = appendInt(b, `,"waiters":`, int64(e.Waiters))
	switch e.Kind {
	case lock.EventQueued:
	case lock.EventGranted, lock.EventLeft:
		b = appendSeconds(b, `,"waited":`, e.Lasted)
	default:
		b = appendSeconds(b, `,"held_for":`, e.Lasted)
	}
	if e.Kind == lock.EventLeft {
		b = appendText(b, `,"why":`, e.Why.String())
	}
	if e.By != "" {
		b = appendText(b, `,"by":`, e.By)
	}
	return append(b, '}')
}

// AppendHistory appends the answer to a look at what happened to a resource. All that happened since is kept; last is the number of the
// newest event of all.
func AppendHistory(b []byte, resource string, since time.Time, last int64, events []Event) []byte {
	b = appendText(b, `{"resource":`, resource)
	b = appendTime(b, `,"since":`, since)
	b = appendInt(b, `,"last":`, last)
	b = append(b, `,"events":[`...)
	for i := range events {
		if i > 0 {
			b = append(b, ',')
		}
		b = AppendEvent(b, &events[i])
	}
	return append(b, "]}\n"...)
}

func appendTime(b []byte, key string, t time.Time) []byte {
	return t.UTC().AppendFormat(append(b, key...), `"2006-01-02T15:04:05.000Z"`)
}

// AppendGap appends what tells a reader that it has missed events: how many, or null for -1, if nobody knows.
func AppendGap(b []byte, missed int64) []byte {
	b = append(b, `{"kind":"gap","missed":`...)
	if missed < 0 {
		b = append(b, "null"...)
	} else {
		b = strconv.AppendInt(b, missed, 10)
	}
	return append(b, '}')
}
