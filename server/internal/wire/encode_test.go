package wire

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/lockserver/lockserver/server/internal/lock"
)

func FuzzAppendString(f *testing.F) {
	for _, seed := range []string{"", "plain", "é😀", "\"\\\n\t\x00\x1f\x7f", "a\xffb\xc3", "\u2028", "</script>"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, s string) {
		b := AppendString([]byte("x"), s)
		require.Equal(t, byte('x'), b[0])
		var back string
		require.NoError(t, json.Unmarshal(b[1:], &back))
		// Each byte that is no UTF-8 becomes one replacement character, as in encoding/json.
		want := ""
		for _, r := range s {
			want += string(r)
		}
		require.Equal(t, want, back)
		require.NotContains(t, string(b), "\n")
	})
}

func TestAppendSeconds(t *testing.T) {
	for d, want := range map[time.Duration]string{
		0:                                    "0",
		time.Millisecond:                     "0.001",
		1999999:                              "0.001",
		10 * time.Millisecond:                "0.01",
		100 * time.Millisecond:               "0.1",
		time.Second:                          "1",
		time.Second - 1:                      "0.999",
		90*time.Second + 50*time.Millisecond: "90.05",
		maxExpire:                            "315360000",
		-time.Second:                         "0",
	} {
		require.Equal(t, want, string(appendSeconds(nil, "", d)), d)
	}
}

// decodeJSON fails for anything but one JSON value.
func decodeJSON(t *testing.T, b []byte) map[string]any {
	t.Helper()
	var v map[string]any
	d := json.NewDecoder(strings.NewReader(string(b)))
	d.UseNumber()
	require.NoError(t, d.Decode(&v), string(b))
	require.False(t, d.More())
	return v
}

func TestAppendGrant(t *testing.T) {
	got := decodeJSON(t, AppendGrant(nil, "r\"", "ö", &lock.Answer{Token: 1<<53 - 1, ExpiresIn: 1500 * time.Millisecond, Waited: 999 * time.Microsecond}))
	require.Equal(t, map[string]any{
		"resource": "r\"", "owner": "ö", "id": nil, "token": json.Number("9007199254740991"), "mode": "exclusive", "limit": nil,
		"expires_in": json.Number("1.5"), "waited": json.Number("0"),
	}, got)
	got = decodeJSON(t, AppendGrant(nil, "r", "o", &lock.Answer{ID: "i", Token: 1, Mode: lock.Semaphore, Limit: 7, ExpiresIn: lock.NoLease}))
	require.Equal(t, map[string]any{
		"resource": "r", "owner": "o", "id": "i", "token": json.Number("1"), "mode": nil, "limit": json.Number("7"),
		"expires_in": nil, "waited": json.Number("0"),
	}, got)
}

func TestAppendLooks(t *testing.T) {
	holders := []lock.Holder{
		{Owner: "a", ID: "i", Note: "n\n", Token: 5, HeldFor: 2 * time.Second, ExpiresIn: 3 * time.Second, Renewed: 500 * time.Millisecond},
		{Owner: "b", Token: 6, ExpiresIn: lock.NoLease, Renewed: lock.Never},
	}
	shown := []any{
		map[string]any{"owner": "a", "id": "i", "token": json.Number("5"), "note": "n\n", "held_for": json.Number("2"), "expires_in": json.Number("3"), "renewed_ago": json.Number("0.5")},
		map[string]any{"owner": "b", "id": nil, "token": json.Number("6"), "note": nil, "held_for": json.Number("0"), "expires_in": nil, "renewed_ago": nil},
	}
	l := lock.Lock{Resource: "r", Mode: lock.Shared, Holders: holders, HoldersTotal: 12, Waiters: 2}
	shownLock := map[string]any{
		"resource": "r", "mode": "shared", "limit": nil, "holders": shown, "holders_total": json.Number("12"), "waiters": json.Number("2"),
	}
	require.Equal(t, map[string]any{"locks": []any{shownLock, shownLock}, "next": "c"},
		decodeJSON(t, AppendPage(nil, &lock.Detail{Locks: []lock.Lock{l, l}, Next: "c"})))
	require.Equal(t, map[string]any{"locks": []any{}, "next": nil}, decodeJSON(t, AppendPage(nil, &lock.Detail{})))

	require.Equal(t, map[string]any{"resource": "r", "evicted": shown}, decodeJSON(t, AppendTold(nil, "r", "evicted", &lock.Detail{Holders: holders})))

	estimate := map[string]any{"p50": json.Number("1.5"), "p90": json.Number("60"), "holds": json.Number("9")}
	known := lock.Estimate{Holds: 9, P50: 1500 * time.Millisecond, P90: time.Minute}
	shownLock["held"], shownLock["estimate"] = estimate, nil
	shownLock["queue"] = []any{
		map[string]any{"position": json.Number("1"), "owner": "w", "id": "i", "note": "n", "waited": json.Number("0.25"), "present": true, "estimate": estimate},
		map[string]any{"position": json.Number("2"), "owner": "v", "id": nil, "note": nil, "waited": json.Number("0"), "present": false, "estimate": nil},
	}
	require.Equal(t, shownLock, decodeJSON(t, AppendLockAndQueue(nil, &lock.Detail{Locks: []lock.Lock{l}, Held: known, Queue: []lock.Waiter{
		{Position: 1, Owner: "w", ID: "i", Note: "n", Waited: 250 * time.Millisecond, Present: true, Estimate: known}, {Position: 2, Owner: "v"},
	}})))
}
