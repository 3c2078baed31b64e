package prove_test

import (
	"regexp"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/lockserver/lockserver/conformance/internal/prove"
)

// soak is short, and has so much churn that a leak shows in it. SOAK_FOR makes it longer.
func soak(t *testing.T, server, fault string) *prove.SoakReport {
	t.Helper()
	o := prove.UsualSoak(setting(t, "SOAK_FOR", 6*time.Second))
	o.Server, o.Fault, o.Out, o.Log, o.Seed = server, fault, t.ArtifactDir(), progress{t}, seed(t)
	o.Clients, o.Pause = 6, 20*time.Millisecond
	rep, err := prove.Soak(t.Context(), o)
	require.NoError(t, err)
	t.Log(rep)
	return rep
}

// A server stays level under load, and one that leaks is found.
func TestSoakFindsWhatGrows(t *testing.T) {
	t.Parallel()
	binary, all := broken(t)
	t.Run("nothing", func(t *testing.T) {
		t.Parallel()
		for _, l := range soak(t, binary, "").Levels {
			// Other tests take the machine's time meanwhile, so how long calls take says nothing here.
			require.False(t, l.Name != prove.Slowest && l.Grows(), "%s", l)
		}
	})
	for _, b := range all {
		if !b.Soak {
			continue
		}
		t.Run(b.Fault, func(t *testing.T) {
			t.Parallel()
			rep := soak(t, binary, b.Fault)
			require.NotEmpty(t, rep.Levels)
			for _, l := range rep.Levels {
				if l.Grows() && regexp.MustCompile(b.Promise).MatchString(l.Name) {
					return
				}
			}
			require.Fail(t, "not found", "%s: %s", b.Says, rep)
		})
	}
}
