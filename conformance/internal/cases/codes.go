package cases

import (
	"encoding/json"
	"fmt"
	"os"
)

// Codes are the error codes of codes.json.
type Codes map[string]Code

// Code is one of them.
type Code struct {
	Code   string `json:"code"`
	Status int    `json:"status"` // 0 for a local one
	Error  string `json:"error"`
	Go     string `json:"go"`
}

// LoadCodes reads codes.json.
func LoadCodes(file string) (Codes, error) {
	b, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	var doc struct{ Wire, Local []Code }
	if err := json.Unmarshal(b, &doc); err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	codes := Codes{}
	for _, c := range append(doc.Wire, doc.Local...) {
		if _, ok := codes[c.Code]; ok {
			return nil, fmt.Errorf("%s: %s is there twice", file, c.Code)
		}
		codes[c.Code] = c
	}
	return codes, nil
}

// Name is the name of a code's error in a language that names errors in that style ("exception" or "go").
func (c Code) Name(style string) string {
	if style == "go" {
		return c.Go
	}
	return c.Error
}
