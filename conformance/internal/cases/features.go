package cases

import (
	"maps"
	"reflect"
	"slices"
	"strings"

	"github.com/lockserver/lockserver/conformance/internal/driver"
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
	set["session"] = c.Transport == AboutSessions && !c.Wire
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
	"scope": {"scope"}, "leave": {"scope"}, "renew": {"renew", "handle"}, "check": {"loss"}, "watch": {"loss"}, "events": {"events"},
	"clock": {"clock"}, "text": {"text"}, "env": {"settings"}, "leaks": {"leaks", "close"}, "end": {"exit"}, "close": {"close"},
}

func infer(steps []Step, set, own map[string]bool) {
	for _, s := range steps {
		switch a := s.Action.(type) {
		case *HTTP, *TCP, *Session, *Ask:
			own[s.As] = true
		case *Cancel:
			set["cancel"] = set["cancel"] || !own[string(*a)]
		case *Told:
			set["told"], set["loss"] = true, true
		case *Client:
			byMember(driver.Request{Test: a.Test, Proxy: a.Proxy}, set)
		case *Call:
			for _, f := range byOperation[a.Op] {
				set[f] = true
			}
			byMember(a.Request, set)
			_, text := a.Expire.(string)
			set["wrong-types"] = set["wrong-types"] || text
			set["original"] = set["original"] || a.Form == "original"
		}
		infer(s.Steps, set, own)
	}
}

// byMember sets the features of the members that a request has.
func byMember(r driver.Request, set map[string]bool) {
	v := reflect.ValueOf(r)
	for i := range v.NumField() {
		if f := v.Type().Field(i).Tag.Get("feature"); f != "" && !v.Field(i).IsZero() {
			set[f] = true
		}
	}
}
