// Package cases reads the cases, the rules that they prove, and the table that connects the two.
package cases

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/santhosh-tekuri/jsonschema/v6"
	"go.yaml.in/yaml/v3"
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
	Steps  []Step   `yaml:"steps"`

	File string `yaml:"-"`
}

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

// Step is one action with what is expected of it.
type Step struct {
	Action string
	Args   any
	Line   int

	As     string
	Start  bool
	Expect any
	Fails  any
	Took   any
	Within *float64
	Until  any
	Steps  []Step // of repeat
}

// modifiers are the keys of a step that are not its action.
type modifiers struct {
	As     string   `yaml:"as"`
	Start  bool     `yaml:"start"`
	Expect any      `yaml:"expect"`
	Fails  any      `yaml:"fails"`
	Took   any      `yaml:"took"`
	Within *float64 `yaml:"within"`
	Until  any      `yaml:"until"`
	Steps  []Step   `yaml:"steps"`
	Why    string   `yaml:"why"`
}

var modifierNames = []string{"as", "start", "expect", "fails", "took", "within", "until", "steps", "why"}

// UnmarshalYAML reads a step: a map with exactly one key that is no modifier.
func (s *Step) UnmarshalYAML(n *yaml.Node) error {
	var m modifiers
	if err := n.Decode(&m); err != nil {
		return err
	}
	*s = Step{Line: n.Line, As: m.As, Start: m.Start, Expect: m.Expect, Fails: m.Fails, Took: m.Took, Within: m.Within, Until: m.Until, Steps: m.Steps}
	for i := 0; i+1 < len(n.Content); i += 2 {
		key := n.Content[i].Value
		if slices.Contains(modifierNames, key) {
			continue
		}
		if s.Action != "" {
			return fmt.Errorf("line %d: a step has one action, this one has %s and %s", n.Line, s.Action, key)
		}
		s.Action = key
		if err := n.Content[i+1].Decode(&s.Args); err != nil {
			return err
		}
	}
	if s.Action == "" {
		return fmt.Errorf("line %d: a step without an action", n.Line)
	}
	return nil
}

// Load reads all cases below dir and checks them against the schema.
func Load(dir, schemaFile string) ([]*Case, error) {
	schema, err := jsonschema.NewCompiler().Compile(schemaFile)
	if err != nil {
		return nil, err
	}
	files, err := filepath.Glob(filepath.Join(dir, "*.yaml"))
	if err != nil {
		return nil, err
	}
	var all []*Case
	for _, file := range files {
		b, err := os.ReadFile(file)
		if err != nil {
			return nil, err
		}
		var raw any
		if err := yaml.Unmarshal(b, &raw); err != nil {
			return nil, fmt.Errorf("%s: %w", file, err)
		}
		plain, err := asJSON(raw)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", file, err)
		}
		if err := schema.Validate(plain); err != nil {
			return nil, fmt.Errorf("%s: %w", file, err)
		}
		var family struct {
			Cases []*Case `yaml:"cases"`
		}
		if err := yaml.Unmarshal(b, &family); err != nil {
			return nil, fmt.Errorf("%s: %w", file, err)
		}
		name := strings.TrimSuffix(filepath.Base(file), ".yaml")
		for _, c := range family.Cases {
			if !strings.HasPrefix(c.ID, name+"/") {
				return nil, fmt.Errorf("%s: the id %s does not begin with %s/", file, c.ID, name)
			}
			c.File = filepath.Base(file)
		}
		all = append(all, family.Cases...)
	}
	seen := map[string]bool{}
	for _, c := range all {
		if seen[c.ID] {
			return nil, fmt.Errorf("the id %s is used twice", c.ID)
		}
		seen[c.ID] = true
	}
	return all, nil
}

// asJSON gives what the same document would be in JSON.
func asJSON(v any) (any, error) {
	b, err := json.Marshal(v)
	if err != nil {
		return nil, err
	}
	return jsonschema.UnmarshalJSON(bytes.NewReader(b))
}
