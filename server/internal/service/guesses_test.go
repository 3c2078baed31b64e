package service

import (
	"fmt"
	"log/slog"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/lockserver/lockserver/server/internal/wire"
)

// try returns the code of the answer, "" for none.
func (g *guesses) try(right bool, remote string, now time.Time) wire.Code {
	if p := g.judge(right, address(remote), now); p != nil {
		return p.Code
	}
	return ""
}

func TestWrongSecretsFromOneAddress(t *testing.T) {
	var log strings.Builder
	g := newGuesses(2, slog.New(slog.NewTextHandler(&log, nil)))
	now := time.Now()
	require.Empty(t, g.try(true, "192.0.2.7:1", now), "it works here")
	for _, a := range []struct{ first, second, third string }{
		{"192.0.2.1:1", "192.0.2.1:2", "[::ffff:192.0.2.1]:3"},
		{"[2001:db8:1:1::1]:1", "[2001:db8:1:1:ffff::2]:2", "[2001:db8:1:1::3]:3"},
		{"192.0.2.7:1", "192.0.2.7:1", "192.0.2.7:1"},
		{"@", "", "nothing"},
	} {
		require.Equal(t, wire.Unauthorized, g.try(false, a.first, now), a.first)
		require.Equal(t, wire.Unauthorized, g.try(false, a.second, now), a.second)
		require.Equal(t, wire.TooManyWrongSecrets, g.try(false, a.third, now), a.third)
	}
	require.Equal(t, wire.TooManyWrongSecrets, g.try(true, "192.0.2.1:1", now), "it may be a guess")
	require.Empty(t, g.try(true, "192.0.2.7:1", now), "a neighbour's guesses do not count")
	require.Empty(t, g.try(true, "192.0.2.2:1", now))
	require.Empty(t, g.try(true, "[2001:db8:1:2::1]:1", now))
	require.Equal(t, time.Minute, g.judge(false, address("192.0.2.1:1"), now).RetryAfter)

	now = now.Add(time.Minute + 1)
	require.Equal(t, wire.Unauthorized, g.try(false, "192.0.2.1:1", now))
	require.Empty(t, g.try(true, "192.0.2.1:1", now))
	require.Equal(t, 1, strings.Count(log.String(), "\n"), "of four addresses")
	require.Contains(t, log.String(), "192.0.2.1")
	require.Equal(t, wire.Unauthorized, g.try(false, "192.0.2.1:1", now))
	require.Contains(t, log.String(), "addresses=4")
}

// However many addresses there are, the server remembers so many.
func TestWrongSecretsFromEverywhere(t *testing.T) {
	g := newGuesses(2, slog.New(slog.DiscardHandler))
	g.addresses = 100
	now := time.Now()
	from := func(i int) string { return fmt.Sprintf("[2001:db8:1:%x::1]:1", i) }
	for i := range 1000 {
		require.Empty(t, g.try(true, from(i), now))
		require.Equal(t, wire.Unauthorized, g.try(false, from(i), now))
	}
	require.Len(t, g.wrong, 100)
	require.LessOrEqual(t, len(g.trusted[0])+len(g.trusted[1]), 100)
	require.Equal(t, wire.Unauthorized, g.try(false, from(99), now))
	require.Equal(t, wire.TooManyWrongSecrets, g.try(false, from(99), now), "one that is counted")
	require.Equal(t, wire.TooManyWrongSecrets, g.try(true, from(99), now), "and forgotten")
	require.Equal(t, wire.Unauthorized, g.try(false, from(50), now))
	g.trusted[0], g.trusted[1] = map[netip.Addr]struct{}{}, map[netip.Addr]struct{}{address(from(50)): {}}
	require.Empty(t, g.try(true, from(50), now), "known, if not lately")
}

func BenchmarkAdmit(b *testing.B) {
	for _, most := range []int{0, 100} {
		b.Run(fmt.Sprintf("limit=%d", most), func(b *testing.B) {
			s := New(Config{Secrets: []string{"right"}, MaxWrongSecrets: most})
			from := &Origin{Remote: "[2001:db8:1:1::1]:54321"}
			for b.Loop() {
				if s.Admit(wire.Acquire, "right", from) != nil {
					b.Fatal()
				}
			}
		})
	}
}
