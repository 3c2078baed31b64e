package httpapi_test

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"maps"
	"mime"
	"net/http"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"
	"github.com/stretchr/testify/require"
	"go.yaml.in/yaml/v3"

	description "github.com/lockserver/lockserver/server"
	"github.com/lockserver/lockserver/server/internal/lock"
	"github.com/lockserver/lockserver/server/internal/wire"
)

// TestMain holds openapi.yaml and the handlers against each other, in both directions: each answer that any test of this package
// gets is checked against the description (see server.read), and at the end each answer that is described must have come.
func TestMain(m *testing.M) {
	code := m.Run()
	// A part of the tests brings a part of the answers.
	whole := flag.Lookup("test.run").Value.String() == "" && flag.Lookup("test.skip").Value.String() == "" &&
		flag.Lookup("test.fuzz").Value.String() == "" && flag.Lookup("test.list").Value.String() == ""
	if code == 0 && whole {
		if missing := described().missing(); len(missing) > 0 {
			fmt.Fprintf(os.Stderr, "FAIL: openapi.yaml describes answers that no test has got:\n  %s\n", strings.Join(missing, "\n  "))
			code = 1
		}
	}
	os.Exit(code)
}

// openAPI is openapi.yaml, and which of its answers have come.
type openAPI struct {
	doc     map[string]any
	schemas *jsonschema.Compiler

	mu   sync.Mutex
	seen map[string]bool
}

var described = sync.OnceValue(func() *openAPI {
	d := &openAPI{seen: map[string]bool{}, schemas: jsonschema.NewCompiler()}
	if err := d.load(); err != nil {
		panic(err)
	}
	return d
})

func (d *openAPI) load() error {
	var content any
	if err := yaml.Unmarshal(description.OpenAPI, &content); err != nil {
		return err
	}
	text, err := json.Marshal(content)
	if err != nil {
		return err
	}
	doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(text))
	if err != nil {
		return err
	}
	d.doc = doc.(map[string]any)
	return d.schemas.AddResource("openapi.json", doc)
}

// at follows names from the root of the description, and references on the way. It also returns where it arrived.
func (d *openAPI) at(names ...string) (any, string) {
	var here any = d.doc
	pointer := ""
	for _, name := range names {
		m, ok := here.(map[string]any)
		if !ok {
			return nil, ""
		}
		here = m[name]
		pointer += "/" + strings.NewReplacer("~", "~0", "/", "~1").Replace(name)
		for {
			m, ok := here.(map[string]any)
			ref, isRef := m["$ref"].(string)
			if !ok || !isRef {
				break
			}
			here, pointer = d.at(strings.Split(strings.TrimPrefix(ref, "#/"), "/")...)
		}
	}
	return here, pointer
}

// check says what is wrong with an answer by the description.
func (d *openAPI) check(resp *http.Response, content []byte) error {
	path, method := resp.Request.URL.Path, strings.ToLower(resp.Request.Method)
	if item, _ := d.at("paths", path); item == nil {
		if resp.StatusCode != http.StatusNotFound && resp.StatusCode != http.StatusUnauthorized {
			return fmt.Errorf("%s is not described, and answers %d", path, resp.StatusCode)
		}
		return nil
	}
	if method == "head" {
		method, content = "get", nil
	}
	if op, _ := d.at("paths", path, method); op == nil {
		if resp.StatusCode != http.StatusMethodNotAllowed && resp.StatusCode != http.StatusUnauthorized {
			return fmt.Errorf("%s %s is not described, and answers %d", method, path, resp.StatusCode)
		}
		for method = range d.operations(path) { // they all have the same answer
			break
		}
	}
	status := strconv.Itoa(resp.StatusCode)
	where := []string{"paths", path, method, "responses", status}
	answer, _ := d.at(where...)
	if answer == nil {
		return fmt.Errorf("%s %s: status %s is not described", method, path, status)
	}
	headers, _ := d.at(append(where, "headers")...)
	for name := range headers.(map[string]any) {
		if resp.Header.Get(name) == "" {
			return fmt.Errorf("%s %s %s: no header %s", method, path, status, name)
		}
	}
	if resp.StatusCode == http.StatusSwitchingProtocols { // what follows is no answer
		d.saw(method, path, status, nil)
		return nil
	}
	media, _, err := mime.ParseMediaType(resp.Header.Get("Content-Type"))
	if err != nil {
		return err
	}
	schema, pointer := d.at(append(where, "content", media, "schema")...)
	if schema == nil {
		return fmt.Errorf("%s %s %s: type %s is not described", method, path, status, media)
	}
	if content == nil {
		return nil
	}
	var value any = string(content)
	if strings.HasSuffix(media, "json") {
		if value, err = jsonschema.UnmarshalJSON(bytes.NewReader(content)); err != nil {
			return err
		}
	}
	compiled, err := d.compile(pointer)
	if err != nil {
		return err
	}
	if err := compiled.Validate(value); err != nil {
		return fmt.Errorf("%s %s %s: %w", method, path, status, err)
	}
	d.saw(method, path, status, value)
	return nil
}

func (d *openAPI) compile(pointer string) (*jsonschema.Schema, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.schemas.Compile("openapi.json#" + pointer)
}

func (d *openAPI) saw(method, path, status string, value any) {
	code := ""
	if m, ok := value.(map[string]any); ok {
		code, _ = m["code"].(string)
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.seen[answerName(method, path, status, code)] = true
	if status == strconv.Itoa(http.StatusMethodNotAllowed) {
		for method := range d.operations(path) {
			d.seen[answerName(method, path, status, code)] = true
		}
	}
}

func answerName(method, path, status, code string) string {
	return strings.TrimSpace(strings.ToUpper(method) + " " + path + " " + status + " " + code)
}

func (d *openAPI) operations(path string) map[string]any {
	item, _ := d.at("paths", path)
	operations := map[string]any{}
	for name, op := range item.(map[string]any) {
		if name == "get" || name == "post" || name == "delete" {
			operations[name] = op
		}
	}
	return operations
}

// missing are the answers that are described and have not come.
func (d *openAPI) missing() []string {
	var missing []string
	for path := range d.doc["paths"].(map[string]any) {
		for method := range d.operations(path) {
			answers, _ := d.at("paths", path, method, "responses")
			for status := range answers.(map[string]any) {
				content, _ := d.at("paths", path, method, "responses", status, "content")
				codes := map[string]bool{}
				kinds, _ := content.(map[string]any)
				for media := range kinds {
					schema, _ := d.at("paths", path, method, "responses", status, "content", media, "schema")
					d.codes(schema, codes)
				}
				if len(codes) == 0 {
					codes[""] = true
				}
				for code := range codes {
					if name := answerName(method, path, status, code); !d.seen[name] {
						missing = append(missing, name)
					}
				}
			}
		}
	}
	slices.Sort(missing)
	return missing
}

// codes collects what a schema allows as code.
func (d *openAPI) codes(schema any, into map[string]bool) {
	m, ok := schema.(map[string]any)
	if !ok {
		return
	}
	if ref, ok := m["$ref"].(string); ok {
		target, _ := d.at(strings.Split(strings.TrimPrefix(ref, "#/"), "/")...)
		d.codes(target, into)
	}
	for _, key := range []string{"allOf", "oneOf"} {
		parts, _ := m[key].([]any)
		for _, part := range parts {
			d.codes(part, into)
		}
	}
	properties, _ := m["properties"].(map[string]any)
	code, _ := properties["code"].(map[string]any)
	if c, ok := code["const"].(string); ok {
		into[c] = true
	}
	values, _ := code["enum"].([]any)
	for _, c := range values {
		into[c.(string)] = true
	}
}

// The examples are what the schemas say, and each field of a schema that the server reads has one.
func TestExamplesFitTheirSchemas(t *testing.T) {
	d := described()
	examples := 0
	var walk func(node any, pointer string)
	walk = func(node any, pointer string) {
		switch n := node.(type) {
		case map[string]any:
			if group, ok := n["examples"].(map[string]any); ok && n["schema"] != nil {
				schema, err := d.compile(pointer + "/schema")
				if err != nil {
					t.Fatal(err)
				}
				for name, example := range group {
					examples++
					if err := schema.Validate(example.(map[string]any)["value"]); err != nil {
						t.Errorf("%s, example %s: %v", pointer, name, err)
					}
				}
			}
			for _, name := range slices.Sorted(maps.Keys(n)) {
				walk(n[name], pointer+"/"+strings.NewReplacer("~", "~0", "/", "~1").Replace(name))
			}
		case []any:
			for i, item := range n {
				walk(item, pointer+"/"+strconv.Itoa(i))
			}
		}
	}
	walk(d.doc, "")
	if examples < 30 {
		t.Errorf("only %d examples", examples)
	}
}

// What every operation answers to the same faults of client and server.
func TestEveryOperationHasTheCommonAnswers(t *testing.T) {
	good := start(t, setup{})
	bug := start(t, setup{engine: answering{lock.Answer{}}}) // answers without a code
	loading := start(t, setup{loading: true, history: 10})
	const grant = `{"resource":"r","owner":"o"}`
	for _, op := range []struct{ method, path, body string }{
		{"POST", "/acquire", grant},
		{"POST", "/release", grant},
		{"POST", "/renew", grant},
		{"POST", "/yield", `{"resource":"r"}`},
		{"GET", "/locks", ""},
		{"GET", "/lock?resource=r", ""},
		{"DELETE", "/lock?resource=r", ""},
		{"GET", "/metrics", ""},
		{"GET", "/openapi.yaml", ""},
		{"GET", "/session", ""},
		{"GET", "/events", ""},
		{"GET", "/history?resource=r", ""},
		{"GET", "/stats", ""},
	} {
		name := op.method + " " + op.path
		require.Equal(t, http.StatusUnauthorized, good.do(op.method, op.path, op.body, "X-LOCKSERVER-SECRET", "wrong").status, name)
		require.Equal(t, http.StatusMethodNotAllowed, good.do("PUT", op.path, op.body).status, name)
		told := op.path == "/events" || strings.HasPrefix(op.path, "/history") || op.path == "/stats"
		if told {
			require.Equal(t, "store_unavailable", loading.do(op.method, op.path, op.body).code(), name)
		}
		if told || op.path == "/metrics" || op.path == "/openapi.yaml" || op.path == "/session" {
			continue // they need no engine, or not its answers
		}
		require.Equal(t, "internal", bug.do(op.method, op.path, op.body).code(), name)
		require.Equal(t, "store_unavailable", loading.do(op.method, op.path, op.body).code(), name)
		if op.method == "POST" {
			huge := `{"note":"` + strings.Repeat("x", 70_000) + `"}`
			require.Equal(t, "too_large", good.do(op.method, op.path, huge).code(), name)
		}
	}
}

func TestRenewNeedsATokenWhereAnOwnerHoldsSeveral(t *testing.T) {
	s := start(t, setup{})
	for range 2 {
		require.Equal(t, http.StatusOK, s.acquire(`{"resource":"r","owner":"o","mode":"shared"}`).status)
	}
	require.Equal(t, "token_required", s.do("POST", "/renew", `{"resource":"r","owner":"o"}`).code())
}

func TestTheTextsOfMetricsAndDescription(t *testing.T) {
	s := start(t, setup{})
	require.Equal(t, http.StatusOK, s.acquire(`{"resource":"r","owner":"o"}`).status)
	for path, want := range map[string]string{
		"/metrics":      `lockserver_requests_total{code="granted",operation="acquire"} 1`,
		"/openapi.yaml": string(description.OpenAPI),
	} {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+s.addr+path, nil)
		require.NoError(t, err)
		req.Header.Set("Authorization", "Bearer "+secret)
		resp, err := http.DefaultClient.Do(req)
		require.NoError(t, err)
		content, err := io.ReadAll(resp.Body)
		require.NoError(t, err)
		require.NoError(t, resp.Body.Close())
		require.NoError(t, described().check(resp, content))
		require.Contains(t, string(content), want)
	}
}

func TestSessionsBeginHere(t *testing.T) {
	s := start(t, setup{})
	require.Equal(t, "Upgrade", s.do("GET", "/session", "").body["field"])
	upgrade := []string{
		"Connection", "Upgrade", "Upgrade", "websocket", "Sec-WebSocket-Version", "13", "Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ==",
		"Sec-WebSocket-Protocol", wire.SessionSubprotocol,
	}
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+s.addr+"/session", nil)
	require.NoError(t, err)
	req.Header.Set("Authorization", "Bearer "+secret)
	for i := 0; i < len(upgrade); i += 2 {
		req.Header.Set(upgrade[i], upgrade[i+1])
	}
	resp, err := http.DefaultTransport.RoundTrip(req)
	require.NoError(t, err)
	require.Equal(t, http.StatusSwitchingProtocols, resp.StatusCode)
	require.NoError(t, described().check(resp, nil))
	require.NoError(t, resp.Body.Close())

	s.sessions.Drain()
	got := s.do("GET", "/session", "", upgrade...)
	require.Equal(t, http.StatusServiceUnavailable, got.status)
	require.Equal(t, "draining", got.code())
}
