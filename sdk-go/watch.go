package lockserver

import (
	"context"
	"fmt"
	"iter"
	"log/slog"
	"time"
)

// opFollow is opEvents with the bound of an answer that is no stream.
var opFollow = func() operation {
	op := opEvents
	op.answerMax = lineMax
	return op
}()

// Watch returns what happens to the resources whose names begin with the prefix ("" is all), as it happens, but for renewals. It begins when
// the loop does. After a cut it goes on behind the last event, at another server of the cluster if that is not there; an event of the kind
// "gap" says that some were missed. It ends with ctx, or when no server has answered for 30 s (ErrConnectionFailed), or with an answer that
// no retry can mend: the last thing that the loop gets is an error, unless it was left. A loop that is slow misses events.
func (c *Client) Watch(ctx context.Context, prefix string) iter.Seq2[Event, error] {
	return func(yield func(Event, error) bool) {
		if err := c.begin(""); err != nil {
			yield(Event{}, err)
			return
		}
		w := &watch{client: c, yield: yield}
		if err := w.run(ctx, prefix); !w.left {
			yield(Event{}, err)
		}
	}
}

// watch is one loop over events.
type watch struct {
	client *Client
	yield  func(Event, error) bool
	left   bool // by the loop
}

func (w *watch) run(ctx context.Context, prefix string) error {
	c := w.client
	defer c.done()
	f := &follower{silence: (figureSessionPings + 1) * c.bounds.Ping, take: w.take}
	request := eventsRequest{Prefix: prefix}
	following := c.newCall(&opFollow, "", c.bounds.Silence, func(time.Time) attempt {
		return attempt{request: &request, bound: c.bounds.Answer, follow: f}
	})
	f.begun = func() {
		following.backoff.reset()
		c.logger.Log(ctx, slog.LevelDebug, "lockserver: events are followed")
	}
	return following.run(ctx, noReply{})
}

// take hands an event to the loop, which may close the client.
func (w *watch) take(kind string, data []byte) error {
	e := Event{Kind: kind}
	switch kind {
	case "draining": // the stream ends behind it
		return nil
	case "gap":
		var gap wireGap
		if err := decode(data, &gap); err != nil {
			return fmt.Errorf("%w: %w", errUnusable, err)
		}
		if e.Missed = -1; gap.Missed != nil {
			e.Missed = *gap.Missed
		}
	default:
		var event wireEvent
		if err := decode(data, &event); err != nil {
			return fmt.Errorf("%w: %w", errUnusable, err)
		}
		e = event.event()
	}
	w.client.done()
	defer w.client.beginCleanup()
	if w.left = !w.yield(e, nil); w.left {
		return errLeft
	}
	return nil
}

type eventsRequest struct {
	Prefix string `json:"prefix,omitempty"`
}

type wireGap struct {
	Missed *int64 `json:"missed"`
}

// noReply is in place of an answer that would be no stream.
type noReply struct{}

func (noReply) missing(int) string { return "event" }
