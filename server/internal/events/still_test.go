package events_test

import (
	"bytes"
	"context"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/lockserver/lockserver/server/internal/events"
	"github.com/lockserver/lockserver/server/internal/wire"
)

// Time stands still in these tests unless one sleeps, so that events wait where they wait under load.

// page is a connection that keeps what is written to it.
type page struct {
	header  http.Header
	text    bytes.Buffer
	largest int           // of all writes
	stuck   chan struct{} // if there is one, writes wait for its end
	ended   bool
}

func (p *page) Header() http.Header              { return p.header }
func (p *page) WriteHeader(int)                  {}
func (p *page) SetWriteDeadline(time.Time) error { return nil }
func (p *page) Flush()                           {}
func (p *page) Write(b []byte) (int, error) {
	if p.stuck != nil {
		<-p.stuck
	}
	p.largest = max(p.largest, len(b))
	return p.text.Write(b)
}

// kinds are those of the events that were written.
func (p *page) kinds() string {
	var kinds []string
	for line := range strings.Lines(p.text.String()) {
		if kind, found := strings.CutPrefix(line, "event: "); found {
			kinds = append(kinds, strings.TrimSpace(kind))
		}
	}
	return strings.Join(kinds, " ")
}

// open begins a stream, which ends with the test at the latest.
func (s *system) open(stuck chan struct{}) *page {
	p := &page{header: http.Header{}, stuck: stuck}
	ctx, leave := context.WithCancel(s.t.Context())
	s.t.Cleanup(leave)
	go func() {
		defer func() { p.ended = true }()
		var f wire.Fields
		s.hub.Stream(p, httptest.NewRequestWithContext(ctx, http.MethodGet, "/events", nil), &f)
	}()
	synctest.Wait()
	return p
}

// still makes a system without a listener.
func still(t *testing.T, cfg events.Config) *system {
	t.Helper()
	cfg.MaxReaders, cfg.Logger = 1000, slog.New(slog.DiscardHandler)
	s := &system{t: t, hub: events.NewHub(cfg)}
	s.term()
	t.Cleanup(func() {
		s.hub.Withdraw()
		require.NoError(t, s.engine.Close(context.Background()))
		time.Sleep(time.Second) // the hub looks once more
	})
	return s
}

// What happened just before the end is told, be it that the hub was not about to look for events.
func TestTheLastEventsAreTold(t *testing.T) {
	for name, end := range map[string]func(*events.Hub){"drain": (*events.Hub).Drain, "withdraw": (*events.Hub).Withdraw} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := still(t, events.Config{})
				p := s.open(nil)
				time.Sleep(time.Second)
				s.take("first") // the hub takes it, and lets others come together
				synctest.Wait()
				s.take("last")
				s.release("last")
				end(s.hub)
				synctest.Wait()
				require.True(t, p.ended)
				require.Equal(t, "granted granted released draining", p.kinds())
			})
		})
	}
}

// A reader that is stuck while its term ends and another begins has nothing to do with what that one has.
func TestAReaderEndsWithItsTerm(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := still(t, events.Config{History: 10})
		free := make(chan struct{})
		p := s.open(free)
		s.take("before")
		s.hub.Withdraw()
		require.NoError(t, s.engine.Close(t.Context()))
		time.Sleep(time.Hour)
		s.term()
		s.take("after")
		time.Sleep(time.Second)
		close(free)
		synctest.Wait()
		require.True(t, p.ended)
		require.Equal(t, "draining", p.kinds())
		require.Zero(t, s.hub.Missed())
		require.Equal(t, 1, s.hub.Kept())
	})
}

// All readers together have a bounded part of the memory, however many there are, how far they are behind, and how long the names.
func TestBuffersOfReadersAreBounded(t *testing.T) {
	const (
		each = 16 << 10 // bytes, with 20 readers or more
		one  = 4 << 10  // bytes, which an event of this test takes at most
	)
	synctest.Test(t, func(t *testing.T) {
		s := still(t, events.Config{})
		pages := make([]*page, 21)
		for i := range pages {
			pages[i] = s.open(nil)
		}
		for i := range 100 {
			s.take(strings.Repeat("\x01", 400) + strconv.Itoa(i)) // each byte takes six
		}
		time.Sleep(time.Minute)
		synctest.Wait()
		for _, p := range pages {
			require.Contains(t, p.text.String(), `99","owner"`)
			require.Equal(t, 100, strings.Count(p.text.String(), "event: granted"))
			require.Less(t, p.largest, each+one)
		}
		s.hub.Drain()
		synctest.Wait()
	})
}
