package prove

import (
	"context"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// tired gives up the first release, of which the server has heard.
type tired struct{ releases int }

func (c *tired) acquire(context.Context, *lease)    {}
func (c *tired) renew(context.Context, *lease, *Op) {}
func (c *tired) close()                             {}

func (c *tired) release(_ context.Context, l *lease, op *Op) {
	if c.releases++; c.releases == 1 {
		op.Outcome = unsure
		return
	}
	op.Outcome, l.held = released, false
}

// A lock without a lease is released until the server has answered. The lock may have gone to others meanwhile.
func TestReleaseThatWasGivenUp(t *testing.T) {
	t.Parallel()
	h := &history{began: time.Now().Add(-time.Minute)}
	c := &tired{}
	w := &worker{name: "somebody", client: c, rand: rand.New(rand.NewPCG(1, 1)), h: h} //nolint:gosec // no secret
	mine := &lease{held: true, op: Op{Client: w.name, Kind: acquire, Resource: "r0-1", Outcome: granted, Token: 1}}
	h.timed(&mine.op, func() {})
	w.letGo(t.Context(), mine)
	require.False(t, mine.held)
	require.Equal(t, 2, c.releases)
	others := Op{Client: "other", Kind: acquire, Resource: "r0-1", Outcome: granted, Token: 2, Call: h.ops[1].Call, Return: h.ops[2].Call - 1}
	h.add(&others)
	h.verify("r0-", t.TempDir(), time.Minute)
	require.Empty(t, h.violations())
}
