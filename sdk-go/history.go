package lockserver

import (
	"context"
	"time"
)

// History is what happened last to a resource.
type History struct {
	Resource string
	Since    time.Time // all that has happened from then on is kept
	Events   []Event   // the newest is the last
}

// Event is something that happened to a grant or a waiter.
type Event struct {
	Number    int64  // rises from event to event, of whatever resource
	Kind      string // "granted", "released", "expired", "evicted", "handed_back", "queued", "left" or "yield"; of [Client.Watch] also "gap"
	Time      time.Time
	Resource  string
	Owner     string
	ID        string // "" if there is none
	Note      string
	Token     int64         // of the grant, or 0
	Mode      string        // "exclusive" or "shared"; "" for a semaphore
	Limit     int           // permits of a semaphore, or 0
	ExpiresIn time.Duration // time left of the lease; 0 means that there is none
	Waiters   int           // places in the queue after it
	Waited    time.Duration // with "granted" and "left"
	HeldFor   time.Duration // with the ends of a grant
	Why       string        // with "left": "gone", "timed_out", "cancelled", "place_lost" or "draining"
	By        string        // with "evicted": the address that asked for it; with "yield": who asked
	Missed    int64         // with "gap": how many events were missed, of whatever resource; negative if nobody knows
}

// History returns what happened last to a resource, at most as many events as given (0: 100, most: 1000). A server that keeps no
// history, as its setting --history says, is ErrNotFound. It asks again and gives up as [Client.List] does.
func (c *Client) History(ctx context.Context, resource string, limit int) (*History, error) {
	var answer wireHistory
	if err := c.look(ctx, resource, &opHistory, &historyRequest{Resource: resource, Limit: limit}, &answer); err != nil {
		return nil, err
	}
	h := &History{Resource: answer.Resource, Since: answer.Since, Events: make([]Event, len(answer.Events))}
	for i := range answer.Events {
		h.Events[i] = answer.Events[i].event()
	}
	return h, nil
}

func (e *wireEvent) event() Event {
	return Event{
		Number: e.Event, Kind: e.Kind, Time: e.Time, Resource: e.Resource, Owner: e.Owner, ID: e.ID, Note: e.Note, Token: e.Token,
		Mode: e.Mode, Limit: e.Limit, ExpiresIn: optionalDuration(e.ExpiresIn), Waiters: e.Waiters, Waited: duration(e.Waited),
		HeldFor: duration(e.HeldFor), Why: e.Why, By: e.By,
	}
}

type historyRequest struct {
	Resource string `json:"resource"`
	Limit    int    `json:"limit,omitempty"`
}

type wireHistory struct {
	Resource string      `json:"resource"`
	Since    time.Time   `json:"since"`
	Events   []wireEvent `json:"events"`
}

func (w *wireHistory) missing(int) string { return absent("events", w.Events == nil) }

type wireEvent struct {
	Event     int64     `json:"event"`
	Kind      string    `json:"kind"`
	Time      time.Time `json:"time"`
	Resource  string    `json:"resource"`
	Owner     string    `json:"owner"`
	ID        string    `json:"id"`
	Note      string    `json:"note"`
	Token     int64     `json:"token"`
	Mode      string    `json:"mode"`
	Limit     int       `json:"limit"`
	ExpiresIn *float64  `json:"expires_in"`
	Waiters   int       `json:"waiters"`
	Waited    float64   `json:"waited"`
	HeldFor   float64   `json:"held_for"`
	Why       string    `json:"why"`
	By        string    `json:"by"`
}
