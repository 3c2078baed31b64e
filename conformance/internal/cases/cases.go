// Package cases reads the cases, the rules that they prove, and the table that connects the two.
package cases

import (
	"fmt"
	"io/fs"
	"path"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/lockserver/lockserver/conformance/internal/driver"
)

// Case is one case. The fields are described in case.schema.json.
type Case struct {
	ID     string   `yaml:"id"`
	Title  string   `yaml:"title"`
	Rules  []string `yaml:"rules"`
	Wire   bool     `yaml:"wire"`
	Needs  []string `yaml:"needs"`
	Place  []string `yaml:"place"`
	Forms  bool     `yaml:"forms"`
	Server *Server  `yaml:"server"`
	Link   *Link    `yaml:"link"`
	Driver *Driver  `yaml:"driver"`
	// Transport is the one that the case is about, if it is about one, for the reason Because.
	Transport string `yaml:"transport"`
	Because   string `yaml:"because"`
	// Alone is why the case needs a server that is none of a cluster, "" if it does not.
	Alone string `yaml:"alone"`
	Steps []Step `yaml:"steps"`

	File string `yaml:"-"`
}

// The transports that a case can be about.
const (
	AboutHTTP     = "http"
	AboutSessions = "session"
)

// Server says that a case needs a server of its own.
type Server struct {
	Durable bool              `yaml:"durable"`
	Flags   []string          `yaml:"flags"`
	Env     map[string]string `yaml:"env"`
}

// Link says that drivers come to the server by way of a link.
type Link struct {
	Prefix string `yaml:"prefix"`
	IPv6   bool   `yaml:"ipv6"`
	TLS    string `yaml:"tls"`
}

// Driver says that a case needs a driver process of its own.
type Driver struct {
	Env    map[string]string `yaml:"env"`
	Dotenv string            `yaml:"dotenv"`
}

// Load reads all cases and checks them against their schema.
func Load(files fs.FS) ([]*Case, error) {
	schema, err := driver.LoadSchema(files)
	if err != nil {
		return nil, err
	}
	paths, err := fs.Glob(files, "cases/*.yaml")
	if err != nil {
		return nil, err
	}
	var all []*Case
	seen := map[string]bool{}
	for _, file := range paths {
		b, err := fs.ReadFile(files, file)
		if err != nil {
			return nil, err
		}
		var raw any
		var family struct {
			Cases []*Case `yaml:"cases"`
		}
		for _, check := range []func() error{
			func() error { return yaml.Unmarshal(b, &raw) },
			func() error { return schema.CheckValue("case.schema.json", raw) },
			func() error { return yaml.Unmarshal(b, &family) },
		} {
			if err := check(); err != nil {
				return nil, fmt.Errorf("%s: %w", file, err)
			}
		}
		for _, c := range family.Cases {
			c.File = path.Base(file)
			if !strings.HasPrefix(c.ID, strings.TrimSuffix(c.File, ".yaml")+"/") || seen[c.ID] {
				return nil, fmt.Errorf("%s: the id %s does not begin with the family's name, or is used twice", file, c.ID)
			}
			seen[c.ID] = true
			if c.Transport == AboutHTTP && c.Link == nil {
				return nil, fmt.Errorf("%s: %s is about HTTP, so it needs a link that keeps sessions away (link: {})", file, c.ID)
			}
		}
		all = append(all, family.Cases...)
	}
	return all, nil
}
