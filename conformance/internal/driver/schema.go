package driver

import (
	"bytes"
	"fmt"
	"io/fs"
	"sync"

	"github.com/santhosh-tekuri/jsonschema/v6"
)

// Schema is the suite's schemas, case.schema.json and protocol.schema.json.
type Schema struct {
	compiler *jsonschema.Compiler
	mu       sync.Mutex
	parts    map[string]*jsonschema.Schema
}

const schemaURL = "https://lockserver.dev/conformance/"

// LoadSchema reads the schemas.
func LoadSchema(files fs.FS) (*Schema, error) {
	s := &Schema{compiler: jsonschema.NewCompiler(), parts: map[string]*jsonschema.Schema{}}
	for _, name := range []string{"case.schema.json", "protocol.schema.json"} {
		b, err := fs.ReadFile(files, name)
		if err != nil {
			return nil, err
		}
		doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(b))
		if err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		if err := s.compiler.AddResource(schemaURL+name, doc); err != nil {
			return nil, err
		}
	}
	return s, nil
}

// Check checks a line of the protocol against one definition.
func (s *Schema) Check(part string, line []byte) error {
	v, err := jsonschema.UnmarshalJSON(bytes.NewReader(line))
	if err != nil {
		return err
	}
	return s.CheckValue("protocol.schema.json#/$defs/"+part, v)
}

// CheckValue checks a decoded value against a schema, or one of its parts.
func (s *Schema) CheckValue(name string, v any) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.parts[name] == nil {
		schema, err := s.compiler.Compile(schemaURL + name)
		if err != nil {
			return err
		}
		s.parts[name] = schema
	}
	return s.parts[name].Validate(v)
}
