package httpapi_test

import (
	"net/http"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestStatistics(t *testing.T) {
	s := start(t, setup{})
	require.Equal(t, http.StatusOK, s.acquire(`{"resource":"r","owner":"o"}`).status)
	for range 3 {
		require.Equal(t, http.StatusConflict, s.acquire(`{"resource":"r","owner":"p","wait":0.01}`).status)
	}
	told := s.do("GET", "/stats?top=1", "")
	require.Equal(t, http.StatusOK, told.status)
	most := told.body["resources"].([]any)
	require.Len(t, most, 1)
	require.EqualValues(t, "3", most[0].(map[string]any)["waits"])
	require.Equal(t, "top", s.do("GET", "/stats?top=101", "").body["field"])
	require.Equal(t, "store_unavailable", start(t, setup{loading: true}).do("GET", "/stats", "").code())
}
