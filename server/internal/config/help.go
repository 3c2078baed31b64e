package config

import (
	"fmt"
	"strings"
)

const helpHead = `Lockserver gives processes on many machines exclusive use of named resources, over plain HTTP.

Usage:
  lockserver [flags]               serve until SIGTERM or SIGINT
  lockserver healthcheck [flags]   ask the server with these settings whether it is ready; exit 0 if so
  lockserver version               print the version

Start in ten seconds:
  echo LOCKSERVER_SECRET=$(openssl rand -hex 32) >> .env
  lockserver

Each setting is taken from its flag, else from its environment variable, else from the file .env in the working
directory, else it has the default in brackets. Empty counts as absent.
`

// Help returns the text of `lockserver --help`.
func Help() string {
	var b strings.Builder
	b.WriteString(helpHead)
	for _, g := range groups() {
		fmt.Fprintf(&b, "\n%s:\n", g.title)
		for _, s := range g.settings {
			left := "    "
			if s.short != "" {
				left = "-" + s.short + ", "
			}
			if s.flag == "" {
				left += s.variable
			} else {
				left += "--" + s.flag + " " + s.arg
			}
			fmt.Fprintf(&b, "  %-30s %s", left, s.about)
			if s.fallback != "" {
				fmt.Fprintf(&b, " [%s]", s.fallback)
			}
			if s.flag != "" {
				fmt.Fprintf(&b, "\n  %-30s %s", "", s.variable)
			}
			b.WriteByte('\n')
		}
	}
	b.WriteString("\nA TIME is in seconds (30, 2.5) or has a unit (500ms, 2m).\n")
	return b.String()
}
