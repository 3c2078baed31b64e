// Package report writes what a run found: text and Markdown for people, JSON and JUnit for programs.
package report

import (
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

// Alone begins the reason of a case that does not apply to clusters.
const Alone = "not in a cluster: "

// Result is one cell of the matrix.
type Result struct {
	Case    string   `json:"case"`
	Driver  string   `json:"driver"`
	Verdict Verdict  `json:"verdict"`
	Over    string   `json:"over,omitempty"`   // the transport, where it is not that of the column
	Reason  string   `json:"reason,omitempty"` // of a known failure, of one that does not apply, or of the transport
	Failure string   `json:"failure,omitempty"`
	Trace   []string `json:"trace,omitempty"`
	Stderr  string   `json:"stderr,omitempty"`
	Seconds float64  `json:"seconds"`
}

// details are the steps of a failure and what was written meanwhile.
func (r Result) details() string { return strings.Join(r.Trace, "\n") + "\n" + r.Stderr }

// Driver is one column.
type Driver struct {
	Name      string            `json:"name"`
	Transport string            `json:"transport,omitempty"`
	Language  string            `json:"language"`
	Version   string            `json:"version"`
	Lacks     map[string]string `json:"lacks,omitempty"`
	Stderr    string            `json:"stderr,omitempty"`
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
	column := func(x Result) int {
		return slices.IndexFunc(r.Drivers, func(d Driver) bool { return d.Name == x.Driver })
	}
	slices.SortStableFunc(r.Results, func(a, b Result) int {
		return cmp.Or(cmp.Compare(slices.Index(order, a.Case), slices.Index(order, b.Case)), cmp.Compare(column(a), column(b)))
	})
}

// Good says whether every verdict lets the run pass.
func (r *Report) Good() bool {
	return !slices.ContainsFunc(r.Results, func(x Result) bool { return !x.Verdict.Good() })
}

// table is a Markdown table with a row for each group of results, in the order in which they come, and a column for each driver.
func (r *Report) table(title string, groups func(Result) []string, cell func([]Result) string) string {
	cells := map[[2]string][]Result{}
	var rows []string
	for _, x := range r.Results {
		for _, row := range groups(x) {
			if !slices.Contains(rows, row) {
				rows = append(rows, row)
			}
			cells[[2]string{row, x.Driver}] = append(cells[[2]string{row, x.Driver}], x)
		}
	}
	slices.SortStableFunc(rows, func(a, b string) int { // the sum comes last
		return cmp.Compare(strings.Count(a, "*"), strings.Count(b, "*"))
	})
	b := "| " + title + " |"
	for _, d := range r.Drivers {
		b += " " + d.Name + " |"
	}
	b += "\n|---|" + strings.Repeat(":-:|", len(r.Drivers)) + "\n"
	for _, row := range rows {
		b += "| " + row + " |"
		for _, d := range r.Drivers {
			b += " " + cell(cells[[2]string{row, d.Name}]) + " |"
		}
		b += "\n"
	}
	return b
}

// Matrix is the table of case against driver.
func (r *Report) Matrix() string {
	return r.table("case", func(x Result) []string { return []string{"`" + x.Case + "`"} }, func(results []Result) string {
		switch {
		case len(results) == 0:
			return ""
		case results[0].Verdict == Pass && results[0].Over != "":
			return marks[Pass] + " " + results[0].Over
		}
		return marks[results[0].Verdict]
	})
}

// Summary is the matrix by family: how many cases passed of how many apply.
func (r *Report) Summary() string {
	groups := func(x Result) []string {
		family, _, _ := strings.Cut(x.Case, "/")
		return []string{family, "**all**"}
	}
	return r.table("family", groups, func(results []Result) string {
		passed, all := 0, 0
		for _, x := range results {
			if x.Verdict == Pass {
				passed++
			}
			if x.Verdict != NotApplicable {
				all++
			}
		}
		if all == 0 {
			return "–"
		}
		return fmt.Sprintf("%d/%d", passed, all)
	})
}

// Text is what went wrong, with the summary.
func (r *Report) Text() ([]byte, error) {
	var b []byte
	for _, x := range r.Results {
		if !x.Verdict.Good() {
			b = fmt.Appendf(b, "%s: %s with %s: %s%s\n%s\n", strings.ToUpper(string(x.Verdict)), x.Case, x.Driver, x.Failure, x.Reason, x.details())
		}
	}
	return fmt.Appendf(b, "%s\n%d drivers, %s, %.1f s\n", r.Summary(), len(r.Drivers), r.Place, r.Seconds), nil
}

// Markdown is the whole report for people.
func (r *Report) Markdown() ([]byte, error) {
	b := fmt.Appendf(nil, "# Conformance report\n\n%d drivers, %s, %.0f s.\n\n", len(r.Drivers), r.Place, r.Seconds)
	b = fmt.Appendf(b, "%s pass · %s fail · %s known failure · %s known failure that passed · %s does not apply · %s http: passed over HTTP, which the client chose by itself, as the case is about it\n\n", marks[Pass], marks[Fail], marks[KnownFailure], marks[UnexpectedPass], marks[NotApplicable], marks[Pass])
	b = append(b, r.Summary()+"\n"+r.Matrix()...)
	for _, x := range r.Results {
		if x.Verdict != Pass && x.Verdict != NotApplicable {
			b = fmt.Appendf(b, "\n## %s: `%s` with %s\n\n%s\n\n```text\n%s\n\n%s\n```\n", x.Verdict, x.Case, x.Driver, x.Reason, x.Failure, x.details())
		}
	}
	b = r.reasons(b, "Cases about one transport", func(x Result) bool { return x.Over != "" || strings.HasPrefix(x.Reason, "about sessions: ") })
	b = r.reasons(b, "Cases of a server alone", func(x Result) bool { return strings.HasPrefix(x.Reason, Alone) })
	b = append(b, "\n## What drivers lack\n"...)
	for _, d := range r.Drivers {
		for _, f := range slices.Sorted(maps.Keys(d.Lacks)) {
			b = fmt.Appendf(b, "\n- %s: `%s`: %s", d.Name, f, d.Lacks[f])
		}
	}
	b = append(b, "\n\n## Standard error of the drivers\n"...)
	for _, d := range r.Drivers {
		if d.Stderr != "" {
			b = fmt.Appendf(b, "\n### %s\n\n```text\n%s\n```\n", d.Name, d.Stderr)
		}
	}
	return b, nil
}

// reasons lists why cases were played in another way, or not at all, each case once.
func (r *Report) reasons(b []byte, title string, chosen func(Result) bool) []byte {
	told := map[string]bool{}
	for _, x := range r.Results {
		if !chosen(x) || told[x.Case] {
			continue
		}
		if len(told) == 0 {
			b = fmt.Appendf(b, "\n## %s\n", title)
		}
		told[x.Case] = true
		b = fmt.Appendf(b, "\n- `%s`: %s", x.Case, x.Reason)
	}
	if len(told) > 0 {
		b = append(b, '\n')
	}
	return b
}

// JSON is the whole report for programs.
func (r *Report) JSON() ([]byte, error) {
	b, err := json.MarshalIndent(struct {
		*Report
		Summary string `json:"summary"` // Markdown
	}{r, r.Summary()}, "", "  ")
	return append(b, '\n'), err
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
	var doc struct {
		XMLName xml.Name     `xml:"testsuites"`
		Suites  []junitSuite `xml:"testsuite"`
	}
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
				c.Failure = &junitText{Message: string(x.Verdict) + ": " + x.Failure + x.Reason, Text: x.details()}
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

// Formats are the ways to render a report, by name.
var Formats = map[string]func(*Report) ([]byte, error){"text": (*Report).Text, "json": (*Report).JSON, "junit": (*Report).JUnit}

// Write writes report.md, report.json and junit.xml into dir.
func (r *Report) Write(dir string) error {
	errs := []error{os.MkdirAll(dir, 0o755)}
	for name, render := range map[string]func(*Report) ([]byte, error){"report.md": (*Report).Markdown, "report.json": (*Report).JSON, "junit.xml": (*Report).JUnit} {
		b, err := render(r)
		errs = append(errs, err, os.WriteFile(filepath.Join(dir, name), b, 0o644))
	}
	return errors.Join(errs...)
}
