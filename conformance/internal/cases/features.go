package cases

import (
	"fmt"
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
	return slices.Sorted(maps.Keys(set))
}

var byAction = map[string][]string{
	"scope": {"scope"}, "leave": {"scope"}, "renew": {"renew", "handle"}, "check": {"loss"}, "watch": {"loss"}, "told": {"told", "loss"},
	"clock": {"clock"}, "text": {"text"}, "env": {"settings"}, "leaks": {"leaks", "close"}, "end": {"exit"}, "close": {"close"},
}

var byArgument = map[string]string{
	"timeout": "timeout", "renew": "auto-renew", "mode": "modes", "limit": "modes", "note": "note", "test": "test-settings", "proxy": "proxy",
}

func infer(steps []Step, set, own map[string]bool) {
	for _, s := range steps {
		if s.Action == "http" || s.Action == "tcp" {
			own[s.As] = true
		}
		for _, f := range byAction[s.Action] {
			set[f] = true
		}
		if s.Action == "cancel" && !own[fmt.Sprint(s.Args)] {
			set["cancel"] = true
		}
		args, _ := s.Args.(map[string]any)
		if s.Action == "acquire" || s.Action == "scope" || s.Action == "client" {
			for k, f := range byArgument {
				if _, ok := args[k]; ok {
					set[f] = true
				}
			}
			if _, ok := args["expire"].(string); ok {
				set["wrong-types"] = true
			}
			if args["form"] == "original" {
				set["original"] = true
			}
		}
		infer(s.Steps, set, own)
	}
}
