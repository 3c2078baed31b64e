package httpapi

import (
	"net/http"
	"net/url"
	"testing"
	"unicode/utf8"

	"github.com/stretchr/testify/require"
)

// FuzzQuery holds the query decoder against the standard library's reading of the same query.
func FuzzQuery(f *testing.F) {
	for _, seed := range []string{
		"", "resource=r", "resource=%C3%BCber+alles&token=3", "resource=a&resource=b", "prefix=&owner=&limit=&cursor=", "limit=1000&prefix=jobs/",
		"limit=0", "token=1e3", "resource=%FF", "resource=%00", "a;b", "%G1=x", "limits=3", "=x", "resource", "token=9007199254740992",
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, raw string) {
		for _, allowed := range []fieldSet{0, setOf(fieldResource, fieldToken), setOf(fieldPrefix, fieldOwner, fieldPageLimit, fieldCursor)} {
			got, page, err := query(&http.Request{URL: &url.URL{RawQuery: raw}}, allowed)
			values, bad := url.ParseQuery(raw)
			if err != nil {
				require.NotEmpty(t, err.field)
				require.True(t, utf8.ValidString(err.Error()))
				require.False(t, hasControl(err.Error()))
				continue
			}
			require.NoError(t, bad)
			for name, list := range values {
				require.Len(t, list, 1)
				which, known := queryField(name, allowed)
				require.True(t, known, name)
				require.Equal(t, list[0] != "", got.given.has(which))
			}
			require.Equal(t, values.Get("resource"), got.resource)
			require.Equal(t, values.Get("owner"), got.owner)
			require.Equal(t, values.Get("prefix"), page.Prefix)
			require.Equal(t, values.Get("cursor"), page.Cursor)
			require.True(t, page.Limit >= 1 && page.Limit <= maxPage)
			require.True(t, got.token >= 0 && got.token <= maxToken)
			require.True(t, utf8.ValidString(got.resource+got.owner+page.Prefix))
			require.False(t, hasControl(got.resource+got.owner+page.Prefix))
		}
	})
}
