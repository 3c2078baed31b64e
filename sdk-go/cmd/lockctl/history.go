package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	lockserver "github.com/lockserver/lockserver/sdk-go"
)

func (t *tool) history(args []string) error {
	flags, asJSON, patience := lookFlags("history")
	limit := flags.Int("limit", 0, "")
	if err := parse(flags, args); err != nil {
		return err
	}
	resource, err := one(flags)
	if err != nil {
		return err
	}
	const most = 1000
	if *limit < 0 || *limit > most {
		return &usageError{fmt.Errorf("--limit is %d; allowed: a whole number up to %d", *limit, most)}
	}
	return t.asking(resource, *patience, func(q *question) error {
		var h *lockserver.History
		err := q.once(func(ctx context.Context) (err error) {
			h, err = q.History(ctx, resource, *limit)
			return err
		})
		switch {
		case err != nil:
			return unserved(err)
		case *asJSON:
			return t.json(jsonHistory(h))
		}
		return t.showHistory(h)
	})
}

// unserved makes an ending of the 404 of a server that does not serve what is asked for.
func unserved(err error) error {
	var failure *lockserver.Error
	if errors.Is(err, lockserver.ErrNotFound) && errors.As(err, &failure) {
		return &ending{exitServer, clean(failure.Message)}
	}
	return err
}

const timeForPeople = "2006-01-02 15:04:05.000"

func (t *tool) showHistory(h *lockserver.History) error {
	paint := t.painter()
	since := "since " + h.Since.Local().Format(timeForPeople)
	if len(h.Events) == 0 {
		fmt.Fprintln(t.stderr, paint.dim("nothing has happened to "+quote(h.Resource)+" "+since))
		return nil
	}
	tb := t.table("TIME", "WHAT", "OWNER", "TOKEN", "AFTER", "WAITING", "NOTE")
	for i := range h.Events {
		e := &h.Events[i]
		token := ""
		if e.Token != 0 {
			token = fmt.Sprint(e.Token)
		}
		tb.row(e.Time.Local().Format(timeForPeople), what(e), clean(e.Owner), token, after(e), fmt.Sprint(e.Waiters), clean(e.Note))
	}
	return tb.flush()
}

// what says what happened.
func what(e *lockserver.Event) string {
	text := strings.ReplaceAll(clean(e.Kind), "_", " ")
	switch {
	case e.Why != "":
		return text + ": " + strings.ReplaceAll(clean(e.Why), "_", " ")
	case e.By != "":
		return text + " by " + clean(e.By)
	}
	return text
}

// after says how long the wait was, or how long the lock was held.
func after(e *lockserver.Event) string {
	d := max(e.Waited, e.HeldFor)
	if e.Kind == "queued" {
		return ""
	}
	return short(d)
}

// The JSON is that of the server's GET /history.

type historyJSON struct {
	Resource string      `json:"resource"`
	Since    time.Time   `json:"since"`
	Events   []eventJSON `json:"events"`
}

type eventJSON struct {
	Event     int64     `json:"event"`
	Kind      string    `json:"kind"`
	Time      time.Time `json:"time"`
	Resource  string    `json:"resource"`
	Owner     string    `json:"owner"`
	ID        *string   `json:"id"`
	Token     *int64    `json:"token"`
	Note      *string   `json:"note"`
	Mode      *string   `json:"mode"`
	Limit     *int      `json:"limit"`
	ExpiresIn *float64  `json:"expires_in"`
	Waiters   int       `json:"waiters"`
	Waited    float64   `json:"waited,omitempty"`
	HeldFor   float64   `json:"held_for,omitempty"`
	Why       string    `json:"why,omitempty"`
	By        string    `json:"by,omitempty"`
}

func jsonHistory(h *lockserver.History) historyJSON {
	j := historyJSON{Resource: h.Resource, Since: h.Since, Events: make([]eventJSON, 0, len(h.Events))}
	for i := range h.Events {
		e := &h.Events[i]
		j.Events = append(j.Events, jsonEvent(e))
	}
	return j
}

func jsonEvent(e *lockserver.Event) eventJSON {
	return eventJSON{
		Event: e.Number, Kind: e.Kind, Time: e.Time, Resource: e.Resource, Owner: e.Owner, ID: orNull(e.ID), Token: orNull(e.Token),
		Note: orNull(e.Note), Mode: orNull(e.Mode), Limit: orNull(e.Limit), ExpiresIn: orNull(inSeconds(e.ExpiresIn)), Waiters: e.Waiters,
		Waited: inSeconds(e.Waited), HeldFor: inSeconds(e.HeldFor), Why: e.Why, By: e.By,
	}
}
