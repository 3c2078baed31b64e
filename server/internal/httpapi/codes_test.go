package httpapi

import (
	"encoding/json"
	"os"
	"testing"

	"github.com/stretchr/testify/require"
)

// The conformance suite has the table of codes that all languages share: each of its rows is ours.
func TestCodesAreThoseOfTheContract(t *testing.T) {
	content, err := os.ReadFile("../../../conformance/codes.json")
	require.NoError(t, err)
	var table struct {
		Wire []struct {
			Code   code
			Status int
		}
	}
	require.NoError(t, json.Unmarshal(content, &table))
	want := map[code]int{}
	for _, row := range table.Wire {
		want[row.Code] = row.Status
	}
	got := map[code]int{}
	for _, c := range []code{
		codeInvalidRequest, codeTokenRequired, codeUnauthorized, codeNotFound, codeMethodNotAllowed, codeLocked, codeNotHeld, codeLimitMismatch,
		codeIDUsed, codeTooLarge, codeTooManyLocks, codeTooManyWaiters, codeInternal, codeDraining, codeStoreUnavailable,
	} {
		got[c], _ = c.row()
	}
	require.Equal(t, want, got)
}
