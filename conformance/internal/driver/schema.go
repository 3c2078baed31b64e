package driver

import (
	"bytes"
	"fmt"
	"os"
	"sync"

	"github.com/santhosh-tekuri/jsonschema/v6"
)

// Schema is protocol.schema.json, by the names of its definitions.
type Schema struct {
	compiler *jsonschema.Compiler
	mu       sync.Mutex
	parts    map[string]*jsonschema.Schema
}

const schemaURL = "https://lockserver.dev/conformance/protocol.schema.json"

// LoadSchema reads the protocol's schema.
func LoadSchema(file string) (*Schema, error) {
	b, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(b))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	c := jsonschema.NewCompiler()
	if err := c.AddResource(schemaURL, doc); err != nil {
		return nil, err
	}
	return &Schema{compiler: c, parts: map[string]*jsonschema.Schema{}}, nil
}

// Check checks a line against one definition.
func (s *Schema) Check(part string, line []byte) error {
	v, err := jsonschema.UnmarshalJSON(bytes.NewReader(line))
	if err != nil {
		return err
	}
	return s.CheckValue(part, v)
}

// CheckValue checks a decoded value against one definition.
func (s *Schema) CheckValue(part string, v any) error {
	schema, err := s.part(part)
	if err != nil {
		return err
	}
	return schema.Validate(v)
}

func (s *Schema) part(name string) (*jsonschema.Schema, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.parts[name] == nil {
		schema, err := s.compiler.Compile(schemaURL + "#/$defs/" + name)
		if err != nil {
			return nil, err
		}
		s.parts[name] = schema
	}
	return s.parts[name], nil
}
