// Package report writes what a run found: Markdown for people, JSON and JUnit for programs.
package report

import (
	"bytes"
	"cmp"
	"encoding/json"
	"encoding/xml"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// Verdict is how a case went for a driver.
type Verdict string

const (
	Pass           Verdict = "pass"
	Fail           Verdict = "fail"
	KnownFailure   Verdict = "known failure"
	UnexpectedPass Verdict = "unexpected pass" // a known failure that is none any more
	NotApplicable  Verdict = "n/a"
)

// Good says whether the verdict lets the run pass.
func (v Verdict) Good() bool { return v != Fail && v != UnexpectedPass }

var marks = map[Verdict]string{Pass: "✓", Fail: "**✗**", KnownFailure: "(✗)", UnexpectedPass: "**(✓)**", NotApplicable: "–"}

// Result is one cell of the matrix.
type Result struct {
	Case    string   `json:"case"`
	Driver  string   `json:"driver"`
	Verdict Verdict  `json:"verdict"`
	Reason  string   `json:"reason,omitempty"` // of a known failure or of one that does not apply
	Failure string   `json:"failure,omitempty"`
	Trace   []string `json:"trace,omitempty"`
	Stderr  string   `json:"stderr,omitempty"`
	Seconds float64  `json:"seconds"`
}

// Driver is one column.
type Driver struct {
	Name     string            `json:"name"`
	Language string            `json:"language"`
	Version  string            `json:"version"`
	Lacks    map[string]string `json:"lacks,omitempty"`
	Stderr   string            `json:"stderr,omitempty"`
}

// Report is a whole run.
type Report struct {
	Place   string    `json:"place"`
	Began   time.Time `json:"began"`
	Seconds float64   `json:"seconds"`
	Drivers []Driver  `json:"drivers"`
	Results []Result  `json:"results"`
}

// Sort puts results in the order of the cases given, and of the drivers.
func (r *Report) Sort(order []string) {
	at := map[string]int{}
	for i, id := range order {
		at[id] = i
	}
	column := map[string]int{}
	for i, d := range r.Drivers {
		column[d.Name] = i
	}
	slices.SortStableFunc(r.Results, func(a, b Result) int {
		return cmp.Or(cmp.Compare(at[a.Case], at[b.Case]), cmp.Compare(column[a.Driver], column[b.Driver]))
	})
}

func (r *Report) cells() (rows []string, cells map[string]map[string]Result) {
	cells = map[string]map[string]Result{}
	for _, x := range r.Results {
		if cells[x.Case] == nil {
			cells[x.Case] = map[string]Result{}
			rows = append(rows, x.Case)
		}
		cells[x.Case][x.Driver] = x
	}
	return rows, cells
}

// Matrix is the table of case against driver, in Markdown.
func (r *Report) Matrix() string {
	var b strings.Builder
	b.WriteString("| case |")
	for _, d := range r.Drivers {
		fmt.Fprintf(&b, " %s |", d.Name)
	}
	b.WriteString("\n|---|" + strings.Repeat(":-:|", len(r.Drivers)) + "\n")
	rows, cells := r.cells()
	for _, id := range rows {
		fmt.Fprintf(&b, "| `%s` |", id)
		for _, d := range r.Drivers {
			mark := ""
			if x, ok := cells[id][d.Name]; ok {
				mark = marks[x.Verdict]
			}
			fmt.Fprintf(&b, " %s |", mark)
		}
		b.WriteString("\n")
	}
	return b.String()
}

// Summary is the matrix by family: how many cases passed of how many apply.
func (r *Report) Summary() string {
	type key struct{ family, driver string }
	passed, all := map[key]int{}, map[key]int{}
	var families []string
	for _, x := range r.Results {
		family, _, _ := strings.Cut(x.Case, "/")
		if !slices.Contains(families, family) {
			families = append(families, family)
		}
		for _, k := range []key{{family, x.Driver}, {"**all**", x.Driver}} {
			if x.Verdict == NotApplicable {
				continue
			}
			all[k]++
			if x.Verdict == Pass {
				passed[k]++
			}
		}
	}
	var b strings.Builder
	b.WriteString("| family |")
	for _, d := range r.Drivers {
		fmt.Fprintf(&b, " %s |", d.Name)
	}
	b.WriteString("\n|---|" + strings.Repeat(":-:|", len(r.Drivers)) + "\n")
	for _, f := range append(families, "**all**") {
		fmt.Fprintf(&b, "| %s |", f)
		for _, d := range r.Drivers {
			k := key{f, d.Name}
			if all[k] == 0 {
				b.WriteString(" – |")
				continue
			}
			fmt.Fprintf(&b, " %d/%d |", passed[k], all[k])
		}
		b.WriteString("\n")
	}
	return b.String()
}

// Markdown is the whole report for people.
func (r *Report) Markdown() string {
	var b strings.Builder
	fmt.Fprintf(&b, "# Conformance report\n\n%d drivers, %s, %.0f s.\n\n", len(r.Drivers), r.Place, r.Seconds)
	fmt.Fprintf(&b, "%s pass · %s fail · %s known failure · %s known failure that passed · %s does not apply\n\n", marks[Pass], marks[Fail], marks[KnownFailure], marks[UnexpectedPass], marks[NotApplicable])
	b.WriteString(r.Summary() + "\n" + r.Matrix())
	for _, x := range r.Results {
		switch x.Verdict {
		case Fail, UnexpectedPass, KnownFailure:
			fmt.Fprintf(&b, "\n## %s: `%s` with %s\n\n", x.Verdict, x.Case, x.Driver)
			if x.Reason != "" {
				b.WriteString(x.Reason + "\n\n")
			}
			fmt.Fprintf(&b, "```text\n%s\n\n%s\n%s\n```\n", x.Failure, strings.Join(x.Trace, "\n"), x.Stderr)
		}
	}
	b.WriteString("\n## What drivers lack\n")
	for _, d := range r.Drivers {
		for _, f := range slices.Sorted(maps.Keys(d.Lacks)) {
			fmt.Fprintf(&b, "\n- %s: `%s`: %s", d.Name, f, d.Lacks[f])
		}
	}
	b.WriteString("\n\n## Standard error of the drivers\n")
	for _, d := range r.Drivers {
		if d.Stderr != "" {
			fmt.Fprintf(&b, "\n### %s\n\n```text\n%s\n```\n", d.Name, d.Stderr)
		}
	}
	return b.String()
}

// Good says whether every verdict lets the run pass.
func (r *Report) Good() bool {
	return !slices.ContainsFunc(r.Results, func(x Result) bool { return !x.Verdict.Good() })
}

// Text is what went wrong, with the summary.
func (r *Report) Text() ([]byte, error) {
	var b bytes.Buffer
	for _, x := range r.Results {
		if !x.Verdict.Good() {
			fmt.Fprintf(&b, "%s: %s with %s: %s%s\n%s\n%s\n", strings.ToUpper(string(x.Verdict)), x.Case, x.Driver, x.Failure, x.Reason, strings.Join(x.Trace, "\n"), x.Stderr)
		}
	}
	fmt.Fprintf(&b, "%s\n%d drivers, %s, %.1f s\n", r.Summary(), len(r.Drivers), r.Place, r.Seconds)
	return b.Bytes(), nil
}

// JSON is the whole report for programs.
func (r *Report) JSON() ([]byte, error) {
	b, err := json.MarshalIndent(struct {
		*Report
		Summary string `json:"summary"` // Markdown
	}{r, r.Summary()}, "", "  ")
	return append(b, '\n'), err
}

// Formats gives how a report is rendered, by the format's name.
func Formats(name string) (func(*Report) ([]byte, error), error) {
	switch name {
	case "text":
		return (*Report).Text, nil
	case "json":
		return (*Report).JSON, nil
	case "junit":
		return (*Report).JUnit, nil
	}
	return nil, fmt.Errorf("there is no format %q, only text, json and junit", name)
}

// Write writes report.md, report.json and junit.xml into dir.
func (r *Report) Write(dir string) error {
	j, e1 := r.JSON()
	x, e2 := r.JUnit()
	if err := errors.Join(e1, e2, os.MkdirAll(dir, 0o755)); err != nil {
		return err
	}
	return errors.Join(
		os.WriteFile(filepath.Join(dir, "report.md"), []byte(r.Markdown()), 0o644),
		os.WriteFile(filepath.Join(dir, "report.json"), j, 0o644),
		os.WriteFile(filepath.Join(dir, "junit.xml"), x, 0o644))
}

type junitSuites struct {
	XMLName xml.Name     `xml:"testsuites"`
	Suites  []junitSuite `xml:"testsuite"`
}

type junitSuite struct {
	Name     string      `xml:"name,attr"`
	Tests    int         `xml:"tests,attr"`
	Failures int         `xml:"failures,attr"`
	Skipped  int         `xml:"skipped,attr"`
	Cases    []junitCase `xml:"testcase"`
	Stderr   string      `xml:"system-err,omitempty"`
}

type junitCase struct {
	Class   string     `xml:"classname,attr"`
	Name    string     `xml:"name,attr"`
	Seconds float64    `xml:"time,attr"`
	Failure *junitText `xml:"failure"`
	Skipped *junitText `xml:"skipped"`
}

type junitText struct {
	Message string `xml:"message,attr"`
	Text    string `xml:",chardata"`
}

// JUnit is the report as CI systems read it.
func (r *Report) JUnit() ([]byte, error) {
	var doc junitSuites
	for _, d := range r.Drivers {
		s := junitSuite{Name: d.Name, Stderr: d.Stderr}
		for _, x := range r.Results {
			if x.Driver != d.Name {
				continue
			}
			c := junitCase{Class: d.Name, Name: x.Case, Seconds: x.Seconds}
			s.Tests++
			switch {
			case !x.Verdict.Good():
				s.Failures++
				c.Failure = &junitText{Message: string(x.Verdict) + ": " + x.Failure + x.Reason, Text: strings.Join(x.Trace, "\n") + "\n" + x.Stderr}
			case x.Verdict != Pass:
				s.Skipped++
				c.Skipped = &junitText{Message: string(x.Verdict) + ": " + x.Reason}
			}
			s.Cases = append(s.Cases, c)
		}
		doc.Suites = append(doc.Suites, s)
	}
	b, err := xml.MarshalIndent(doc, "", "  ")
	return append([]byte(xml.Header), append(b, '\n')...), err
}
