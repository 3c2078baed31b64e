package lockserver_test

import (
	"encoding/json"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	lockserver "github.com/lockserver/lockserver/sdk-go"
)

// The names of the errors derive from the one table of codes, and hold every code of the contract.
func TestErrorNamesDeriveFromTheirCodes(t *testing.T) {
	file, err := parser.ParseFile(token.NewFileSet(), "errors.go", nil, 0)
	require.NoError(t, err)
	found := map[string]string{}
	ast.Inspect(file, func(n ast.Node) bool {
		spec, ok := n.(*ast.ValueSpec)
		if !ok {
			return true
		}
		if kind, ok := spec.Type.(*ast.Ident); ok && kind.Name == "Code" {
			value, err := strconv.Unquote(spec.Values[0].(*ast.BasicLit).Value)
			require.NoError(t, err)
			found[value] = spec.Names[0].Name
		}
		return true
	})
	want := contract(t)
	for _, code := range want {
		require.Contains(t, found, code)
	}
	require.Len(t, found, len(want), "codes that the contract does not have")
	for code, name := range found {
		derived := "Err"
		for word := range strings.SplitSeq(code, "_") {
			if word == "id" {
				word = "ID"
			}
			derived += strings.ToUpper(word[:1]) + word[1:]
		}
		require.Equal(t, derived, name)
	}
}

// contract reads the codes of the one table of the whole project.
func contract(t *testing.T) []string {
	content, err := os.ReadFile("../conformance/contract.json")
	if os.IsNotExist(err) {
		t.Skip("NOT CHECKED against the contract: it is in the repository, and this is the module alone")
	}
	require.NoError(t, err)
	var table struct{ Codes []struct{ Code string } }
	require.NoError(t, json.Unmarshal(content, &table))
	var codes []string
	for _, r := range table.Codes {
		codes = append(codes, r.Code)
	}
	require.NotEmpty(t, codes)
	return codes
}

// A program's own tests make errors without a server, and they have to be what errors.Is and errors.As expect.
func TestErrorsThatAProgramMakesItself(t *testing.T) {
	for code, err := range map[lockserver.Code]error{
		lockserver.ErrLocked:    &lockserver.LockedError{Waiters: 1},
		lockserver.ErrLockLost:  &lockserver.LockLostError{Resource: "r", Reason: lockserver.ReasonEvicted},
		lockserver.ErrNotFound:  &lockserver.Error{Code: lockserver.ErrNotFound},
		lockserver.ErrInternal:  lockserver.ErrInternal,
		lockserver.ErrTooLarge:  fmt.Errorf("wrapped: %w", lockserver.ErrTooLarge),
		lockserver.Code("mine"): lockserver.Code("mine"),
	} {
		require.ErrorIs(t, err, code)
		require.ErrorContains(t, err, string(code))
		require.NotErrorIs(t, err, lockserver.ErrLockTimeout)
	}
	failure := requireCode(t, &lockserver.LockLostError{Resource: "r", Reason: lockserver.ReasonEvicted}, lockserver.ErrLockLost)
	require.Equal(t, "r", failure.Resource)
	require.Equal(t, lockserver.ReasonEvicted, failure.Reason)
}
