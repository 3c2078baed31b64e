package cases

import (
	"bytes"
	"fmt"
	"io/fs"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"
)

// Rule is one rule of SPEC.md that a case can prove.
type Rule struct {
	ID   string `yaml:"id"`
	Says string `yaml:"says"`
}

// LoadRules reads rules.yaml.
func LoadRules(files fs.FS) ([]Rule, error) {
	b, err := fs.ReadFile(files, "rules.yaml")
	if err != nil {
		return nil, err
	}
	var doc struct {
		Rules []Rule `yaml:"rules"`
	}
	d := yaml.NewDecoder(bytes.NewReader(b))
	d.KnownFields(true)
	if err := d.Decode(&doc); err != nil {
		return nil, fmt.Errorf("rules.yaml: %w", err)
	}
	return doc.Rules, nil
}

// Unproven are the rules that no case names, Unknown the names in cases that are no rule.
func Unproven(rules []Rule, all []*Case) (unproven, unknown []string) {
	proofs := proofs(all)
	known := map[string]bool{}
	for _, r := range rules {
		known[r.ID] = true
		if len(proofs[r.ID]) == 0 {
			unproven = append(unproven, r.ID)
		}
	}
	for id, cases := range proofs {
		if !known[id] {
			unknown = append(unknown, id+" (in "+strings.Join(cases, ", ")+")")
		}
	}
	slices.Sort(unknown)
	return unproven, unknown
}

func proofs(all []*Case) map[string][]string {
	m := map[string][]string{}
	for _, c := range all {
		for _, r := range c.Rules {
			m[r] = append(m[r], c.ID)
		}
	}
	return m
}

// Table is the Markdown table from rules to cases.
func Table(rules []Rule, all []*Case) string {
	proofs := proofs(all)
	var b strings.Builder
	b.WriteString("| rule | says | proven by |\n|---|---|---|\n")
	for _, r := range rules {
		var ids []string
		for _, id := range proofs[r.ID] {
			ids = append(ids, "`"+id+"`")
		}
		fmt.Fprintf(&b, "| `%s` | %s | %s |\n", r.ID, r.Says, strings.Join(ids, "<br>"))
	}
	return b.String()
}
