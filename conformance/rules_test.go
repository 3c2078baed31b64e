package conformance_test

import (
	"bytes"
	"fmt"
	"io/fs"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/lockserver/lockserver/conformance/internal/cases"
)

// rule is one rule of SPEC.md that a case can prove.
type rule struct {
	ID   string `yaml:"id"`
	Says string `yaml:"says"`
}

// loadRules reads rules.yaml.
func loadRules(files fs.FS) ([]rule, error) {
	b, err := fs.ReadFile(files, "rules.yaml")
	if err != nil {
		return nil, err
	}
	var doc struct {
		Rules []rule `yaml:"rules"`
	}
	d := yaml.NewDecoder(bytes.NewReader(b))
	d.KnownFields(true)
	if err := d.Decode(&doc); err != nil {
		return nil, fmt.Errorf("rules.yaml: %w", err)
	}
	return doc.Rules, nil
}

// unproven are the rules that no case names, unknown the names in cases that are no rule.
func unproven(rules []rule, all []*cases.Case) (missing, unknown []string) {
	proofs := proofs(all)
	known := map[string]bool{}
	for _, r := range rules {
		known[r.ID] = true
		if len(proofs[r.ID]) == 0 {
			missing = append(missing, r.ID)
		}
	}
	for id, names := range proofs {
		if !known[id] {
			unknown = append(unknown, id+" (in "+strings.Join(names, ", ")+")")
		}
	}
	slices.Sort(unknown)
	return missing, unknown
}

func proofs(all []*cases.Case) map[string][]string {
	m := map[string][]string{}
	for _, c := range all {
		for _, r := range c.Rules {
			m[r] = append(m[r], c.ID)
		}
	}
	return m
}

// ruleTable is the Markdown table from rules to cases.
func ruleTable(rules []rule, all []*cases.Case) string {
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
