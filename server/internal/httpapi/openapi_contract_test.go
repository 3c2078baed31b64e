package httpapi_test

import (
	"encoding/json"
	"maps"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// openapi.yaml has the operations of the contract, their fields with the same bounds, and its codes with the same status.
func TestDescriptionIsThatOfTheContract(t *testing.T) {
	content, err := os.ReadFile("../../../conformance/contract.json")
	require.NoError(t, err)
	var contract struct {
		Fields []struct {
			Name, Wire, Type string
			Min, Max         float64
		}
		Operations []struct {
			Name, Method, Path, In string
			Fields, Required       []string
			Open                   bool
		}
		Codes []struct {
			Code   string
			Status int
		}
	}
	require.NoError(t, json.Unmarshal(content, &contract))
	d := described()
	wireName := map[string]string{}
	for _, f := range contract.Fields {
		wireName[f.Name] = f.Name
		if f.Wire != "" {
			wireName[f.Name] = f.Wire
		}
	}
	names := func(fields []string) []string {
		var wire []string
		for _, f := range fields {
			wire = append(wire, wireName[f])
		}
		return slices.Sorted(slices.Values(wire))
	}

	seen, statuses := map[string]bool{}, map[string]map[string]bool{}
	for _, op := range contract.Operations {
		if op.In == "session" {
			continue // OpenAPI does not describe the messages of a WebSocket
		}
		where := []string{"paths", op.Path, strings.ToLower(op.Method)}
		node, _ := d.at(where...)
		require.NotNil(t, node, op.Name)
		seen[op.Method+" "+op.Path] = true
		_, open := node.(map[string]any)["security"]
		require.Equal(t, op.Open, open, op.Name)

		schemas, required := d.fields(t, where)
		require.Equal(t, names(op.Fields), slices.Sorted(maps.Keys(schemas)), op.Name)
		require.Equal(t, names(op.Required), required, op.Name)
		for _, f := range contract.Fields {
			if !slices.Contains(op.Fields, f.Name) {
				continue
			}
			least, most := "minLength", "maxLength"
			if f.Type == "integer" || f.Type == "seconds" {
				least, most = "minimum", "maximum"
			}
			if schema := schemas[wireName[f.Name]]; f.Max != 0 {
				require.Equal(t, f.Max, bound(t, schema, most), "%s of %s, %s", most, f.Name, op.Name)
				if op.In == "body" { // an empty parameter of a query is absent
					require.Equal(t, f.Min, bound(t, schema, least), "%s of %s, %s", least, f.Name, op.Name)
				}
			}
		}
		answers, _ := d.at(append(where, "responses")...)
		for status := range answers.(map[string]any) {
			media, _ := d.at(append(where, "responses", status, "content")...)
			found := map[string]bool{}
			kinds, _ := media.(map[string]any)
			for kind := range kinds {
				schema, _ := d.at(append(where, "responses", status, "content", kind, "schema")...)
				d.codes(schema, found)
			}
			for code := range found {
				if statuses[code] == nil {
					statuses[code] = map[string]bool{}
				}
				statuses[code][status] = true
			}
		}
	}
	for path := range d.doc["paths"].(map[string]any) {
		for method := range d.operations(path) {
			require.True(t, seen[strings.ToUpper(method)+" "+path], "%s %s is not in the contract", method, path)
		}
	}
	for _, c := range contract.Codes {
		if c.Status != 0 {
			require.Equal(t, map[string]bool{strconv.Itoa(c.Status): true}, statuses[c.Code], c.Code)
			delete(statuses, c.Code)
		}
	}
	require.Empty(t, statuses, "codes that are not in the contract")
}

// bound is a bound of a schema, 0 if it has none.
func bound(t *testing.T, schema map[string]any, key string) float64 {
	t.Helper()
	n, ok := schema[key].(json.Number)
	if !ok {
		return 0
	}
	f, err := n.Float64()
	require.NoError(t, err)
	return f
}

// fields returns the schemas of what an operation takes, and the names of what must be there.
func (d *openAPI) fields(t *testing.T, where []string) (schemas map[string]map[string]any, required []string) {
	t.Helper()
	schemas = map[string]map[string]any{}
	body, _ := d.at(append(slices.Clone(where), "requestBody", "content", "application/json", "schema")...)
	if body != nil {
		properties := body.(map[string]any)["properties"].(map[string]any)
		for name, schema := range properties {
			schemas[name] = d.resolve(schema)
		}
		for _, name := range body.(map[string]any)["required"].([]any) {
			required = append(required, name.(string))
		}
	}
	for _, at := range [][]string{where[:2], where} { // a path has parameters of its own
		list, _ := d.at(append(slices.Clone(at), "parameters")...)
		parameters, _ := list.([]any)
		for _, p := range parameters {
			parameter := p.(map[string]any)
			name := parameter["name"].(string)
			schemas[name] = d.resolve(parameter["schema"])
			if parameter["required"] == true {
				required = append(required, name)
			}
		}
	}
	slices.Sort(required)
	return schemas, required
}

// resolve follows a schema's reference, and takes the first of two if the other is null.
func (d *openAPI) resolve(schema any) map[string]any {
	m := schema.(map[string]any)
	if ref, ok := m["$ref"].(string); ok {
		target, _ := d.at(strings.Split(strings.TrimPrefix(ref, "#/"), "/")...)
		return target.(map[string]any)
	}
	if either, ok := m["oneOf"].([]any); ok {
		return d.resolve(either[0])
	}
	return m
}
