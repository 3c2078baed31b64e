// Package contract reads contract.json, the one table of the contract, and writes from it the tables of the server, of the SDKs and
// of the documentation.
package contract

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"slices"
	"strings"
)

// Contract is contract.json; the comments there say what each member means.
type Contract struct {
	Comment     string      `json:"comment"`
	Fields      []Field     `json:"fields"`
	Operations  []Operation `json:"operations"`
	Codes       []Code      `json:"codes"`
	WithoutCode struct {
		Comment string   `json:"comment"`
		Status  []Status `json:"status"`
		Else    struct {
			Code   string `json:"code"`
			Client string `json:"client"`
		} `json:"else"`
		UnknownCode string `json:"unknown_code"`
	} `json:"without_code"`
	Client struct {
		Comment string   `json:"comment"`
		Figures []Figure `json:"figures"`
	} `json:"client"`
}

// Field is a member of a request.
type Field struct {
	Name    string   `json:"name"`
	Wire    string   `json:"wire"`    // its name on the wire if another field has taken that name
	Type    string   `json:"type"`    // string, choice, integer or seconds
	Min     int64    `json:"min"`     // bytes of a string, or the least number
	Above   *int64   `json:"above"`   // the number must be greater
	Max     int64    `json:"max"`     // bytes of a string, or the greatest number
	Cap     int64    `json:"cap"`     // greater numbers are taken for this one
	Control bool     `json:"control"` // control characters may be in it
	Of      []string `json:"of"`      // what a choice is among
	Default int64    `json:"default"`
	Allowed string   `json:"allowed"` // what the error about a wrong one says
	Means   string   `json:"means"`
}

// Operation is a kind of request.
type Operation struct {
	Name      string   `json:"name"`
	Method    string   `json:"method"`
	Path      string   `json:"path"`
	In        string   `json:"in"` // where its fields are: body, query or none; session: it is asked for in a session only
	Fields    []string `json:"fields"`
	Required  []string `json:"required"`
	Open      bool     `json:"open"`        // needs no secret
	Protocol  string   `json:"subprotocol"` // of the WebSocket that it becomes
	Answers   []int    `json:"answers"`
	AnswerMax int      `json:"answer_max"` // bytes; 0 for a stream
}

// Code is an error code. Those without a status are made by the SDKs.
type Code struct {
	Code       string `json:"code"`
	Status     int    `json:"status"`
	Client     string `json:"client"` // retry, raise or handle, by the rule given
	Rule       string `json:"rule"`
	RetryAfter bool   `json:"retry_after"`
	Says       string `json:"says"`
}

// Status is what a status means that came without a code.
type Status struct {
	Status int    `json:"status"`
	Code   string `json:"code"`
	Client string `json:"client"`
}

// Figure is a number that every SDK keeps.
type Figure struct {
	Name   string  `json:"name"`
	Value  float64 `json:"value"`
	Unit   string  `json:"unit"`   // s, factor, fraction, divisor, count or bytes
	Server bool    `json:"server"` // the server keeps it too
	Means  string  `json:"means"`
}

// Load reads the contract and checks that it holds together.
func Load(file string) (*Contract, error) {
	content, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	d := json.NewDecoder(bytes.NewReader(content))
	d.DisallowUnknownFields()
	c := &Contract{}
	if err := d.Decode(c); err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	if err := c.check(); err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	return c, nil
}

func (c *Contract) check() error {
	seen := names{}
	for _, f := range c.Fields {
		if err := seen.add("field", f.Name, "string", f.Type, "choice", "integer", "seconds"); err != nil {
			return err
		}
		if f.Allowed == "" || f.Means == "" {
			return fmt.Errorf("field %s: allowed or means is missing", f.Name)
		}
	}
	for _, o := range c.Operations {
		if err := seen.add("operation", o.Name, "none", o.In, "body", "query", "session"); err != nil {
			return err
		}
		for _, f := range append(o.Fields, o.Required...) {
			if !seen["field "+f] {
				return fmt.Errorf("operation %s: there is no field %s", o.Name, f)
			}
		}
	}
	for _, code := range c.Codes {
		if err := seen.add("code", code.Code, "", code.Client, "retry", "raise", "handle"); err != nil {
			return err
		}
		if (code.Client == "") != (code.Status == 0) || (code.Client == "handle") != (code.Rule != "") {
			return fmt.Errorf("code %s: a wire code has status and client, and a rule if that is handle", code.Code)
		}
	}
	for _, s := range c.WithoutCode.Status {
		if err := seen.add("status", fmt.Sprint(s.Status), "retry", s.Client, "raise"); err != nil {
			return err
		}
		if !seen["code "+s.Code] {
			return fmt.Errorf("status %d: there is no code %s", s.Status, s.Code)
		}
	}
	for _, f := range c.Client.Figures {
		if err := seen.add("figure", f.Name, "s", f.Unit, "factor", "fraction", "divisor", "count", "bytes"); err != nil {
			return err
		}
	}
	return nil
}

// names tells which rows there are, by kind and name.
type names map[string]bool

// add notes a row, whose value must be one of those given.
func (n names) add(kind, name, first, value string, more ...string) error {
	if name == "" || n[kind+" "+name] {
		return fmt.Errorf("%s %q: the name is missing or there twice", kind, name)
	}
	n[kind+" "+name] = true
	if slices.Contains(append(more, first), value) {
		return nil
	}
	return fmt.Errorf("%s %s: %q is not one of %q", kind, name, value, append(more, first))
}

// WireName is the name of the field in a request.
func (f Field) WireName() string {
	if f.Wire != "" {
		return f.Wire
	}
	return f.Name
}

// Go is a name of the contract in Go: IDUsed for id_used.
func Go(name string) string {
	s := pascal(name)
	if strings.HasPrefix(s, "Id") && (len(s) == 2 || s[2] >= 'A' && s[2] <= 'Z') {
		s = "ID" + s[2:]
	}
	return s
}

// Class is the name of a code's error in languages that have classes: IdUsedError for id_used.
func Class(code string) string { return pascal(code) + "Error" }

// Camel is a name of the contract in TypeScript: idUsed for id_used.
func Camel(name string) string {
	s := pascal(name)
	return strings.ToLower(s[:1]) + s[1:]
}

func pascal(name string) string {
	var b strings.Builder
	for word := range strings.SplitSeq(name, "_") {
		b.WriteString(strings.ToUpper(word[:1]) + word[1:])
	}
	return b.String()
}
