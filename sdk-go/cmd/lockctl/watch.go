package main

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	lockserver "github.com/lockserver/lockserver/sdk-go"
	"github.com/lockserver/lockserver/sdk-go/internal/settings"
)

// watch shows what happens, until a signal ends lockctl.
func (t *tool) watch(args []string) error {
	flags, asJSON, patience := lookFlags("watch")
	*patience = 30 * time.Second // a server may start again meanwhile
	prefix := flags.String("prefix", "", "")
	if err := parse(flags, args); err != nil {
		return err
	}
	if flags.NArg() > 0 {
		return &usageError{fmt.Errorf("argument %q is not allowed; allowed: flags", flags.Arg(0))}
	}
	s, err := connect(func(s *settings.Settings) { s.Bounds.Silence = *patience })
	if err != nil {
		return err
	}
	defer s.Close()
	s.tell = t.interruptions(s)
	show := t.showEvent
	if *asJSON {
		show = t.jsonLine
	}
	for e, err := range s.Watch(context.Background(), *prefix) {
		if err == nil {
			err = show(&e)
		}
		if err != nil {
			return s.ended("", unserved(err))
		}
	}
	return nil
}

// interruptions tells a person of a cut, once, and when it is over.
func (t *tool) interruptions(s *server) func(error) {
	cut := false
	return func(err error) {
		switch {
		case err != nil && !cut:
			t.say("%s; trying again", s.standing())
		case err == nil && cut:
			t.say("%s: watching again", s.host())
		}
		cut = err != nil
	}
}

// showEvent is a line for people.
func (t *tool) showEvent(e *lockserver.Event) error {
	if e.Kind == "gap" {
		text := "an unknown number of events was missed"
		if e.Missed >= 0 {
			text = fmt.Sprintf("%d events were missed", e.Missed)
		}
		_, err := fmt.Fprintf(t.stdout, "%s  gap: %s\n", time.Now().Format(timeForPeople), text)
		return err
	}
	line := fmt.Sprintf("%s  %s  %s  %s", e.Time.Local().Format(timeForPeople), clean(e.Resource), what(e), clean(e.Owner))
	if e.Token != 0 {
		line += fmt.Sprintf("  token %d", e.Token)
	}
	if d := after(e); d != "" {
		line += "  after " + d
	}
	if e.Waiters > 0 {
		line += fmt.Sprintf("  %d waiting", e.Waiters)
	}
	if e.Note != "" {
		line += "  " + clean(e.Note)
	}
	_, err := fmt.Fprintln(t.stdout, line)
	return err
}

type gapJSON struct {
	Kind   string `json:"kind"`
	Missed *int64 `json:"missed"`
}

// jsonLine is a line for programs, the same as the server's data.
func (t *tool) jsonLine(e *lockserver.Event) error {
	var line any = jsonEvent(e)
	if e.Kind == "gap" {
		gap := gapJSON{Kind: e.Kind}
		if e.Missed >= 0 {
			gap.Missed = &e.Missed
		}
		line = gap
	}
	to := json.NewEncoder(t.stdout)
	to.SetEscapeHTML(false)
	return to.Encode(line)
}
