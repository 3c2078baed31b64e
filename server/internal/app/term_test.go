package app

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/lockserver/lockserver/server/internal/config"
	"github.com/lockserver/lockserver/server/internal/lock"
	"github.com/lockserver/lockserver/server/internal/service"
	"github.com/lockserver/lockserver/server/internal/store"
	"github.com/lockserver/lockserver/server/internal/wire"
)

// shared is a store that several servers share, as far as one of them sees it: the test says when it has the right to write.
type shared struct {
	right   chan *term
	records map[int64]lock.Record
	last    int64
}

// term is the store in one term of the server.
type term struct {
	*shared
	refuses error         // to be loaded
	lost    chan struct{} // closed with err

	mu   sync.Mutex
	err  error
	gate chan struct{} // while not nil, commits say so on it and wait for it to be closed
}

func (s *shared) open(ctx context.Context) (store.Store, error) {
	select {
	case t := <-s.right:
		return t, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

func (s *shared) term() *term { return &term{shared: s, lost: make(chan struct{})} }

func (t *term) Load(_ context.Context, yield func(lock.Record) error) (int64, error) {
	for _, r := range t.records {
		if err := yield(r); err != nil {
			return 0, err
		}
	}
	return t.last, t.refuses
}

func (t *term) Commit(_ context.Context, changes []lock.Change) error {
	t.mu.Lock()
	gate := t.gate
	t.mu.Unlock()
	if gate != nil {
		gate <- struct{}{}
		<-gate
	}
	if err := t.Err(); err != nil {
		return err
	}
	for _, c := range changes {
		if c.Delete {
			delete(t.records, c.Record.Token)
		} else {
			t.records[c.Record.Token] = c.Record
			t.last = max(t.last, c.Record.Token)
		}
	}
	return nil
}

// hold makes the commits to come wait.
func (t *term) hold() chan struct{} {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.gate = make(chan struct{})
	return t.gate
}

func (t *term) lose(err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.err = err
	close(t.lost)
}

func (t *term) Lost() <-chan struct{} { return t.lost }

func (t *term) Err() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.err
}

func (t *term) Close() error { return nil }

// server is an app on a shared store, asked without a transport.
type server struct {
	*App
	t     *testing.T
	store *shared
	stop  context.CancelFunc
	ended chan error // gets what Run returns
}

func start(t *testing.T) *server {
	t.Helper()
	o, err := config.Load(config.Source{
		Args: []string{"--port", "0", "--shutdown-timeout", "30"}, Dir: t.TempDir(), NeedsSecret: true,
		LookupEnv: func(name string) (string, bool) {
			return map[string]string{"LOCKSERVER_SECRET": "correct-horse-battery"}[name], true
		},
	})
	require.NoError(t, err)
	a, err := New(o, "test", slog.New(slog.DiscardHandler))
	require.NoError(t, err)
	s := &server{App: a, t: t, store: &shared{right: make(chan *term), records: map[int64]lock.Record{}}, ended: make(chan error, 1)}
	a.open = s.store.open
	var ctx context.Context
	ctx, s.stop = context.WithCancel(t.Context())
	go func() { s.ended <- a.Run(ctx) }()
	t.Cleanup(func() {
		s.stop()
		require.NoError(t, a.Close())
	})
	return s
}

// begin gives the server the right to write, and waits until it serves.
func (s *server) begin() *term {
	s.t.Helper()
	next := s.store.term()
	s.store.right <- next
	s.eventually("serving", func() bool { return s.service.Ready() == nil })
	return next
}

func (s *server) eventually(what string, is func() bool) {
	s.t.Helper()
	require.Eventually(s.t, is, 10*time.Second, time.Millisecond, what)
}

func (s *server) call(op wire.Operation, body string) service.Result {
	c := service.Call{Op: op}
	decode := func() *wire.Problem { return c.Fields.DecodeBody(op, []byte(body)) }
	if !op.InBody() {
		decode = func() *wire.Problem { return c.Fields.DecodeQuery(op, body) }
	}
	if p := decode(); p != nil {
		s.t.Errorf("%s: %s", body, p.Detail)
	}
	result, ok := s.service.Do(context.Background(), &c)
	if !ok {
		s.t.Errorf("%s: gone", body)
	}
	return result
}

func (s *server) is(outcome string, op wire.Operation, body string) service.Result {
	s.t.Helper()
	result := s.call(op, body)
	require.Equal(s.t, outcome, result.Outcome(), body)
	return result
}

// later runs a call that waits.
func (s *server) later(op wire.Operation, body string) chan service.Result {
	c := make(chan service.Result, 1)
	go func() { c <- s.call(op, body) }()
	return c
}

// waits waits until somebody waits for the resource.
func (s *server) waits(resource string) {
	s.t.Helper()
	s.eventually("waiting", func() bool {
		result := s.call(wire.Show, "resource="+resource)
		return result.Outcome() == service.OK && len(s.queue(&result)) > 0
	})
}

func (s *server) queue(r *service.Result) []any {
	s.t.Helper()
	return decoded(s.t, r)["queue"].([]any)
}

func decoded(t *testing.T, r *service.Result) (body map[string]any) {
	t.Helper()
	require.NoError(t, json.Unmarshal(r.Append(nil), &body))
	return body
}

// A server whose store is taken over by another one stands by, and serves again once it gets the right back. What was asked in one
// term is answered in it, and has no effect in the next.
func TestTermsOfAServerThatIsReplaced(t *testing.T) {
	s := start(t)
	s.is("store_unavailable", wire.Acquire, `{"resource":"r","owner":"a"}`)
	first := s.begin()
	<-s.Ready()
	granted := s.is("granted", wire.Acquire, `{"resource":"r","owner":"a"}`)
	parked := s.later(wire.Acquire, `{"resource":"r","owner":"b","id":"1","wait":60}`)
	s.waits("r")
	gate := first.hold()
	inFlight := s.later(wire.Acquire, `{"resource":"s","owner":"c"}`)
	<-gate

	first.lose(store.ErrReplaced)
	close(gate)
	for _, waiting := range []chan service.Result{parked, inFlight} {
		result := <-waiting
		require.Equal(t, "store_unavailable", result.Outcome())
		require.Contains(t, string(result.Append(nil)), "unknown", "what became of it")
	}
	s.eventually("withdrawn", func() bool { p := s.service.Ready(); return p != nil && p.Reason == "loading" })
	standingBy := s.is("store_unavailable", wire.Renew, `{"resource":"r","owner":"a"}`)
	require.Equal(t, "loading", decoded(t, &standingBy)["reason"])

	// It gets the right and loses it again before it has loaded.
	refused := s.store.term()
	refused.refuses = store.ErrReplaced
	s.store.right <- refused

	second := s.begin()
	granted.Ticket.Leave() // says the first term's client, now
	shown := s.is(service.OK, wire.Show, "resource=r")
	require.Equal(t, decoded(t, &granted)["token"], decoded(t, &shown)["holders"].([]any)[0].(map[string]any)["token"])
	require.Empty(t, s.queue(&shown), "who waited has to ask again")
	s.is("granted", wire.Acquire, `{"resource":"s","owner":"d"}`)
	parked = s.later(wire.Acquire, `{"resource":"r","owner":"b","id":"1","wait":60}`)
	s.waits("r")
	s.is("released", wire.Release, `{"resource":"r","owner":"a"}`)
	again := <-parked
	require.Equal(t, "granted", again.Outcome())

	reason := errors.New("the disk is on fire")
	second.lose(reason)
	require.ErrorIs(t, <-s.ended, reason, "no other server has the store")
}

func TestShutdownWhileStandingBy(t *testing.T) {
	s := start(t)
	s.begin().lose(store.ErrReplaced)
	s.eventually("withdrawn", func() bool { p := s.service.Ready(); return p != nil && p.Reason == "loading" })
	s.stop()
	require.NoError(t, <-s.ended)
}

// Every transport has the time to tell its clients, before the engine ends.
func TestEveryTransportDrains(t *testing.T) {
	s := start(t)
	told := make(chan string, 1)
	parked := make(chan service.Result)
	s.drains = append(s.drains, func(ctx context.Context) error {
		select {
		case result := <-parked:
			told <- result.Outcome()
			released := s.call(wire.Release, `{"resource":"r","owner":"a"}`)
			told <- released.Outcome()
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	})
	s.begin()
	s.is("granted", wire.Acquire, `{"resource":"r","owner":"a"}`)
	go func() { parked <- s.call(wire.Acquire, `{"resource":"r","owner":"b","wait":60}`) }()
	s.waits("r")
	s.stop()
	require.Equal(t, "draining", <-told)
	require.Equal(t, "released", <-told)
	require.NoError(t, <-s.ended)
}
