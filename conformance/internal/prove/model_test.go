package prove

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// A lock that nobody holds must not be refused, unless the client's own earlier attempt may have had it.
func TestRefusalOfAFreeLock(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		says string
		op   Op
		fits bool
	}{
		{"a short call", Op{Lease: 1.5, Return: int64(time.Second)}, false},
		{"a call that outlasted its lease", Op{Lease: 1.5, Return: int64(2 * time.Second)}, true},
		{"a long call for a lock without a lease", Op{Return: int64(20 * time.Second)}, false},
		{"a raw client asks again by the same id", Op{Lease: 1.5, Tries: 3, Return: int64(2 * time.Second)}, false},
	} {
		c.op.Client, c.op.Kind, c.op.Outcome, c.op.Resource = "somebody", acquire, refused, "r0-1"
		h := &history{began: time.Now().Add(-time.Minute), ops: []*Op{&c.op}}
		h.verify("r0-", t.TempDir(), time.Minute)
		require.Equal(t, c.fits, len(h.violations()) == 0, "%s: %v", c.says, h.violations())
	}
}
