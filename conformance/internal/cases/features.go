package cases

import (
	"maps"
	"slices"
	"strings"
)

// Features are what a driver must have for the case: those that it names, and those that its steps use.
func (c *Case) Features() []string {
	set := map[string]bool{}
	for _, f := range c.Needs {
		set[f] = true
	}
	if !c.Wire {
		own := map[string]bool{} // operations that are the runner's own
		infer(c.Steps, set, own)
	}
	if d := c.Driver; d != nil {
		for name := range d.Env {
			if strings.HasPrefix(name, "LOCKSERVER_") {
				set["settings"] = true
			}
		}
		if d.Dotenv != "" {
			set["dotenv"] = true
		}
	}
	maps.DeleteFunc(set, func(_ string, needed bool) bool { return !needed })
	return slices.Sorted(maps.Keys(set))
}

var byOperation = map[string][]string{
	"scope": {"scope"}, "leave": {"scope"}, "renew": {"renew", "handle"}, "check": {"loss"}, "watch": {"loss"},
	"clock": {"clock"}, "text": {"text"}, "env": {"settings"}, "leaks": {"leaks", "close"}, "end": {"exit"}, "close": {"close"},
}

func infer(steps []Step, set, own map[string]bool) {
	need := func(is bool, features ...string) {
		for _, f := range features {
			set[f] = set[f] || is
		}
	}
	for _, s := range steps {
		switch a := s.Action.(type) {
		case *HTTP, *TCP:
			own[s.As] = true
		case *Cancel:
			need(!own[string(*a)], "cancel")
		case *Told:
			need(true, "told", "loss")
		case *Client:
			need(a.Test != nil, "test-settings")
			need(a.Proxy != "", "proxy")
		case *Call:
			_, text := a.Expire.(string)
			need(true, byOperation[a.Op]...)
			need(a.Timeout != nil, "timeout")
			need(a.Renew, "auto-renew")
			need(a.Mode != "" || a.Limit != 0, "modes")
			need(a.Note != "", "note")
			need(a.Form == "original", "original")
			need(text, "wrong-types")
		}
		infer(s.Steps, set, own)
	}
}
