package conformance_test

import (
	"os"
	"regexp"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/stretchr/testify/require"

	"github.com/lockserver/lockserver/conformance"
	"github.com/lockserver/lockserver/conformance/internal/cases"
)

// TestLinesCanBeRead holds SPEC.md and SDKS.md to lines of 100 characters. Rows of tables may be longer.
func TestLinesCanBeRead(t *testing.T) {
	for _, file := range []string{"SPEC.md", "SDKS.md"} {
		text, err := os.ReadFile(file)
		require.NoError(t, err)
		number := 0
		for line := range strings.Lines(string(text)) {
			number++
			if !strings.HasPrefix(line, "|") {
				require.LessOrEqual(t, utf8.RuneCountInString(strings.TrimSuffix(line, "\n")), 100, "%s:%d", file, number)
			}
		}
	}
}

// TestSDKsPageIsProven makes sure that the rules and cases that SDKS.md names are there.
func TestSDKsPageIsProven(t *testing.T) {
	all, err := cases.Load(conformance.Files)
	require.NoError(t, err)
	rules, err := loadRules(os.DirFS("."))
	require.NoError(t, err)
	known := map[string]bool{}
	for _, c := range all {
		family, _, _ := strings.Cut(c.ID, "/")
		known[c.ID], known[family+"/"] = true, true
	}
	for _, r := range rules {
		known[r.ID] = true
	}
	page, err := os.ReadFile("SDKS.md")
	require.NoError(t, err)
	names := regexp.MustCompile("`(\\d(?:\\.\\d+)?\\.[a-z-]+|[a-z-]+/[a-z-]*)`").FindAllStringSubmatch(string(page), -1)
	require.Greater(t, len(names), 100)
	for _, name := range names {
		require.True(t, known[name[1]], "SDKS.md names %s, which is neither a rule nor a case", name[1])
	}
}
