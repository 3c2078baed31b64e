package play

import (
	"encoding/json"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestMatch gives what cases can expect of a result, and whether the result is so.
func TestMatch(t *testing.T) {
	got := `{"n": 1795418421973391, "s": "text", "list": [1, 2], "none": null, "deep": [{"a": 1, "b": 2}], "empty": []}`
	for want, ok := range map[string]bool{
		`{}`:                                   true,
		`{"n": 1795418421973391}`:              true,
		`{"n": 1795418421973390}`:              false,
		`{"n": "1795418421973391"}`:            false,
		`{"s": "text", "list": [1, 2]}`:        true,
		`{"list": [1]}`:                        false,
		`{"list": [2, 1]}`:                     false,
		`{"missing": 1}`:                       false,
		`{"missing": null}`:                    false,
		`{"none": null}`:                       true,
		`{"none": {"$absent": true}}`:          true,
		`{"missing": {"$absent": true}}`:       true,
		`{"s": {"$absent": true}}`:             false,
		`{"deep": [{"a": 1}]}`:                 true,
		`{"deep": [{"a": 2}]}`:                 false,
		`{"n": {"$gt": 1}}`:                    true,
		`{"n": {"$lt": 1}}`:                    false,
		`{"s": {"$gt": 1}}`:                    false,
		`{"n": {"$between": [1, 2]}}`:          false,
		`{"list": {"$has": 2}}`:                true,
		`{"list": {"$has": [1, 2]}}`:           true,
		`{"list": {"$has": 3}}`:                false,
		`{"list": {"$each": {"$ge": 1}}}`:      true,
		`{"list": {"$each": {"$ge": 2}}}`:      false,
		`{"empty": {"$each": {"$ge": 2}}}`:     false,
		`{"missing": {"$each": {"$ge": 2}}}`:   false,
		`{"list": {"$size": 2}}`:               true,
		`{"empty": {"$size": 0}}`:              true,
		`{"list": {"$size": {"$gt": 2}}}`:      false,
		`{"s": {"$matches": "^te"}}`:           true,
		`{"s": {"$matches": "^x"}}`:            false,
		`{"s": {"$not": "text"}}`:              false,
		`{"s": {"$not": {"$matches": "x$"}}}`:  true,
		`{"s": {"$one_of": ["a", "text"]}}`:    true,
		`{"s": {"$one_of": ["a", "b"]}}`:       false,
		`{"s": {"$typo": 1}}`:                  false,
		`{"missing": {"$any": true}}`:          false,
		`{"none": {"$any": true}}`:             true,
		`{"list": {"$one_of": [[1], [1, 2]]}}`: true,
	} {
		var w, g any
		require.NoError(t, json.Unmarshal([]byte(want), &w))
		require.NoError(t, json.Unmarshal([]byte(got), &g))
		require.Equal(t, ok, match("it", w, g) == "", "%s: %s", want, match("it", w, g))
	}
}
