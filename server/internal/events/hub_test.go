package events_test

import (
	"bufio"
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/lockserver/lockserver/server/internal/engine"
	"github.com/lockserver/lockserver/server/internal/events"
	"github.com/lockserver/lockserver/server/internal/lock"
	"github.com/lockserver/lockserver/server/internal/store/memory"
	"github.com/lockserver/lockserver/server/internal/wire"
)

// system is a hub on a real engine, behind a real listener.
type system struct {
	t      *testing.T
	engine *engine.Engine
	hub    *events.Hub
	url    string
}

func start(t *testing.T, cfg events.Config) *system {
	t.Helper()
	if cfg.MaxReaders == 0 {
		cfg.MaxReaders = 10
	}
	cfg.Logger = slog.New(slog.DiscardHandler)
	s := &system{t: t, hub: events.NewHub(cfg)}
	s.term()
	t.Cleanup(func() { s.hub.Withdraw(); require.NoError(t, s.engine.Close(context.Background())) })
	web := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var f wire.Fields
		p := f.DecodeQuery(wire.Events, r.URL.RawQuery)
		if p == nil {
			p = s.hub.Stream(w, r, &f)
		}
		if p != nil {
			w.WriteHeader(p.Code.Status())
			_, _ = io.WriteString(w, string(p.Code))
		}
	}))
	t.Cleanup(web.Close)
	s.url = web.URL
	return s
}

// term begins a term with a new engine.
func (s *system) term() {
	s.t.Helper()
	var err error
	s.engine, err = engine.Open(s.t.Context(), engine.Config{
		Store: memory.New(), Logger: slog.New(slog.DiscardHandler),
		Bounds: lock.Bounds{MaxLocks: 1000, MaxWaiters: 1000, MaxRemembered: 1000, MaxWait: time.Minute},
	})
	require.NoError(s.t, err)
	s.hub.Serve(s.engine)
}

type answers chan lock.Answer

func (a answers) Answer(_ uint64, x *lock.Answer) { a <- *x }

func (s *system) take(resource string) {
	s.t.Helper()
	a := make(answers, 1)
	s.engine.Acquire(&lock.Request{Resource: resource, Owner: "o", Expire: time.Minute}, lock.Reply{To: a})
	require.Equal(s.t, lock.Granted, (<-a).Code)
}

func (s *system) renew(resource string) {
	s.t.Helper()
	a := make(answers, 1)
	s.engine.Renew(&lock.Ref{Resource: resource, Owner: "o"}, 0, lock.Reply{To: a})
	require.Equal(s.t, lock.Granted, (<-a).Code)
}

func (s *system) release(resource string) {
	s.t.Helper()
	a := make(answers, 1)
	s.engine.Release(&lock.Ref{Resource: resource, Owner: "o"}, lock.Reply{To: a})
	require.Equal(s.t, lock.Released, (<-a).Code)
}

// stream is a reader's end.
type stream struct {
	t    *testing.T
	resp *http.Response
	text *bufio.Reader
}

// block is one block of a stream.
type block struct {
	id, event string
	data      map[string]any
}

func (b block) number(t *testing.T) int64 {
	t.Helper()
	n, err := strconv.ParseInt(b.id, 10, 64)
	require.NoError(t, err)
	return n
}

// follow opens a stream, which has begun when follow returns.
func (s *system) follow(query, last string) (x *stream, begin block) {
	s.t.Helper()
	req, err := http.NewRequestWithContext(s.t.Context(), http.MethodGet, s.url+"/events?"+query, nil)
	require.NoError(s.t, err)
	if last != "" {
		req.Header.Set("Last-Event-ID", last)
	}
	resp, err := http.DefaultClient.Do(req)
	require.NoError(s.t, err)
	s.t.Cleanup(func() { _ = resp.Body.Close() })
	require.Equal(s.t, http.StatusOK, resp.StatusCode)
	x = &stream{t: s.t, resp: resp, text: bufio.NewReader(resp.Body)}
	begin, err = x.block()
	require.NoError(s.t, err)
	require.Empty(s.t, begin.event)
	require.NotEmpty(s.t, begin.id)
	return x, begin
}

func (x *stream) block() (b block, err error) {
	for {
		line, err := x.text.ReadString('\n')
		if err != nil {
			return b, err
		}
		name, value, _ := strings.Cut(strings.TrimSuffix(line, "\n"), ": ")
		switch name {
		case "id":
			b.id = value
		case "event":
			b.event = value
		case "data":
			require.NoError(x.t, json.Unmarshal([]byte(value), &b.data))
		case "":
			return b, nil
		}
	}
}

// next is the next event.
func (x *stream) next() block {
	x.t.Helper()
	for {
		b, err := x.block()
		require.NoError(x.t, err)
		if b.data != nil {
			require.Equal(x.t, b.event, b.data["kind"])
			return b
		}
	}
}

// is wants the next events to be these, each a kind and a resource, and returns the last.
func (x *stream) is(want ...string) (last block) {
	x.t.Helper()
	for _, w := range want {
		last = x.next()
		resource, _ := last.data["resource"].(string)
		require.Equal(x.t, w, strings.TrimSpace(last.event+" "+resource))
	}
	return last
}

func TestReadersGetWhatTheyWant(t *testing.T) {
	s := start(t, events.Config{})
	all, _ := s.follow("", "")
	some, _ := s.follow("prefix=a/&kinds=released,renewed", "")
	one, _ := s.follow("resource=a/1", "")
	s.take("a/1")
	s.take("b/1")
	s.renew("a/1")
	s.release("b/1")
	s.release("a/1")
	all.is("granted a/1", "granted b/1", "released b/1", "released a/1")
	some.is("renewed a/1", "released a/1")
	one.is("granted a/1", "released a/1")
}

func TestAReaderComesBack(t *testing.T) {
	s := start(t, events.Config{Kept: 4})
	first, begin := s.follow("kinds=granted", "")
	s.take("a")
	seen := first.is("granted a")
	require.Equal(t, begin.number(t)+1, seen.number(t))
	require.EqualValues(t, seen.number(t), seen.data["event"])
	for _, name := range []string{"b", "c", "d"} {
		s.take(name)
	}
	last := first.is("granted b", "granted c", "granted d")

	again, _ := s.follow("", seen.id)
	again.is("granted b", "granted c", "granted d")
	untouched, _ := s.follow("", begin.id)
	untouched.is("granted a", "granted b")

	s.take("e")
	newest := first.is("granted e")
	require.Equal(t, last.number(t)+1, newest.number(t))
	late, _ := s.follow("", begin.id)
	gap := late.is("gap")
	require.EqualValues(t, 1, gap.data["missed"])
	require.Equal(t, seen.id, gap.id, "who comes back behind the gap misses nothing more")
	late.is("granted b", "granted c", "granted d", "granted e")

	for _, unknown := range []string{"1", "9007199254740991", "not a number"} {
		stranger, _ := s.follow("", unknown)
		require.Nil(t, stranger.is("gap").data["missed"], "nobody knows how many")
		stranger.is("granted b")
	}
}

// A reader that does not read holds nobody up, and learns how much it missed.
func TestASlowReaderMissesEvents(t *testing.T) {
	s := start(t, events.Config{Kept: 4})
	ctx, leave := context.WithCancel(t.Context())
	w := &slow{header: http.Header{}, stuck: make(chan struct{}), free: make(chan struct{}), wrote: make(chan string, 1000)}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		var f wire.Fields
		s.hub.Stream(w, httptest.NewRequestWithContext(ctx, http.MethodGet, "/events", nil), &f)
	}()
	<-w.stuck
	quick, _ := s.follow("", "")
	for i := range 10 {
		s.take("r" + strconv.Itoa(i))
		quick.is("granted r" + strconv.Itoa(i))
	}
	close(w.free)
	<-w.wrote
	text := <-w.wrote
	require.Contains(t, text, `"missed":6`)
	require.Contains(t, text, `"resource":"r6"`)
	require.NotContains(t, text, `"resource":"r5"`)
	require.EqualValues(t, 6, s.hub.Missed())
	leave()
	<-ended
}

// slow is a connection whose first write is stuck until it is freed.
type slow struct {
	header      http.Header
	stuck, free chan struct{}
	wrote       chan string
	begun       bool
}

func (w *slow) Header() http.Header              { return w.header }
func (w *slow) WriteHeader(int)                  {}
func (w *slow) SetWriteDeadline(time.Time) error { return nil }
func (w *slow) Flush()                           {}
func (w *slow) Write(b []byte) (int, error) {
	if !w.begun {
		w.begun = true
		close(w.stuck)
		<-w.free
	}
	w.wrote <- string(b)
	return len(b), nil
}

func TestTheEngineIsWatchedOnlyWhileSomebodyReads(t *testing.T) {
	s := start(t, events.Config{Linger: time.Nanosecond})
	require.False(t, s.hub.Watching())
	x, begin := s.follow("", "")
	require.True(t, s.hub.Watching())
	require.NoError(t, x.resp.Body.Close())
	require.Eventually(t, func() bool { return !s.hub.Watching() }, 20*time.Second, time.Millisecond)
	s.take("a")
	again, anew := s.follow("", begin.id)
	require.Greater(t, anew.number(t), begin.number(t))
	again.is("gap")
}

// Without readers all is kept but renewals, and the oldest goes when there is no room, be it for events or for their names.
func TestTheHistoryIsBounded(t *testing.T) {
	s := start(t, events.Config{History: 100, Linger: time.Nanosecond})
	require.True(t, s.hub.Watching())
	type answer struct {
		Since  string
		Last   int64
		Events []struct{ Event int64 }
	}
	history := func(resource string) (a answer) {
		var f wire.Fields
		require.Nil(t, f.DecodeQuery(wire.History, "resource="+resource))
		b, p := s.hub.History(nil, &f)
		require.Nil(t, p)
		require.NoError(t, json.Unmarshal(b, &a))
		return a
	}
	s.take("r")
	s.renew("r")
	s.release("r")
	kept := func(n int) func() bool { return func() bool { return s.hub.Kept() == n } }
	require.Eventually(t, kept(2), 20*time.Second, time.Millisecond)
	first := history("r")
	require.Len(t, first.Events, 2)
	require.Equal(t, first.Last, first.Events[1].Event)

	follower, _ := s.follow("kinds=renewed,released", strconv.FormatInt(first.Events[0].Event, 10))
	follower.is("released r")
	s.take("r")
	s.renew("r")
	follower.is("renewed r")
	require.Len(t, history("r").Events, 3, "renewals are for readers")

	for i := range 98 {
		s.take(strconv.Itoa(i))
	}
	s.take("last")
	require.Eventually(t, func() bool { return len(history("last").Events) == 1 }, 20*time.Second, time.Millisecond)
	require.Equal(t, 100, s.hub.Kept())
	require.Empty(t, history("r").Events)
	require.Greater(t, history("0").Since, first.Since)

	long := strings.Repeat("x", 500)
	for i := range 100 {
		s.take(long + strconv.Itoa(i))
	}
	require.Eventually(t, func() bool { return len(history(long+"99").Events) == 1 }, 20*time.Second, time.Millisecond)
	require.Less(t, s.hub.Kept(), 75)
	require.Greater(t, s.hub.Kept(), 50)
}

func TestHeartbeats(t *testing.T) {
	s := start(t, events.Config{Heartbeat: time.Millisecond})
	x, begin := s.follow("resource=other", "")
	s.take("a")
	for b := begin; b.number(t) == begin.number(t); { // it tells of the event that the reader does not want
		var err error
		b, err = x.block()
		require.NoError(t, err)
		require.Nil(t, b.data)
	}
}

func TestTheEndOfAStream(t *testing.T) {
	s := start(t, events.Config{MaxReaders: 1})
	x, _ := s.follow("", "")
	get := func() string {
		resp, err := http.Get(s.url + "/events")
		require.NoError(t, err)
		defer resp.Body.Close()
		text, err := io.ReadAll(resp.Body)
		require.NoError(t, err)
		return string(text)
	}
	require.Equal(t, "too_many_waiters", get())
	s.take("first")
	x.is("granted first")
	for i := range 20 {
		s.take(strconv.Itoa(i))
	}
	s.hub.Drain()
	require.Equal(t, "draining", get())
	for i := range 20 {
		x.is("granted " + strconv.Itoa(i)) // all that has happened by then
	}
	x.is("draining")
	_, err := x.block()
	require.ErrorIs(t, err, io.EOF)

	// The next term tells of itself alone.
	s.hub.Withdraw()
	require.Equal(t, "store_unavailable", get())
	require.NoError(t, s.engine.Close(t.Context()))
	s.term()
	require.Eventually(t, func() bool { return s.hub.Readers() == 0 }, 20*time.Second, time.Millisecond)
	next, _ := s.follow("", "")
	s.take("b")
	next.is("granted b")
}

func TestAStoreThatFailsEndsNoReaderByItself(t *testing.T) {
	s := start(t, events.Config{})
	x, _ := s.follow("", "")
	require.NoError(t, s.engine.Close(t.Context()))
	require.ErrorIs(t, s.engine.Err(), engine.ErrClosed)
	s.hub.Withdraw()
	x.is("draining")
	_, err := x.block()
	require.ErrorIs(t, err, io.EOF)
}
