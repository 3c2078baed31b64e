package conformance_test

import (
	"os"
	"os/exec"
	"path/filepath"
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

var (
	fences  = regexp.MustCompile("(?ms)^```.*?^```")
	links   = regexp.MustCompile(`\]\(([^)\s:]+)\)`)
	heading = regexp.MustCompile(`(?m)^#+ +(.*)$`)
	marks   = regexp.MustCompile(`[^\p{L}\p{N}_ -]`)
)

// TestLinksLeadSomewhere follows the links between the pages of the repository, to headings too.
func TestLinksLeadSomewhere(t *testing.T) {
	list, err := exec.Command("git", "-C", "..", "ls-files", "*.md").Output()
	require.NoError(t, err)
	read := func(file string) string {
		text, err := os.ReadFile(filepath.Join("..", file))
		require.NoError(t, err)
		return fences.ReplaceAllString(string(text), "")
	}
	followed := 0
	for file := range strings.FieldsSeq(string(list)) {
		for _, link := range links.FindAllStringSubmatch(read(file), -1) {
			page, anchor, _ := strings.Cut(link[1], "#")
			target := file
			if page != "" {
				target = filepath.Join(filepath.Dir(file), page)
			}
			_, err := os.Stat(filepath.Join("..", target))
			require.NoError(t, err, "%s links to %s", file, link[1])
			if anchor != "" {
				require.Contains(t, anchors(read(target)), anchor, "%s links to %s", file, link[1])
			}
			followed++
		}
	}
	require.Greater(t, followed, 30)
}

// anchors returns the names by which the headings of a page can be linked to.
func anchors(page string) (names []string) {
	for _, h := range heading.FindAllStringSubmatch(page, -1) {
		names = append(names, strings.ReplaceAll(marks.ReplaceAllString(strings.ToLower(h[1]), ""), " ", "-"))
	}
	return names
}
