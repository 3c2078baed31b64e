package lockserver

import (
	"encoding/json"
	"math"
	"testing"

	"github.com/stretchr/testify/require"
)

// What is encoded here means to a reader of JSON what encoding/json would have written.
func FuzzRequests(f *testing.F) {
	f.Add("r", "o", "i", "", "", 0.0, 0.0, 0, int64(0))
	f.Add("a \"quoted\" one\\", "é\x00\n", "<&>", "shared", "\xff", 315360000.0, 0.001, 3, int64(1)<<53-1)
	f.Fuzz(func(t *testing.T, resource, owner, id, mode, note string, expire, wait float64, limit int, token int64) {
		if math.IsNaN(expire+wait) || math.IsInf(expire+wait, 0) || math.IsInf(expire, 0) || math.IsInf(wait, 0) {
			return // no number of JSON, nor of a duration
		}
		for _, request := range []any{
			&acquireRequest{resource, owner, expire, wait, id, mode, limit, note},
			&releaseRequest{resource, owner, token, id},
			&renewRequest{resource, owner, token, id, expire},
		} {
			want, err := json.Marshal(request)
			require.NoError(t, err)
			got, err := appendRequest(nil, request)
			require.NoError(t, err)
			var a, b any
			require.NoError(t, json.Unmarshal(want, &a))
			require.NoError(t, json.Unmarshal(got, &b), "%s", got)
			require.Equal(t, a, b)
		}
	})
}
