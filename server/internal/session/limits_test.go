package session_test

import (
	"context"
	"fmt"
	"net/http"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/gobwas/ws"
	"github.com/stretchr/testify/require"

	"github.com/lockserver/lockserver/server/internal/session"
)

// A client that is in the middle of long answers gets the pings late, and is given the time to answer them.
func TestPingsBehindLongAnswers(t *testing.T) {
	const interval = 400 * time.Millisecond
	const shows = 16_000
	var messages []string
	for i := 0; i < shows; i += 1000 {
		var all []string
		for n := range 1000 {
			all = append(all, fmt.Sprintf(`{"seq":%d,"op":"show","resource":"r"}`, i+n+1))
		}
		messages = append(messages, "["+strings.Join(all, ",")+"]")
	}
	s := start(t, session.Config{PingInterval: interval, MaxUnsent: 1 << 30}, nil)
	c := s.dial()
	c.ask(acquire(1, "r", "o", "i", `,"note":"`+strings.Repeat("n", 1000)+`"`))
	for _, text := range messages {
		c.send(text)
	}
	time.Sleep(4 * interval) // the time in which it takes nothing
	for got := 0; got < shows; {
		require.NoError(t, c.conn.SetDeadline(time.Now().Add(patience)))
		f, err := ws.ReadFrame(c.conn) //nolint:staticcheck // deprecated for peers that are not trusted
		require.NoError(t, err, "after %d answers", got)
		switch f.Header.OpCode {
		case ws.OpPing:
			c.frame(ws.MaskFrame(ws.NewPongFrame(f.Payload)))
		case ws.OpText:
			got += strings.Count(string(f.Payload), `"seq":`)
		}
	}
}

// What was written no longer counts against the bound of a session, to the byte: a remainder of every message would wear it out.
func TestNothingWrittenCountsAsUnsent(t *testing.T) {
	s := start(t, session.Config{}, nil)
	c := s.dial()
	for range 50 {
		c.send(`[{"seq":1,"op":"show","resource":"r"},{"seq":2,"op":"show","resource":"r"},{"seq":3,"op":"show","resource":"r"}]`)
		for range 3 {
			c.next()
		}
	}
	s.eventually("nothing is unsent", func() bool { return s.sessions.Unsent() == 0 })
}

// A server that shuts down takes no new sessions, for which nobody would wait.
func TestNoSessionsAfterShutdown(t *testing.T) {
	s := start(t, session.Config{}, nil)
	require.NoError(t, s.sessions.Shutdown(context.Background()))
	require.Equal(t, "draining", s.do(http.MethodGet, "/session", "")["code"])
}

// heap is what is in use, in bytes, once all that is no longer used is gone.
func heap() int64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

// What parked waits and idle sessions cost, and that nothing is left of them when their connections are cut.
func TestMemory(t *testing.T) {
	const sessions, waits = 20, 1000
	s := start(t, session.Config{}, nil)
	holder := s.dial()
	holder.ask(acquire(1, "r", "o", "i", ""))
	goroutines, before := runtime.NumGoroutine(), heap()
	var all []*client
	for range sessions {
		all = append(all, s.dial())
	}
	s.eventually("sessions", func() bool { return s.sessions.Sessions() == sessions+1 })
	idle := heap()
	for i, c := range all {
		var text strings.Builder
		for n := range waits {
			text.WriteString("," + acquire(n+1, "r", "o", fmt.Sprint(i, "-", n), `,"wait":60`))
		}
		c.send("[" + text.String()[1:] + "]")
	}
	s.eventually("parked", func() bool { return s.engine.Stats().Waiters == sessions*waits })
	perWait := (heap() - idle) / (sessions * waits)
	t.Logf("%d B a session, the client's end included; %d B a parked wait, the engine's part included", (idle-before)/sessions, perWait)
	require.Less(t, perWait, int64(330))
	for i, c := range all { // a cancel by id takes the place away, which a cut would keep for a while
		var text strings.Builder
		for n := range waits {
			text.WriteString("," + release(waits+n+1, "r", "o", fmt.Sprint(i, "-", n)))
		}
		c.send("[" + text.String()[1:] + "]")
		for range 2 * waits {
			c.next()
		}
		require.NoError(t, c.conn.Close())
	}
	s.eventually("gone", func() bool { return s.sessions.Sessions() == 1 && s.engine.Stats().Waiters == 0 })
	const watching = 2 // goroutines of eventually itself
	s.eventually("no goroutine is left", func() bool { return runtime.NumGoroutine() <= goroutines+watching })
}

// The memory of a session does not grow with what it has done.
func TestManyPairsOnOneSession(t *testing.T) {
	s := start(t, session.Config{}, nil)
	c := s.dial()
	round := 0
	pairs := func(n int) {
		for range n / 500 {
			round++
			var text strings.Builder
			for i := range 500 {
				id := fmt.Sprint(round, "-", i)
				text.WriteString("," + acquire(2*i+1, "r", "o", id, "") + "," + release(2*i+2, "r", "o", id))
			}
			c.send("[" + text.String()[1:] + "]")
			for range 1000 {
				require.InDelta(t, 200, c.next()["status"], 0)
			}
		}
	}
	pairs(10_000)
	before := heap()
	pairs(10_000)
	grown := heap() - before
	t.Logf("%d B more after 10,000 more pairs", grown)
	require.Less(t, grown, int64(2<<20))
}
