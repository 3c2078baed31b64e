package conformance_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"flag"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"
	"github.com/stretchr/testify/require"

	"github.com/lockserver/lockserver/conformance"
	"github.com/lockserver/lockserver/conformance/internal/cases"
	"github.com/lockserver/lockserver/conformance/internal/place"
	"github.com/lockserver/lockserver/conformance/internal/place/cluster"
	"github.com/lockserver/lockserver/conformance/internal/place/docker"
	"github.com/lockserver/lockserver/conformance/internal/report"
	"github.com/lockserver/lockserver/conformance/internal/suite"
)

var update = flag.Bool("update", false, "write the generated tables into README.md")

// TestCasesKnowTheirRules holds the cases to their schema, to the rules of rules.yaml, and every rule to a case that proves it.
func TestCasesKnowTheirRules(t *testing.T) {
	all, err := cases.Load(conformance.Files)
	require.NoError(t, err)
	rules, err := loadRules(os.DirFS("."))
	require.NoError(t, err)
	missing, unknown := unproven(rules, all)
	require.Empty(t, missing, "rules that no case proves")
	require.Empty(t, unknown, "cases name rules that rules.yaml does not have")
}

// TestSectionsHaveRules makes sure that no numbered paragraph of the sections 3, 5 and 6 of SPEC.md was forgotten in rules.yaml.
func TestSectionsHaveRules(t *testing.T) {
	spec, err := os.ReadFile("SPEC.md")
	require.NoError(t, err)
	rules, err := loadRules(os.DirFS("."))
	require.NoError(t, err)
	section := ""
	found := 0
	for line := range strings.Lines(string(spec)) {
		if rest, ok := strings.CutPrefix(line, "## "); ok {
			section, _, _ = strings.Cut(rest, ".")
		}
		number, _, ok := strings.Cut(line, ". ")
		if !slices.Contains([]string{"3", "5", "6"}, section) || !ok || strings.Trim(number, "0123456789") != "" || number == "" {
			continue
		}
		found++
		prefix := section + "." + number + "."
		has := false
		for _, r := range rules {
			has = has || strings.HasPrefix(r.ID, prefix)
		}
		require.True(t, has, "SPEC.md %s.%s has no rule in rules.yaml", section, number)
	}
	require.Equal(t, 30, found, "numbered paragraphs in the sections 3, 5 and 6")
}

// TestDriversNameRealCases holds the known failures of drivers to cases that exist.
func TestDriversNameRealCases(t *testing.T) {
	all, err := cases.Load(conformance.Files)
	require.NoError(t, err)
	ids := map[string]bool{}
	for _, c := range all {
		ids[c.ID] = true
	}
	for _, s := range drivers(t) {
		for _, k := range s.KnownFailures {
			require.True(t, ids[k.Case], "driver %s has a known failure of %s, which is no case", s.Name, k.Case)
		}
	}
}

// TestEverySDKHasItsDriver keeps every SDK in the matrix.
func TestEverySDKHasItsDriver(t *testing.T) {
	names := map[string]bool{}
	for _, s := range drivers(t) {
		names[s.Name] = true
	}
	for dir, want := range map[string][]string{
		"http": {"http"}, "original": {"original"}, "go": {"go"}, "broken": {"broken"},
		"js": {"js-esm", "js-cjs"}, "python": {"python-sync", "python-async"},
	} {
		for _, name := range want {
			require.True(t, names[name], "drivers/%s/driver.yaml has no driver %s", dir, name)
		}
	}
}

// TestProtocolSchema holds the protocol's schema to JSON Schema, and to its own examples of what is no message.
func TestProtocolSchema(t *testing.T) {
	c := jsonschema.NewCompiler()
	c.AssertFormat()
	schema, err := c.Compile("protocol.schema.json")
	require.NoError(t, err)
	for line, ok := range map[string]bool{
		`{"id":1,"op":"hello","protocol":1}`:                                              true,
		`{"id":2,"op":"acquire","client":"a","lock":"l","resource":"r","blocking":false}`: true,
		`{"id":2,"op":"acquire","client":"a","lock":"l"}`:                                 false,
		`{"id":2,"op":"steal","client":"a"}`:                                              false,
		`{"id":2,"ok":{}}`:                                                                true,
		`{"id":2,"ok":{},"fault":"both"}`:                                                 false,
		`{"id":2}`:                                                                        false,
		`{"id":2,"error":{"code":"locked","class":"LockedError","base":true,"message":"m"}}`:          true,
		`{"id":2,"error":{"code":"locked","class":"LockedError","base":true,"message":"m","x":true}}`: false,
		`{"id":2,"event":"entered","token":7}`:                                                        true,
		`{"id":2,"event":"left"}`:                                                                     false,
	} {
		v, err := jsonschema.UnmarshalJSON(bytes.NewReader([]byte(line)))
		require.NoError(t, err)
		if ok {
			require.NoError(t, schema.Validate(v), line)
		} else {
			require.Error(t, schema.Validate(v), line)
		}
	}
}

// TestReadmeTables holds the generated tables in README.md, here and of the project, to what they are generated from: the rules always,
// the matrix when asked, after a run of all in Docker.
func TestReadmeTables(t *testing.T) {
	all, err := cases.Load(conformance.Files)
	require.NoError(t, err)
	rules, err := loadRules(os.DirFS("."))
	require.NoError(t, err)
	if !*update {
		before, err := os.ReadFile("README.md")
		require.NoError(t, err)
		require.Equal(t, between(t, string(before), "rules", ruleTable(rules, all)), string(before), "the table of rules in README.md is out of date: make -C conformance readme")
		return
	}
	rewrite(t, "README.md", "rules", ruleTable(rules, all))
	containers := &docker.Place{}
	table, left := lastMatrix(t, all, "report", containers)
	if left == "" {
		rewrite(t, "README.md", "matrix", table)
		rewrite(t, "../README.md", "totals", totals(t, table))
	}
	table, of := lastMatrix(t, all, filepath.Join("report", "cluster"), &cluster.Place{Place: containers})
	if of == "" {
		rewrite(t, "README.md", "clusters", totals(t, table))
	}
	if left+of != "" {
		t.Skipf("left as it is: the matrix, if this says why: %q; that of clusters, if this does: %q", left, of)
	}
}

// totals is a matrix without the families.
func totals(t *testing.T, table string) string {
	t.Helper()
	lines := strings.SplitAfter(strings.TrimSpace(table)+"\n", "\n")
	require.Greater(t, len(lines), 3)
	return lines[0] + lines[1] + lines[len(lines)-2]
}

// lastMatrix is the matrix of the last run in that place, or why that is none for the README: it must be whole.
func lastMatrix(t *testing.T, all []*cases.Case, dir string, where place.Place) (table, problem string) {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(dir, "report.json"))
	if errors.Is(err, fs.ErrNotExist) {
		return "", "there is no report; make docker writes one"
	}
	require.NoError(t, err)
	var rep struct {
		report.Report
		Summary string
	}
	require.NoError(t, json.Unmarshal(b, &rep))
	if rep.Place != where.Name() {
		return "", "the last report is of " + rep.Place
	}
	played := map[string]bool{}
	for _, r := range rep.Results {
		if !r.Verdict.Good() {
			return "", "the last report has failures"
		}
		played[r.Case+" "+r.Driver] = true
	}
	for _, c := range all {
		if c.Wire && !played[c.ID+" "+suite.Wire] {
			return "", "the last report does not have " + c.ID
		}
		for _, s := range drivers(t) {
			if !c.Wire && !s.Hidden && !played[c.ID+" "+s.Name] {
				return "", "the last report does not have " + c.ID + " of " + s.Name
			}
		}
		for _, d := range rep.Drivers { // those of both transports
			if !c.Wire && d.Name != suite.Wire && !played[c.ID+" "+d.Name] {
				return "", "the last report does not have " + c.ID + " of " + d.Name
			}
		}
	}
	return rep.Summary, ""
}

// rewrite puts a table into a file.
func rewrite(t *testing.T, file, name, table string) {
	t.Helper()
	before, err := os.ReadFile(file)
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(file, []byte(between(t, string(before), name, table)), 0o644))
}

// between replaces what stands between two markers.
func between(t *testing.T, text, name, table string) string {
	t.Helper()
	begin, end := "<!-- begin "+name+" -->\n", "<!-- end "+name+" -->"
	head, rest, ok := strings.Cut(text, begin)
	require.True(t, ok, "README.md has no %s", begin)
	_, tail, ok := strings.Cut(rest, end)
	require.True(t, ok, "README.md has no %s", end)
	return head + begin + table + end + tail
}
