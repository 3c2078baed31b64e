package service

import (
	"log/slog"
	"net/netip"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/lockserver/lockserver/server/internal/fault"
	"github.com/lockserver/lockserver/server/internal/wire"
)

const (
	guessWindow    = time.Minute
	mostAddresses  = 1 << 16 // that are remembered of each kind
	networkBits    = 64      // of an IPv6 address: who has one has 2^64
	guessWarnEvery = 10 * time.Second
)

// guesses limits how many wrong secrets an address can try in a minute. After that many, its secrets are not looked at until the minute is
// over, unless a right one came from it before: whoever works with the server is not refused for what a neighbour behind the same address
// does. What it remembers is bounded: who has more addresses than that in a minute is not limited, and those that showed a right secret
// longest ago are forgotten.
type guesses struct {
	most      int
	addresses int // that are remembered of each kind
	log       *slog.Logger

	mu      sync.Mutex
	trusted [2]map[netip.Addr]struct{} // those that showed a right secret; when the first is full, it becomes the second
	wrong   map[netip.Addr]int         // how many, in this minute
	until   time.Time                  // when it ends
	warned  time.Time
	silent  int // addresses over the limit since then
}

func newGuesses(most int, log *slog.Logger) *guesses {
	return &guesses{most: most, addresses: mostAddresses, log: log, trusted: [2]map[netip.Addr]struct{}{{}, {}}, wrong: map[netip.Addr]int{}}
}

// Origin is where requests come from: one connection.
type Origin struct {
	Remote  string      // its address and port
	trusted atomic.Bool // a right secret came over it
}

// address returns whom a connection counts for; the zero one if that cannot be told.
func address(remote string) netip.Addr {
	at, err := netip.ParseAddrPort(remote)
	if err != nil {
		return netip.Addr{}
	}
	a := at.Addr().Unmap().WithZone("")
	if a.Is6() {
		network, _ := a.Prefix(networkBits) // it has that many bits
		return network.Addr()
	}
	return a
}

// trusts reports whether a right secret came from the address. g.mu is held.
func (g *guesses) trusts(a netip.Addr) bool {
	for _, t := range g.trusted {
		if _, ok := t[a]; ok {
			return true
		}
	}
	return false
}

// admit judges a secret that was found right or wrong. It returns nil for one that is to be admitted. Most are right, over a connection over
// which others were: that costs next to nothing.
func (g *guesses) admit(right bool, from *Origin) *wire.Problem {
	if right && from.trusted.Load() {
		return nil
	}
	p := g.judge(right, address(from.Remote), time.Now())
	if p == nil {
		from.trusted.Store(true)
	}
	return p
}

func (g *guesses) judge(right bool, a netip.Addr, now time.Time) *wire.Problem {
	g.mu.Lock()
	defer g.mu.Unlock()
	if now.After(g.until) {
		clear(g.wrong)
		g.until = now.Add(guessWindow)
	}
	before := g.wrong[a]
	over := before >= g.most && !fault.GuessesWithoutLimit
	switch {
	case right && (!over || g.trusts(a)):
		g.trust(a)
		return nil
	case !right && !over:
		if before > 0 || len(g.wrong) < g.addresses {
			g.wrong[a]++
		}
		if before+1 == g.most {
			g.warn(a, now)
		}
		return unauthorized()
	}
	return &wire.Problem{
		Code: wire.TooManyWrongSecrets, RetryAfter: g.until.Sub(now),
		Detail: "too many wrong secrets came from this address within a minute (--max-wrong-secrets is " + strconv.Itoa(g.most) + "); this one was wrong, too, or was not looked at",
	}
}

// trust remembers an address. g.mu is held.
func (g *guesses) trust(a netip.Addr) {
	if len(g.trusted[0]) >= g.addresses/2 {
		g.trusted[0], g.trusted[1] = g.trusted[1], g.trusted[0]
		clear(g.trusted[0])
	}
	g.trusted[0][a] = struct{}{}
}

// warn logs that an address has reached the limit, now and then. g.mu is held.
func (g *guesses) warn(a netip.Addr, now time.Time) {
	g.silent++
	if now.Sub(g.warned) < guessWarnEvery {
		return
	}
	g.log.Warn("too many wrong secrets from an address (--max-wrong-secrets); more of them are not looked at for a minute", "address", a, "addresses", g.silent)
	g.warned, g.silent = now, 0
}
