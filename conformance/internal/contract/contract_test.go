package contract_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/lockserver/lockserver/conformance/internal/contract"
)

const file = "../../contract.json"

func TestTheTablesAreThoseOfTheContract(t *testing.T) {
	c, err := contract.Load(file)
	require.NoError(t, err)
	stale, err := c.Generate("../../..", true)
	require.NoError(t, err)
	require.Empty(t, stale, "run make generate")
}

func TestAnEditedTableIsStale(t *testing.T) {
	c, err := contract.Load(file)
	require.NoError(t, err)
	c.Codes[0].Says += "!"
	stale, err := c.Generate("../../..", true)
	require.NoError(t, err)
	require.Contains(t, stale, "conformance/SPEC.md")
}

func TestWhatDoesNotHoldTogetherIsRefused(t *testing.T) {
	content, err := os.ReadFile(file)
	require.NoError(t, err)
	for name, c := range map[string]struct{ old, replacement, says string }{
		"unknown member":   {`"codes": [`, `"kodes": [`, "unknown field"},
		"code twice":       {`"code": "token_required"`, `"code": "invalid_request"`, "there twice"},
		"unknown field":    {`"required": ["resource", "owner"]`, `"required": ["resource", "ovner"]`, "no field ovner"},
		"unknown verdict":  {`"client": "retry"`, `"client": "retrie"`, "is not one of"},
		"wire, no verdict": {`"status": 401, "client": "raise", "says"`, `"status": 401, "says"`, "a wire code has"},
		"unit":             {`"unit": "divisor"`, `"unit": "parts"`, "is not one of"},
	} {
		bad := strings.Replace(string(content), c.old, c.replacement, 1)
		require.NotEqual(t, string(content), bad, name)
		path := filepath.Join(t.TempDir(), "contract.json")
		require.NoError(t, os.WriteFile(path, []byte(bad), 0o600))
		_, err := contract.Load(path)
		require.ErrorContains(t, err, c.says, name)
	}
}

func TestNames(t *testing.T) {
	require.Equal(t, "IDUsed", contract.Go("id_used"))
	require.Equal(t, "ID", contract.Go("id"))
	require.Equal(t, "Idle", contract.Go("idle"))
	require.Equal(t, "IdUsedError", contract.Class("id_used"))
	require.Equal(t, "tooManyLocks", contract.Camel("too_many_locks"))
}
