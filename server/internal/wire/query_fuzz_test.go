package wire

import (
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
		for op := range operationCount {
			var got Fields
			p := got.DecodeQuery(op, raw)
			if p != nil {
				require.NotEmpty(t, p.Field)
				require.True(t, utf8.ValidString(p.Detail))
				require.False(t, hasControl(p.Detail))
				continue
			}
			values, bad := url.ParseQuery(raw)
			require.NoError(t, bad)
			for name, list := range values {
				require.Len(t, list, 1)
				which, known := operationRows[op].fields.named([]byte(name))
				require.True(t, known, name)
				require.Equal(t, list[0] != "", got.Has(which))
			}
			q := got.Query()
			require.Equal(t, values.Get("resource"), got.Text(FieldResource))
			require.Equal(t, values.Get("owner"), q.Owner)
			require.Equal(t, values.Get("prefix"), q.Prefix)
			require.Equal(t, values.Get("cursor"), q.Cursor)
			require.True(t, q.Size >= 1 && q.Size <= 1000)
			require.True(t, got.Number(FieldToken) >= 0 && got.Number(FieldToken) < 1<<53)
			shown := got.Text(FieldResource) + q.Owner + q.Prefix
			require.True(t, utf8.ValidString(shown))
			require.False(t, hasControl(shown))
		}
	})
}
